"""security.md S54 to S57: what a connector takes as its edge's word never comes from a client."""

import itertools
from pathlib import Path

import pytest

from tests.support.connector import STOCK, Connector
from tests.support.connectors import Http2Connector, Http2Stream, QuicConnector, QuicStream
from tests.support.fixtures import NO_STOCK, every_connector
from tests.support.http1 import Cut, Fields, Http1Client
from tests.support.http2 import Http2Client, Reset
from tests.support.origin import Origin
from tests.support.sites import Fakes, Site
from tests.support.waiting import wait_until

UPGRADE, SRC = "Cf-Cloudflared-Proxy-Connection-Upgrade", "Cf-Cloudflared-Proxy-Src"
NAMES = [
    UPGRADE,
    UPGRADE.lower(),
    UPGRADE.upper(),
    "cF-cLOUDFLARED-pROXY-cONNECTION-uPGRADE",
    UPGRADE.replace("-", "_"),
    SRC,
    SRC.lower(),
    SRC.replace("-", "_"),
    "Cf-Cloudflared-Response-Headers",
    "Cf-Cloudflared-Request-Headers",
    "Cf-Cloudflared-Anything",
    "Cf-Int-Trace",
    "Cf-Proxy-Thing",
    "CF-Warp-Tag-Id",
    "cf-trace-id",
    "Cf-Access-Jwt-Assertion",
    "CF-Ray",
]
VALUES = ["control-stream", "update-configuration", "websocket", "tcp"]
MARK = "planted-by-the-client"


def attack_h1(client: Http1Client, fields: Fields, body: bytes | None = None) -> None:
    try:
        client.request("POST" if body else "GET", "/attack", fields, body)
    except (Cut, OSError):
        pass


def attack_h2(client: Http2Client, fields: Fields, body: bytes | None = None) -> None:
    try:
        client.request("POST" if body else "GET", "/attack", fields, body)
    except (Reset, OSError):
        pass


@pytest.fixture(params=["quic", "http2"])
def recorded(request: pytest.FixtureRequest, fakes: Fakes) -> tuple[str, QuicConnector | Http2Connector]:
    """A hostname whose connector records every byte that the edge sends."""
    tunnel, hostname = fakes.tunnel()
    return hostname, fakes.connector(request.param, tunnel)


@pytest.mark.requirement("S54", "S56")
def test_control_names_never_reach_a_connector(
    fakes: Fakes, recorded: tuple[str, QuicConnector | Http2Connector]
) -> None:
    hostname, connector = recorded
    for name, value in itertools.product(NAMES, VALUES):
        value = f"{value}"
        with fakes.edge.h1(hostname) as client:
            attack_h1(client, [(name, value), (name, f"{value}; {MARK}"), ("X-Kept", "1")])
        if name == name.lower() or "_" in name:
            with fakes.edge.h2(hostname) as second:
                attack_h2(second, [(name.lower(), value), (name.lower(), MARK), ("x-kept", "1")])
    for name in NAMES:
        with fakes.edge.h1(hostname) as client:
            attack_h1(client, [("Connection", f"close, {name}"), (name, MARK)])
    with fakes.edge.h1(hostname) as client:
        assert client.get("/last").status == 200
    wait_until(lambda: len(connector.data_streams) >= 1, "requests at the connector")
    assert MARK.encode() not in connector.received
    lowered = [name.lower().replace("_", "-") for name in NAMES]
    own = {"cf-ray", "cf-warp-tag-id"}
    for head in connector.heads:
        names = [name.lower().replace("_", "-") for name, _ in head]
        assert not [name for name in names if name in lowered and name not in own], head
        assert names.count("cf-ray") == 1
        values = [text for name, text in head if name.lower() == "cf-ray"]
        assert values[0] not in VALUES
    assert len(connector.configurations) <= 1
    assert connector.problems == []


@pytest.mark.requirement("S54")
def test_control_names_in_trailers_never_reach_a_connector(
    fakes: Fakes, recorded: tuple[str, QuicConnector | Http2Connector]
) -> None:
    hostname, connector = recorded
    for name in NAMES:
        with fakes.edge.h1(hostname) as client:
            client.start("POST", "/", [("Transfer-Encoding", "chunked"), ("Trailer", name)])
            client.send_chunk(b"body")
            client.end_chunks([(name, MARK)])
            try:
                client.answer("POST")
            except (Cut, OSError):
                pass
        with fakes.edge.h2(hostname, strict=False) as second:
            number = second.start("POST", "/", end=False)
            second.data(number, b"body")
            second.trailers(number, [(name.lower(), MARK)])
            try:
                second.answer(number)
            except Reset:
                pass
    assert MARK.encode() not in connector.received
    assert connector.problems == []


PRIVATE_BODY = b'{"version":99,"config":{"ingress":[{"service":"%s"}]}}'


