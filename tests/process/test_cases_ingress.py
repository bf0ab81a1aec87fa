"""cases.md 14, 15, 50: which rule takes a request, and which rules are refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import ApiError
from tests.support.connectors import QuicConnector
from tests.support.edge import Edge
from tests.support.fixtures import every_connector
from tests.support.origin import Origin
from tests.support.sites import Fakes, Lab, Publisher
from tests.support.waiting import wait_until


@pytest.fixture
def origins() -> Iterator[list[Origin]]:
    origins = [Origin(script=lambda e, n=n: e.answer(200, b"s%d" % n)) for n in (1, 2, 3)]  # type: ignore[misc]
    yield origins
    for origin in origins:
        origin.close()


@pytest.mark.case(14)
@pytest.mark.requirement("S15")
@every_connector
def test_path_is_unanchored_and_matched_decoded(publish: Publisher, origins: list[Origin]) -> None:
    hostname = publish.hostname()
    site = publish.rules(
        [
            {"hostname": hostname, "path": "/aaa", "service": origins[0].service},
            {"hostname": hostname, "path": "/bbb/.*", "service": origins[1].service},
        ]
    )
    client = site.h1()
    expected = {
        "/aaa": b"s1",
        "/aaab": b"s1",
        "/bbb/aaa/ccc": b"s1",
        "/%61aa": b"s1",
        "/bbb/x": b"s2",
        "/AAA": None,
        "/x?q=/aaa": None,
    }
    for target, body in expected.items():
        answer = client.get(target)
        assert (answer.status, answer.body or None) == ((200, body) if body else (404, answer.body or None)), target


@pytest.mark.case(15)
@every_connector
def test_first_rule_wins(lab: Lab, publish: Publisher, origins: list[Origin]) -> None:
    tunnelled = publish.tunnelled
    tunnelled.made += 1
    below = f"w{tunnelled.made}.{tunnelled.domain}"
    for name in (f"app.{below}", f"a.internal.{below}", below):  # a certificate's wildcard covers one label
        lab.edge.api.publish(lab.zone, name, tunnelled.tunnel.id)
    publish.rules(
        [
            {"hostname": f"*.{below}", "service": origins[0].service},
            {"hostname": f"app.{below}", "service": origins[1].service},
            {"hostname": f"*.internal.{below}", "service": origins[2].service},
        ]
    )
    wait_until(lambda: lab.status(below) == 404, "the last record's route; a wildcard never matches the name above it")
    for host in (f"app.{below}", f"a.internal.{below}", f"APP.{below}.", f"app.{below}:443"):
        sni = host.lower().removesuffix(":443").removesuffix(".")
        with lab.edge.h1(sni) as client:
            answer = client.get("/", [("Host", host)])
            assert (answer.status, answer.body) == (200, b"s1"), host


@pytest.mark.case(15)
def test_edge_prefers_exact_then_the_longer_wildcard(folder: Path) -> None:
    edge = Edge(folder / "edge", public_http_mode="serve")
    api = edge.api
    zone = api.create_zone("example.test")
    connectors: list[QuicConnector] = []
    names = {"*.w15.example.test": b"short", "*.internal.w15.example.test": b"long", "app.w15.example.test": b"exact"}
    for name, text in names.items():
        tunnel = api.create_tunnel(text.decode() + "-w15")
        api.publish(zone, name, tunnel.id)

        async def handler(stream: Any, text: bytes = text) -> None:
            stream.respond(200, [], text)

        connectors.append(QuicConnector(edge.tunnel, edge.ca_file, tunnel.token, handler=handler))
    expected = {
        "app.w15.example.test": b"exact",
        "other.w15.example.test": b"short",
        "a.b.w15.example.test": b"short",
        "a.internal.w15.example.test": b"long",
        "APP.W15.example.test.": b"exact",
        "app.w15.example.test:8443": b"exact",
    }
    try:
        with edge.plain("app.w15.example.test") as client:
            wait_until(lambda: client.get("/").status == 200, "the routes")
            for host, body in expected.items():
                assert client.get("/", [("Host", host)]).body == body, host
            # It exists in the DNS, as a name below it does, and so the wildcard doesn't stand for it (RFC 4592 2.2.2).
            assert client.get("/", [("Host", "internal.w15.example.test")]).status == 404
            assert client.get("/", [("Host", "w15.example.test")]).status == 404
    finally:
        for connector in connectors:
            connector.close()
        edge.stop()


CATCH_ALL = {"service": "http_status:404"}
ONE = {"hostname": "a.example.test", "service": "http://127.0.0.1:80"}
REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no catch-all": ([ONE], "ingress"),
    "catch-all in the middle": ([ONE, {"service": "http://127.0.0.1:81"}, ONE, CATCH_ALL], "ingress[1]"),
    "last rule with a path only": ([ONE, {"path": "/x", "service": "http://127.0.0.1:81"}], "ingress[1]"),
    "hostname is a URL": ([{**ONE, "hostname": "https://a.example.com"}, CATCH_ALL], "ingress[0]"),
    "hostname with a port": ([{**ONE, "hostname": "a.example.com:8443"}, CATCH_ALL], "ingress[0]"),
    "wildcard inside": ([{**ONE, "hostname": "a.*.example.com"}, CATCH_ALL], "ingress[0]"),
    "two wildcards": ([{**ONE, "hostname": "*.*.example.com"}, CATCH_ALL], "ingress[0]"),
    "service without scheme": ([{**ONE, "service": "localhost:80"}, CATCH_ALL], "ingress[0]"),
    "service with a path": ([{**ONE, "service": "http://127.0.0.1:80/base"}, CATCH_ALL], "ingress[0]"),
    "status too small": ([{**ONE, "service": "http_status:99"}, CATCH_ALL], "ingress[0]"),
    "status too big": ([{**ONE, "service": "http_status:1000"}, CATCH_ALL], "ingress[0]"),
    "status is no number": ([{**ONE, "service": "http_status:abc"}, CATCH_ALL], "ingress[0]"),
    "bad path pattern": ([{**ONE, "path": "/(unclosed"}, CATCH_ALL], "ingress[0]"),
    "no service": ([{"hostname": "a.example.test"}, CATCH_ALL], "ingress[0]"),
    "empty service": ([{**ONE, "service": ""}, CATCH_ALL], "ingress[0]"),
    "negative timeout": ([{**ONE, "originRequest": {"connectTimeout": -1}}, CATCH_ALL], "ingress[0]"),
    "timeout is a text": ([{**ONE, "originRequest": {"connectTimeout": "thirty"}}, CATCH_ALL], "ingress[0]"),
    "rule is no object": (["http://127.0.0.1"], "ingress[0]"),  # type: ignore[list-item]
}


@pytest.mark.case(50)
@pytest.mark.parametrize("name", REFUSED)
def test_bad_ingress_is_refused_and_leaves_no_trace(edge: Edge, name: str) -> None:
    rules, where = REFUSED[name]
    tunnel = edge.api.create_tunnel(f"case 50, {name}")
    good = edge.api.put_configuration(tunnel.id, [CATCH_ALL])
    before = edge.api.configuration(tunnel.id)
    with pytest.raises(ApiError) as refused:
        edge.api.put_configuration(tunnel.id, rules)
    assert refused.value.status == 400
    assert all(isinstance(error["code"], int) for error in refused.value.errors)
    number = where.removeprefix("ingress").strip("[]")
    assert number in refused.value.text and "ingress" in refused.value.text, refused.value.text
    assert edge.api.configuration(tunnel.id) == before
    assert before["version"] == good
    edge.api.delete_tunnel(tunnel.id)


@pytest.mark.case(50)
@pytest.mark.parametrize(
    "rule", [{"hostname": "*", **CATCH_ALL}, {"hostname": "", **CATCH_ALL}, {"service": "hello-world"}]
)
def test_all_forms_of_a_catch_all_are_good(edge: Edge, rule: dict[str, Any]) -> None:
    tunnel = edge.api.create_tunnel(f"case 50, {rule}")
    assert edge.api.put_configuration(tunnel.id, [ONE, rule]) >= 1
    edge.api.delete_tunnel(tunnel.id)


@pytest.mark.case(50)
def test_refused_configuration_is_not_pushed(fakes: Fakes) -> None:
    tunnel, _ = fakes.tunnel()
    version = fakes.edge.api.put_configuration(tunnel.id, [CATCH_ALL])
    connector = fakes.quic(tunnel)
    assert isinstance(connector, QuicConnector)
    assert connector.wait_configuration()[0] == version
    with pytest.raises(ApiError):
        fakes.edge.api.put_configuration(tunnel.id, [ONE])
    later = fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:503"}])
    assert connector.wait_configuration(2)[0] == later == version + 1
