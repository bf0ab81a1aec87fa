"""security.md S13: CONNECT is no way through, and extended CONNECT only a WebSocket's."""

import h2.errors
import pytest

from tests.support.http1 import Cut
from tests.support.http2 import Reset
from tests.support.sites import Site

pytestmark = pytest.mark.requirement("S13")


@pytest.mark.case(71)
@pytest.mark.parametrize("target", ["{host}:443", "127.0.0.1:22", "/", "http://127.0.0.1/"])
def test_connect_is_refused_over_http1(site: Site, target: str) -> None:
    client = site.h1(timeout_s=3.0)
    client.start("CONNECT", target.replace("{host}", site.hostname))
    try:
        assert client.head().status in (400, 405, 501)
    except Cut:
        pass
    assert site.origin.requests == []
    assert site.get("/victim").body == b"hello"
    assert [request.target for request in site.origin.requests] == ["/victim"]


@pytest.mark.case(71)
def test_plain_connect_is_refused_over_http2(site: Site) -> None:
    client = site.h2(strict=False)
    number = client.start_raw([(":method", "CONNECT"), (":authority", f"{site.hostname}:443")], end=False)
    try:
        assert client.head(number).status in (400, 405, 501)
    except Reset as reset:
        assert reset.code is not None
    assert client.get("/victim").body == b"hello"
    assert [request.target for request in site.origin.requests] == ["/victim"]


@pytest.mark.parametrize("protocol", ["connect-udp", "websockets", "WebSocket", "h2c", ""])
def test_extended_connect_is_for_websockets_only(site: Site, protocol: str) -> None:
    client = site.h2(strict=False)
    number = client.start_raw(
        [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "https"),
            (":authority", site.hostname),
            (":path", "/ws"),
        ],
        end=False,
    )
    try:
        assert client.head(number).status in (400, 405, 501)
    except Reset as reset:
        assert reset.code in (h2.errors.ErrorCodes.PROTOCOL_ERROR, h2.errors.ErrorCodes.REFUSED_STREAM)
    assert client.get("/victim").body == b"hello"
    assert [request.target for request in site.origin.requests] == ["/victim"]
