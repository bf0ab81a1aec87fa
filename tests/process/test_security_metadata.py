"""security.md S12: hostile metadata ends its stream at the edge (from a connector) and at the connector (from an edge)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import rpc
from tests.support.connector import Connector
from tests.support.connectors import Http2Stream, QuicStream, serialised
from tests.support.edges import QuicEdge
from tests.support.http2 import Reset
from tests.support.origin import Origin
from tests.support.sites import Fakes

pytestmark = pytest.mark.requirement("S12")

BAD_RESPONSES: dict[str, rpc.Metadata] = {
    "CR LF in a value": [("HttpStatus", "200"), ("HttpHeader:X-A", "a\r\nSet-Cookie: stolen=1")],
    "LF in a value": [("HttpStatus", "200"), ("HttpHeader:X-A", "a\nb")],
    "CR in a value": [("HttpStatus", "200"), ("HttpHeader:X-A", "a\rb")],
    "NUL in a value": [("HttpStatus", "200"), ("HttpHeader:X-A", "a\0b")],
    "name with a colon": [("HttpStatus", "200"), ("HttpHeader:X:A", "1")],
    "name with CR LF": [("HttpStatus", "200"), ("HttpHeader:X\r\nY", "1")],
    "empty name": [("HttpStatus", "200"), ("HttpHeader:", "1")],
    "no status": [("HttpHeader:X-A", "1")],
    "status is no number": [("HttpStatus", "abc")],
    "status out of range": [("HttpStatus", "99")],
    "status far out of range": [("HttpStatus", "100000")],
    "negative status": [("HttpStatus", "-200")],
    "two lengths": [("HttpStatus", "200"), ("HttpHeader:Content-Length", "1"), ("HttpHeader:Content-Length", "2")],
    "101 without being asked": [("HttpStatus", "101"), ("HttpHeader:Upgrade", "websocket")],
}


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_edge_refuses_hostile_metadata_over_quic(fakes: Fakes, version: str, name: str) -> None:
    async def handler(stream: QuicStream) -> None:
        stream.write(rpc.DATA + rpc.connect_response(BAD_RESPONSES[name]) + b"body", end=True)

    tunnel, hostname = fakes.tunnel()
    fakes.quic(tunnel, handler=handler)
    with fakes.edge.h1(hostname) if version == "h1" else fakes.edge.h2(hostname) as client:
        answer = client.get()
        assert answer.status == 502
        assert answer.value("set-cookie") is None
        assert "stolen" not in str(answer.fields)
        assert fakes.edge.cause(answer.request_id) in ("tunnel_protocol_error", "origin_bad_response")


BAD_SERIALISED = {
    "CR LF in a value": serialised([("X-A", "a\r\nSet-Cookie: stolen=1")]),
    "NUL in a value": serialised([("X-A", "a\0b")]),
    "name with a colon": serialised([("X:A", "1")]),
    "empty name": serialised([("", "1")]),
    "not base64": "%%%:%%%",
    "no colon": "WEE",
    "half a pair": "WEE:",
}


@pytest.mark.parametrize("name", BAD_SERIALISED)
def test_edge_refuses_hostile_serialised_headers_over_http2(fakes: Fakes, name: str) -> None:
    async def handler(stream: Http2Stream) -> None:
        stream.head(
            200,
            [
                ("cf-cloudflared-response-headers", BAD_SERIALISED[name]),
                ("cf-cloudflared-response-meta", '{"src":"origin"}'),
            ],
        )
        stream.write(b"body", end=True)

    tunnel, hostname = fakes.tunnel()
    fakes.http2(tunnel, handler=handler)
    with fakes.edge.h1(hostname) as client:
        answer = client.get()
        if name == "half a pair":
            assert answer.status in (200, 502)
            return
        assert answer.status == 502
        assert "stolen" not in str(answer.fields)


@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_a_field_that_has_no_name_of_http_is_left_out_of_an_answer(fakes: Fakes, version: str, protocol: str) -> None:
    """Stock connectors hand on what origins send: `X A: 1` goes, and `X-B : 2` loses its blank (RFC 9112 5.1)."""
    fields = [("X A", "1"), ("X-B ", "2"), ("X-C", "3")]

    async def over_quic(stream: QuicStream) -> None:
        metadata = [("HttpStatus", "200"), *((f"HttpHeader:{name}", value) for name, value in fields)]
        stream.write(rpc.DATA + rpc.connect_response(metadata) + b"body", end=True)

    async def over_http2(stream: Http2Stream) -> None:
        head = [("cf-cloudflared-response-headers", serialised(fields))]
        stream.head(200, [*head, ("cf-cloudflared-response-meta", '{"src":"origin"}')])
        stream.write(b"body", end=True)

    tunnel, hostname = fakes.tunnel()
    if protocol == "quic":
        fakes.quic(tunnel, handler=over_quic)
    else:
        fakes.http2(tunnel, handler=over_http2)
    with fakes.edge.h1(hostname) if version == "h1" else fakes.edge.h2(hostname) as client:
        answer = client.get()
    assert (answer.status, answer.body) == (200, b"body")
    own = [(name.lower(), value) for name, value in answer.fields if name.lower().startswith("x")]
    assert own == [("x-b", "2"), ("x-c", "3")]


def test_reset_instead_of_an_answer_is_502(fakes: Fakes) -> None:
    async def handler(stream: QuicStream) -> None:
        stream.reset_now(7)

    tunnel, hostname = fakes.tunnel()
    fakes.quic(tunnel, handler=handler)
    with fakes.edge.h2(hostname) as client:
        try:
            assert client.request("POST", "/", body=b"x").status == 502
        except Reset:
            pytest.fail("the edge has an answer of its own")


# ------------------------------------------------------------------------------------------- at the connector
@pytest.fixture
def tapped(folder: Path) -> Iterator[tuple[QuicEdge, Connector, Origin]]:
    """Our connector on an edge of the laboratory, with an origin that records."""
    import base64
    import json

    token = {
        "a": "0123456789abcdef0123456789abcdef",
        "t": "11111111-2222-3333-4444-555555555555",
        "s": base64.b64encode(bytes(range(32))).decode(),
    }
    origin = Origin()
    edge = QuicEdge(folder)
    connector = Connector(
        folder / "connector", edge.address, base64.b64encode(json.dumps(token).encode()).decode(), ca_file=edge.ca_file
    )
    try:
        session = edge.wait_registered()
        assert session.registrations[0].secret == bytes(range(32))
        assert edge.push(1, {"ingress": [{"service": origin.service}]}) == (1, "")
        yield edge, connector, origin
        connector.stop()
    finally:
        connector.process.kill()
        edge.close()
        origin.close()


GOOD = [("HttpMethod", "GET"), ("HttpHost", "app.example.com")]
BAD_REQUESTS: dict[str, tuple[str, rpc.Metadata]] = {
    "CR LF in a value": ("http://app.example.com/", [*GOOD, ("HttpHeader:X-A", "a\r\nX-Smuggled: 1")]),
    "LF in a value": ("http://app.example.com/", [*GOOD, ("HttpHeader:X-A", "a\nb")]),
    "NUL in a value": ("http://app.example.com/", [*GOOD, ("HttpHeader:X-A", "a\0b")]),
    "name with a colon": ("http://app.example.com/", [*GOOD, ("HttpHeader:X:A", "1")]),
    "name with a space": ("http://app.example.com/", [*GOOD, ("HttpHeader:X A", "1")]),
    "empty name": ("http://app.example.com/", [*GOOD, ("HttpHeader:", "1")]),
    "CR LF in the method": ("http://app.example.com/", [("HttpMethod", "GET / HTTP/1.1\r\nX: "), GOOD[1]]),
    "space in the method": ("http://app.example.com/", [("HttpMethod", "GET /x"), GOOD[1]]),
    "CR LF in the host": ("http://app.example.com/", [GOOD[0], ("HttpHost", "a\r\nX-Smuggled: 1")]),
    "CR LF in the target": ("http://app.example.com/\r\nX-Smuggled: 1", GOOD),
    "space in the target": ("http://app.example.com/ HTTP/1.1", GOOD),
    "dest is no URL": ("app", GOOD),
    "two lengths": (
        "http://app.example.com/",
        [("HttpMethod", "POST"), GOOD[1], ("HttpHeader:Content-Length", "1"), ("HttpHeader:Content-Length", "2")],
    ),
    "length and coding": (
        "http://app.example.com/",
        [
            ("HttpMethod", "POST"),
            GOOD[1],
            ("HttpHeader:Content-Length", "1"),
            ("HttpHeader:Transfer-Encoding", "chunked"),
        ],
    ),
}


def test_connector_refuses_hostile_metadata(tapped: tuple[QuicEdge, Connector, Origin]) -> None:
    edge, connector, origin = tapped
    for name, (dest, metadata) in BAD_REQUESTS.items():
        response = edge.request(dest, metadata, b"xx")
        assert response.reset is not None or response.error or response.status >= 400, name
    assert origin.requests == [], [request.raw_head for request in origin.requests]
    assert b"X-Smuggled" not in origin.raw
    good = edge.request("http://app.example.com/", GOOD)
    assert (good.status, good.body) == (200, b"hello")
    assert connector.process.running


HOSTILE_STREAMS = {
    "unknown signature": b"\xff" * 6,
    "old version": bytes.fromhex("0a36cd12a13e") + b"00",
    "nothing": b"",
    "half a signature": bytes.fromhex("0a36cd"),
    "no message": rpc.DATA,
    "truncated message": rpc.DATA + rpc.connect_request("http://a/", GOOD)[:-8],
    "four thousand million segments": rpc.DATA + b"\xff\xff\xff\xff" + b"\0" * 64,
    "a segment of 16 GiB": rpc.DATA + b"\0\0\0\0\xff\xff\xff\x7f" + b"\0" * 64,
    "pointer out of bounds": rpc.DATA + bytes.fromhex("0000000002000000fcffffff0100ffff0000000000000000"),
    "pointer to itself": rpc.DATA + bytes.fromhex("0000000001000000fcffffff00000100"),
    "random bytes": rpc.DATA + bytes(range(256)) * 4,
    "RPC garbage": rpc.RPC + b"\xff" * 256,
    "RPC truncated": rpc.RPC + b"\0\0\0\0\x05\0\0\0",
}


@pytest.mark.requirement("S30")
def test_connector_survives_hostile_streams(tapped: tuple[QuicEdge, Connector, Origin]) -> None:
    edge, connector, origin = tapped
    before = connector.process.rss_bytes()
    for _ in range(20):
        for raw in HOSTILE_STREAMS.values():
            edge.open(raw, end=True)
    good = edge.request("http://app.example.com/", GOOD)
    assert (good.status, good.body) == (200, b"hello")
    assert len(origin.requests) == 1
    assert connector.process.rss_bytes() - before < 32 << 20
    assert len(edge.sessions) == 1, "the connection was given up for one bad stream"


def test_connector_announces_itself(tapped: tuple[QuicEdge, Connector, Origin]) -> None:
    edge, connector, _ = tapped
    registration = edge.sessions[0].registrations[0]
    assert registration.account == "0123456789abcdef0123456789abcdef"
    assert str(registration.tunnel_id) == "11111111-2222-3333-4444-555555555555"
    assert registration.index == 0
    assert str(registration.connector_id) == connector.connector_id
    assert {"allow_remote_config", "serialized_headers"} <= set(registration.features)
    assert registration.arch.startswith("linux_")


def test_connector_keeps_the_last_good_configuration(tapped: tuple[QuicEdge, Connector, Origin]) -> None:
    edge, connector, _ = tapped
    applied, error = edge.push(2, {"ingress": [{"hostname": "a.example.com", "service": "http://x/"}]})
    assert applied == 1
    assert "ingress" in error
    assert error
    assert edge.push(1, {}) == (1, "")
    assert edge.push(2, b"not json")[0] == 1
    assert connector.version == 1
    assert edge.request("http://app.example.com/", GOOD).status == 200
    assert edge.push(3, {"ingress": [{"service": "http_status:418"}]}) == (3, "")
    assert edge.request("http://app.example.com/", GOOD).status == 418


def test_connector_speaks_stock_to_a_stock_edge(tapped: tuple[QuicEdge, Connector, Origin]) -> None:
    """No qanat addition appears on the wire unless the edge asks for it."""
    edge, _, origin = tapped
    origin.answers(200, b"hello", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    response = edge.request(
        "http://app.example.com/hello?x=1", [*GOOD, ("HttpHeader:X-Dup", "a"), ("HttpHeader:X-Dup", "b")]
    )
    assert all(key == "HttpStatus" or key.startswith("HttpHeader:") for key, _ in response.metadata), response.metadata
    assert [text for key, text in response.metadata if key == "HttpHeader:Set-Cookie"] == ["a=1", "b=2"]
    assert origin.last.values("x-dup") == ["a", "b"]
    assert origin.last.target == "/hello?x=1"
    down = Origin()
    port = down.service
    down.close()
    edge.push(2, {"ingress": [{"service": port}]})
    refused = edge.request("http://app.example.com/", GOOD)
    assert refused.error.startswith("Unable to reach the origin service")
    assert refused.metadata == []


def test_connector_unregisters_and_ends_its_connection(tapped: tuple[QuicEdge, Connector, Origin]) -> None:
    edge, connector, _ = tapped
    connector.process.stop()
    assert edge.sessions[0].unregistered
    from tests.support.waiting import wait_until

    end = wait_until(lambda: edge.sessions[0].protocol.end, "the end of the connection")
    assert end.error_code == 0


def test_connector_obeys_the_retry_delay_of_a_refusal(folder: Path) -> None:
    import base64
    import json

    token = {"a": "0" * 32, "t": "11111111-2222-3333-4444-555555555555", "s": base64.b64encode(b"s" * 32).decode()}
    with QuicEdge(folder) as edge:
        edge.refusal = rpc.Refused("Unauthorized: because", 3600.0, True)
        connector = Connector(
            folder / "c",
            edge.address,
            base64.b64encode(json.dumps(token).encode()).decode(),
            ca_file=edge.ca_file,
            wait=False,
        )
        try:
            edge.wait_registered()
            connector.process.wait_for("Unauthorized: because")
            from tests.support.waiting import stays_true

            stays_true(
                lambda: sum(len(session.registrations) for session in edge.sessions) == 1, "it hammers", for_s=2.0
            )
        finally:
            connector.process.kill()
