"""security.md S17, S18, S56: identity fields are the edge's own, whatever a client does to them."""

import pytest

from tests.support.fixtures import every_connector
from tests.support.http1 import Fields
from tests.support.sites import Site

MARK = "10.9.8.7"
DROPPED = [
    "CF-Connecting-IP",
    "CF-IPCountry",
    "CF-Visitor",
    "Cf-Access-Jwt-Assertion",
    "Cf-Access-Authenticated-User-Email",
    "Cf-Cloudflared-X",
    "Cf-Int-X",
    "Cf-Proxy-X",
    "Cf-Warp-Tag-Id",
    "CF-Ray",
    "cf-trace-id",
    "X-Real-IP",
    "True-Client-IP",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "X-Forwarded-Anything",
    "Forwarded",
]


def spellings(name: str) -> list[str]:
    return [name, name.lower(), name.upper(), name.replace("-", "_"), name.lower().replace("-", "_")]


@pytest.mark.requirement("S17")
@every_connector
def test_client_identity_fields_are_dropped(site: Site) -> None:
    client = site.h1()
    for name in DROPPED:
        for spelled in spellings(name):
            fields: Fields = [(spelled, MARK), (spelled, f"{MARK}, x")]
            assert client.get("/", fields).status == 200, spelled
            assert MARK.encode() not in site.origin.last.raw_head, spelled


@pytest.mark.requirement("S17")
@every_connector
def test_client_identity_fields_are_dropped_from_http2(site: Site) -> None:
    client = site.h2()
    for name in DROPPED:
        for spelled in {text.lower() for text in spellings(name)}:
            assert client.get("/", [(spelled, MARK), (spelled, MARK)]).status == 200, spelled
            assert MARK.encode() not in site.origin.last.raw_head, spelled


@pytest.mark.requirement("S17")
def test_in_trailers(site: Site) -> None:
    for name in DROPPED:
        for spelled in spellings(name):
            with site.edge.h1(site.hostname) as client:
                client.start("POST", "/", [("Transfer-Encoding", "chunked")])
                client.send_chunk(b"body")
                client.end_chunks([(spelled, MARK)])
                assert client.answer("POST").status in (200, 400)
    assert MARK.encode() not in site.origin.raw


@pytest.mark.requirement("S17")
@every_connector
def test_edge_sets_its_own_once(site: Site, version: str) -> None:
    assert site.client(version).get().status == 200
    request = site.origin.last
    assert request.values("cf-connecting-ip") == ["127.0.0.1"]
    assert request.values("x-forwarded-for") == ["127.0.0.1"]
    assert request.values("x-forwarded-proto") == ["https"]
    assert len(request.values("cf-ray")) == 1
    assert request.values("x-forwarded-proto") == ["https"]


@pytest.mark.requirement("S18")
@pytest.mark.parametrize("name", ["cf-connecting-ip", "x-forwarded-proto", "x-forwarded-for", "cf-ray", "host"])
@every_connector
def test_connection_names_cannot_remove_the_edges_fields(site: Site, name: str) -> None:
    answer = site.h1().get("/", [("Connection", f"keep-alive, {name}")])
    if answer.status == 400:
        assert site.origin.requests == []
        return
    request = site.origin.last
    assert request.values("cf-connecting-ip") == ["127.0.0.1"]
    assert request.values("x-forwarded-proto") == ["https"]
    assert request.values("x-forwarded-for") == ["127.0.0.1"]
    assert len(request.values("cf-ray")) == 1
    assert request.values("host") == [site.hostname]


@pytest.mark.requirement("S18")
def test_te_is_trailers_or_nothing(site: Site) -> None:
    client = site.h1()
    for sent, kept in (
        ("trailers", "trailers"),
        ("gzip", None),
        ("trailers, gzip", "trailers"),
        ("gzip;q=0.5, trailers", "trailers"),
    ):
        assert client.get("/", [("TE", sent), ("Connection", "TE")]).status == 200
        assert site.origin.last.value("te") in (kept, None)


@pytest.mark.requirement("S18")
def test_proxy_fields_are_never_forwarded(site: Site) -> None:
    fields = [("Proxy-Connection", "x"), ("Proxy-Authorization", "y"), ("Proxy-Anything", "z"), ("Keep-Alive", "5")]
    assert site.h1().get("/", fields).status == 200
    names = site.origin.last.names
    assert not [name for name in names if name.startswith("proxy-") or name == "keep-alive"]


@pytest.mark.requirement("S56")
@every_connector
def test_ray_is_the_edges_own_for_each_request(site: Site, version: str) -> None:
    client = site.client(version)
    seen = set()
    for _ in range(3):
        answer = client.get("/", [("cf-ray", "forged")])
        (ray,) = site.origin.last.values("cf-ray")
        assert "forged" not in ray
        assert answer.value("cf-ray") in (None, ray)
        seen.add(ray)
    assert len(seen) == 3


def test_connector_adds_its_tag_once(site: Site) -> None:
    assert site.h1().get("/", [("Cf-Warp-Tag-Id", "forged"), ("Accept-Encoding", "br")]).status == 200
    request = site.origin.last
    assert request.values("cf-warp-tag-id") == [site.connector.connector_id]
    assert request.values("accept-encoding") == ["br"]


def test_connector_adds_no_accept_encoding(site: Site) -> None:
    assert site.get().status == 200
    assert site.origin.last.value("accept-encoding") is None
