"""cases.md 1, 2, 70: a WebSocket's upgrade reaches the origin, whatever service scheme, link and client version; and no 101
passes that nobody asked for."""

import pytest

from tests.support.fixtures import every_connector
from tests.support.http1 import Cut, Http1Client
from tests.support.http2 import Reset
from tests.support.origin import Exchange, Origin, websocket_accept
from tests.support.sites import Publisher, Site
from tests.support.websocket import ACCEPT, REQUEST_FIELDS, over_http1


@pytest.fixture
def second_origin() -> "object":
    origin = Origin()
    yield origin
    origin.close()


def strict(exchange: Exchange) -> None:
    """400 unless the upgrade is whole."""
    request = exchange.request
    whole = (
        (request.value("upgrade") or "").lower() == "websocket"
        and "upgrade" in (request.value("connection") or "").lower()
        and request.value("sec-websocket-version") == "13"
        and request.value("sec-websocket-key")
    )
    if whole:
        exchange.accept_websocket()
        exchange.send(exchange.wire.some())
    else:
        exchange.answer(400, b"this is a WebSocket endpoint")


@pytest.mark.case(1)
@every_connector
def test_ws_service_forwards_the_upgrade(publish: Publisher, second_origin: Origin) -> None:
    live = Origin(script=strict)
    hostname = publish.hostname()
    site = publish.rules(
        [
            {"hostname": hostname, "path": "/live/*", "service": live.service.replace("http://", "ws://")},
            {"hostname": hostname, "service": second_origin.service},
        ],
        origin=live,
    )
    client = site.h1()
    client.start("GET", "/live/x", REQUEST_FIELDS)
    answer = client.head()
    assert answer.status == 101
    assert answer.value("sec-websocket-accept") == ACCEPT
    client.send(b"frames")
    assert client.wire.exactly(6) == b"frames"
    assert second_origin.requests == []


@pytest.mark.case(1)
@every_connector
def test_http_service_forwards_the_upgrade(site: Site) -> None:
    site.origin.script = strict
    over_http1(site.h1(), "/live/x")


@pytest.mark.case(1)
@every_connector
def test_no_101_unless_the_origin_said_so(site: Site) -> None:
    site.origin.answers(200, b"not me")
    client = site.h1()
    client.start("GET", "/live/x", REQUEST_FIELDS)
    assert client.answer().status == 200


UPGRADED = sorted(
    [
        *("host", "upgrade", "connection", "sec-websocket-version", "sec-websocket-key"),
        *("cdn-loop", "cf-connecting-ip", "cf-ray", "cf-visitor", "cf-warp-tag-id"),
        *("x-forwarded-for", "x-forwarded-proto"),
    ]
)
"""The names of all fields that come with an upgrade, the same over each transport and from each version, one of each."""


@pytest.mark.case(2)
@every_connector
def test_origin_sees_the_same_upgrade_on_every_path(site: Site, version: str) -> None:
    site.origin.script = strict
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("GET", "/live", REQUEST_FIELDS)
        assert client.head().status == 101
    else:
        assert client.head(client.websocket("/live")).status == 200
    added = ["accept-encoding"] if site.link.kind == "cloudflared" else []  # docs/compatibility.md
    assert sorted(site.origin.last.names) == [*added, *UPGRADED]


SWITCHES = {
    "another protocol": [("Upgrade", "other"), ("Connection", "Upgrade")],
    "another protocol and the accept": [
        ("Upgrade", "other"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "{}"),
    ],
    "no accept": [("Upgrade", "websocket"), ("Connection", "Upgrade")],
    "a wrong accept": [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", "AAAA")],
    "no fields": [],
}


@pytest.mark.case(70)
@every_connector
@pytest.mark.parametrize("asked", ["websocket", "plain"])
@pytest.mark.parametrize("name", SWITCHES)
def test_a_101_that_is_no_websocket(site: Site, version: str, name: str, asked: str) -> None:
    """502 with a reason, and what is behind it is nobody's answer. A stock connector hides a 101 on HTTP/2 as a 200: what
    can't be told from a refusal passes as one (protocol.md, *What a WebSocket is*), but never to a client that would take it for
    a switch."""

    def script(exchange: Exchange) -> None:
        accept = websocket_accept(exchange.request.value("sec-websocket-key") or "")
        exchange.head(101, [(field, text.format(accept)) for field, text in SWITCHES[name]], "Switching Protocols")
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        exchange.wait_gone()

    site.origin.on("/odd", script)
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("GET", "/odd", REQUEST_FIELDS if asked == "websocket" else [])
    else:
        number = client.websocket("/odd") if asked == "websocket" else client.start("GET", "/odd")
    hidden = str(site.link) == "cloudflared-http2" and (asked == "plain" or version == "h1")
    try:
        head = client.head() if isinstance(client, Http1Client) else client.head(number)
    except (Cut, Reset):
        assert hidden
    else:
        assert head.status in ((200, 502) if hidden else (502,))
        if head.status == 502:
            assert head.value("x-qanat-error") in ("origin_bad_response", "origin_error")
    client.close()
    assert site.get("/next").body == b"hello"