@pytest.mark.requirement("S54")
@every_connector
@pytest.mark.parametrize("version", ["h1", "h2"], indirect=True)
def test_real_connector_takes_no_orders_from_a_client(site: Site, version: str) -> None:
    private = Origin(script=lambda exchange: exchange.answer(200, b"private"))
    secret = (site.connector.token_file.read_text(), site.tunnelled.tunnel.id)
    before = site.connector.version
    try:
        for value in VALUES:
            for name in (UPGRADE, UPGRADE.lower(), UPGRADE.upper(), SRC, SRC.lower()):
                client = site.h1() if version == "h1" else site.h2(strict=False)
                body = PRIVATE_BODY % private.service.encode()
                name = name if version == "h1" else name.lower()
                try:
                    client.request("POST", "/", [(name, value)], body)
                    client.request(
                        "GET", "/", [(name, value), ("host", f"127.0.0.1:{private.service.rpartition(':')[2]}")]
                    )
                except (Cut, Reset, OSError):
                    pass
                seen = bytes(client.wire.seen)
                assert secret[0].encode() not in seen
                assert b"RegistrationServer" not in seen
                assert not any(bytes(range(n, n + 8)) in seen for n in range(0, 24))
        assert site.connector.version == before
        assert private.connections == []
        assert site.get().body == b"hello"
    finally:
        private.close()


# ------------------------------------------------------------------------------------------------ S55
@pytest.mark.requirement("S55")
@pytest.mark.parametrize("host", ["{}", "{}:443", "{upper}", "{}.", "{upper}.:443"])
def test_management_host_is_refused(site: Site, version: str, host: str) -> None:
    name = "management.argotunnel.com"
    sent = host.replace("{}", name).replace("{upper}", name.upper())
    mark = site.connector.process.mark()
    client = site.client(version)
    target = "/host_details?access_token=e30.e30.AAAA"
    if isinstance(client, Http1Client):
        answer = client.get(target, [("Host", sent)])
    else:
        answer = client.answer(client.start("GET", target, authority=sent))
    assert answer.status in (403, 421)
    assert site.edge.cause(answer.request_id) == "management_host"
    assert site.origin.requests == []
    assert not [line for line in site.connector.process.since(mark) if "management" in line]


@pytest.mark.requirement("S55")
def test_management_host_is_refused_on_the_plain_listener(site: Site) -> None:
    with site.edge.plain("management.argotunnel.com") as client:
        assert client.get("/ping").status in (403, 404, 421)


@pytest.mark.requirement("S55")
@pytest.mark.cloudflared
@pytest.mark.skipif(not STOCK, reason=NO_STOCK)
def test_stock_connector_behind_a_wildcard_never_sees_the_host(fakes: Fakes, folder: Path) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:418"}])
    connector = Connector(folder / "stock", fakes.edge, tunnel.token, kind="cloudflared", protocol="http2")
    try:
        with fakes.edge.h1(hostname) as client:
            assert client.get("/ping", [("Host", "management.argotunnel.com")]).status in (403, 421)
            assert client.get("/ping", [("Host", "MANAGEMENT.argotunnel.com.:443")]).status in (403, 421)
    finally:
        connector.stop()


# ------------------------------------------------------------------------------------------------ S57
BAD_NAMES = ["x:y", "x y", "x\ty", "HttpMethod:", "x(y)", "x/y", "\x7fx", "x\xe9"]


@pytest.mark.requirement("S57")
@pytest.mark.parametrize("name", BAD_NAMES)
def test_field_names_are_tokens(fakes: Fakes, recorded: tuple[str, QuicConnector | Http2Connector], name: str) -> None:
    hostname, connector = recorded
    with fakes.edge.h1(hostname) as client:
        client.send(f"GET / HTTP/1.1\r\nHost: {hostname}\r\n".encode() + name.encode("latin-1") + b": 1\r\n\r\n")
        answer = client.answer()
        # "x:y: 1" is the field x with the value "y: 1": RFC 9112 5.1
        assert answer.status == (200 if name in ("x:y", "HttpMethod:") else 400)
    with fakes.edge.h2(hostname, strict=False) as second:
        number = second.start("GET", "/", [(name, "1")])
        try:
            assert second.answer(number).status == 400
        except Reset:
            pass
    for head in connector.heads:
        assert all(":" not in key.removeprefix(":") for key, _ in head)
    if isinstance(connector, QuicConnector):
        for stream in connector.data_streams:
            for key, _ in stream.metadata:
                assert key in ("HttpMethod", "HttpHost") or key.startswith("HttpHeader:"), key
                assert key.count(":") <= 1


@pytest.mark.requirement("S19", "S57")
def test_response_control_fields_never_reach_a_client(fakes: Fakes, version: str) -> None:
    """The same at the other end: an origin's (or hostile connector's) control fields stop at the edge."""
    control: Fields = [
        ("cf-int-x", MARK),
        ("Cf-Cloudflared-Response-Headers", MARK),
        ("cf-proxy-x", MARK),
        ("X-Kept", "1"),
        ("Content-Length", "2"),
    ]

    async def handler(stream: QuicStream) -> None:
        stream.respond(200, control, b"ok")

    async def handler_http2(stream: Http2Stream) -> None:
        stream.respond(200, control, b"ok")

    for protocol in ("quic", "http2"):
        tunnel, hostname = fakes.tunnel()
        fakes.connector(protocol, tunnel, handler=handler if protocol == "quic" else handler_http2)
        with fakes.edge.h1(hostname) if version == "h1" else fakes.edge.h2(hostname) as client:
            answer = client.get()
            assert answer.value("x-kept") == "1"
            assert MARK.encode() not in bytes(client.wire.seen)
            assert MARK not in str(answer.fields)
