"""cases.md 1, 2: a WebSocket's upgrade reaches the origin, whatever service scheme, link and client version."""

import pytest

from tests.support.fixtures import every_connector
from tests.support.http1 import Http1Client
from tests.support.origin import Exchange, Origin
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


@every_connector
def test_case_01_ws_service_forwards_the_upgrade(publish: Publisher, second_origin: Origin) -> None:
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


@every_connector
def test_case_01_http_service_forwards_the_upgrade(site: Site) -> None:
    site.origin.script = strict
    over_http1(site.h1(), "/live/x")


@every_connector
def test_case_01_no_101_unless_the_origin_said_so(site: Site) -> None:
    site.origin.answers(200, b"not me")
    client = site.h1()
    client.start("GET", "/live/x", REQUEST_FIELDS)
    assert client.answer().status == 200


@every_connector
def test_case_02_origin_sees_the_same_upgrade_on_every_path(site: Site, version: str) -> None:
    site.origin.script = strict
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("GET", "/live", REQUEST_FIELDS)
        assert client.head().status == 101
    else:
        assert client.head(client.websocket("/live")).status == 200
    request = site.origin.last
    of_the_upgrade = {
        name for name in request.names if name.startswith("sec-websocket") or name in ("upgrade", "connection")
    }
    assert of_the_upgrade == {"upgrade", "connection", "sec-websocket-version", "sec-websocket-key"}
    assert [request.names.count(name) for name in of_the_upgrade] == [1, 1, 1, 1]
