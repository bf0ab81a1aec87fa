"""What applications are told of their visitors, read by their own parsers: Django's as it is, Rails' by its rules."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from tests.support.connectors import QuicConnector
from tests.support.edge import Edge
from tests.support.fixtures import every_connector
from tests.support.http1 import Fields
from tests.support.sites import Site
from tests.support.waiting import wait_until

django = pytest.importorskip("django", reason="Django is not installed")

HOST, VISITOR, FAR = "app.example.test", "127.0.0.1", "203.0.113.9"
RAILS_TRUSTED = [
    ip_network(text)
    for text in ("127.0.0.0/8", "::1", "fc00::/7", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
]
"""ActionDispatch::RemoteIp::TRUSTED_PROXIES (Rails 8)."""


def environ(site: Site) -> dict[str, Any]:
    """Of the request that the origin got last."""
    lines = site.origin.last.raw_head.decode().split("\r\n")[1:]
    return made_of([(name, value) for name, _, value in (line.partition(":") for line in lines if ":" in line)])


def made_of(fields: Fields) -> dict[str, Any]:
    """As an application server makes it."""
    made: dict[str, Any] = {}
    setup_testing_defaults(made)
    del made["HTTP_HOST"]
    for name, value in fields:
        key = "HTTP_" + name.strip().upper().replace("-", "_")
        made[key] = f"{made[key]},{value.strip()}" if key in made else value.strip()
    made["REMOTE_ADDR"] = "127.0.0.1"  # the connector's
    return made


def rails_remote_ip(environ: dict[str, str]) -> str:
    """ActionDispatch::RemoteIp::GetIp#calculate_ip: of Client-Ip, X-Forwarded-For and REMOTE_ADDR the nearest that is no trusted
    proxy, else the farthest."""
    forwarded = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    client = [part.strip() for part in environ.get("HTTP_CLIENT_IP", "").split(",") if part.strip()]
    ips = [*reversed(forwarded), *reversed(client), environ["REMOTE_ADDR"]]
    valid = [text for text in ips if _is_address(text)]
    foreign = [text for text in valid if not any(ip_address(text) in network for network in RAILS_TRUSTED)]
    return (foreign or [*reversed(forwarded), environ["REMOTE_ADDR"]])[0]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def djangos(environ: dict[str, Any]) -> Any:
    """A request as Django has it, set up as its documentation says for a proxy that ends TLS."""
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIRequest

    if not settings.configured:
        settings.configure(
            SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"), ALLOWED_HOSTS=[".example.test"], DEBUG=False
        )
    return WSGIRequest(environ)


@every_connector
def test_django_and_rails_see_the_visitor_the_scheme_and_the_host(site: Site) -> None:
    evil = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "evil.test")]
    assert site.get("/path?x=1", [*evil, ("cf-connecting-ip", "203.0.113.9")]).status == 200
    seen = environ(site)
    request = djangos(seen)
    assert request.is_secure()
    assert request.get_host() == site.hostname
    assert request.build_absolute_uri("/x") == f"https://{site.hostname}/x"
    assert request.headers["Cf-Connecting-Ip"] == VISITOR
    assert request.headers["Cf-Visitor"] == '{"scheme":"https"}'
    assert request.headers["X-Forwarded-For"] == VISITOR
    assert rails_remote_ip(seen) == VISITOR
    assert "evil" not in str(seen)
    assert "203.0.113.9" not in str(seen)


@pytest.mark.parametrize(("is_trusted", "visitor"), [(True, FAR), (False, VISITOR)], ids=["trusted", "a stranger"])
def test_who_comes_through_a_proxy_is_the_visitor_where_the_proxy_is_trusted(
    folder: Path, is_trusted: bool, visitor: str
) -> None:
    """Something that ends TLS before the edge and says for whom, as a load balancer does."""
    edge = Edge(folder / "edge", **({"public_trusted_proxies": "127.0.0.1/32"} if is_trusted else {}))
    try:
        tunnel = edge.api.create_tunnel("site")
        edge.api.publish(edge.api.create_zone("example.test"), HOST, tunnel.id)
        with QuicConnector(edge.tunnel, edge.ca_file, tunnel.token) as connector:
            fields = [("x-forwarded-for", f"198.51.100.1, {FAR}"), ("x-forwarded-proto", "https"), ("x-real-ip", FAR)]

            def is_served() -> bool:
                with edge.h1(HOST) as client:
                    return client.get("/", fields).status == 200

            wait_until(is_served, "the site is served")
            seen = made_of([*connector.heads[-1], ("host", HOST)])
    finally:
        edge.stop()
    assert rails_remote_ip(seen) == visitor
    request = djangos(seen)
    assert request.headers["Cf-Connecting-Ip"] == visitor
    assert request.headers["X-Forwarded-For"].split(",")[0].strip() == ("198.51.100.1" if is_trusted else VISITOR)
    assert request.is_secure()


def test_trace_context_passes_untouched(site: Site) -> None:
    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    site.get("/", [("traceparent", context), ("tracestate", "a=1")])
    assert site.origin.last.value("traceparent") == context
    assert site.origin.last.value("tracestate") == "a=1"
