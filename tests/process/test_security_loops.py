"""security.md S19, S20: origins that speak out of turn, and origins that are the edge itself."""

import time
from pathlib import Path

import pytest

from tests.support.api import ApiError
from tests.support.connector import Connector
from tests.support.edge import Edge
from tests.support.fixtures import every_connector, quic_only
from tests.support.http1 import Http1Client
from tests.support.origin import Exchange
from tests.support.sites import Publisher, Site
from tests.support.waiting import wait_until

CONTROL = [
    "cf-int-x",
    "Cf-Int-Secret",
    "cf-cloudflared-response-meta",
    "CF-Cloudflared-Response-Headers",
    "cf-cloudflared-qanat-status",
    "Cf-Cloudflared-Qanat-Error",
    "cf-proxy-x",
    "cf_cloudflared_proxy_src",
]


@pytest.mark.requirement("S19")
@every_connector
def test_control_names_of_an_origin_end_at_the_edge(site: Site, version: str) -> None:
    """Neither does a visitor see them, nor does the edge heed them: the answer is the origin's own."""
    told = [(name, '{"src":"cloudflared"}') for name in CONTROL]
    cookies = [("Set-Cookie", f"c{n}={n}; Path=/") for n in range(5)]

    def script(exchange: Exchange) -> None:
        if site.link.kind == "qanat":  # a stock connector drops 1xx heads
            exchange.head(103, [*told, ("Link", "</a.css>")], "Early Hints")
        exchange.answer(502, b"mine", [*told, *cookies, ("X-Kept", "1")])

    site.origin.script = script
    answer = site.client(version).get()
    assert (answer.status, answer.body) == (502, b"mine")
    fields = [*answer.fields, *(field for _, early in answer.informational for field in early)]
    names = {name.lower().replace("_", "-") for name, _ in fields}
    assert not [name for name in names if name.startswith(("cf-int-", "cf-cloudflared-", "cf-proxy-", ":"))]
    assert answer.values("set-cookie") == [text for _, text in cookies]
    assert answer.value("x-kept") == "1"


@pytest.mark.requirement("S20")
@quic_only
def test_a_loop_through_two_edges_is_cut(publish: Publisher, folder: Path) -> None:
    """A's origin is B and B's is A: 508, at once, and a visitor of another hostname of A notices nothing."""
    first = publish.hostname()
    here = publish.tunnelled.edge
    there = Edge(folder / "edge")
    connector = None
    try:
        tunnel = there.api.create_tunnel("back")
        second = "back.example.test"
        there.api.publish(there.api.create_zone("example.test"), second, tunnel.id)
        rule = {"service": f"https://{here.https}", "originRequest": origin_request(first)}
        version = there.api.put_configuration(tunnel.id, [rule])
        connector = Connector(folder / "connector", there, tunnel.token, connections=1)
        connector.wait_version(version)
        site = publish.rules(
            [
                {"hostname": first, "service": f"https://{there.https}", "originRequest": origin_request(second)},
                {"hostname": (bystander := publish.hostname()), "service": "http_status:204"},
            ]
        )
        with here.h1(first) as client, here.h1(bystander) as other:
            wait_until(lambda: client.get().status == 508, "the loop to be closed")
            took = []
            for _ in range(10):
                start = time.perf_counter()
                answer = client.get()
                took.append(time.perf_counter() - start)
                assert answer.status == 508
                assert other.get().status == 204
        assert min(took) < 1.0, took  # a loop that is cut by a limit of time takes many of them
        assert site is not None
    finally:
        if connector is not None:
            connector.stop()
        there.stop()


def origin_request(name: str) -> dict[str, object]:
    return {"noTLSVerify": True, "originServerName": name, "httpHostHeader": name}


@pytest.mark.requirement("S20")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([("Cdn-Loop", "qanat, qanat, qanat")], 200),
        ([("Cdn-Loop", "qanat, qanat"), ("cdn-loop", "other, qanat;x=1, Qanat")], 508),
        ([("Via", "1.1 a, 1.1 b, 1.1 c, 1.1 d, 1.1 e")], 200),
        ([("Via", "1.1 a, 1.1 a, 1.1 a")], 200),
        ([("Via", "1.1 a, 2 a"), ("Via", "HTTP/1.1 A (x), 1.0 a")], 508),
    ],
)
def test_who_came_by_too_often(site: Site, fields: list[tuple[str, str]], status: int) -> None:
    client = site.h1()
    assert isinstance(client, Http1Client)
    assert client.get("/", fields).status == status
    assert len(site.origin.requests) == (status == 200)


@pytest.mark.requirement("S20")
def test_an_edge_as_its_own_origin_is_refused_at_the_push(edge: Edge) -> None:
    tunnel = edge.api.create_tunnel("S20 itself")
    for service in (f"https://{tunnel.id}.cfargotunnel.com", "http://h2.cftunnel.com:7844"):
        with pytest.raises(ApiError) as refused:
            edge.api.put_configuration(tunnel.id, [{"service": service}])
        assert refused.value.status == 400
        assert "edge itself" in str(refused.value)
    edge.api.delete_tunnel(tunnel.id)
