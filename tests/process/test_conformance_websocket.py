"""security.md S25: a WebSocket's bytes come through unharmed, over both transports and from both client versions."""

import socket
from collections.abc import Callable

import pytest

from tests.support.echo import GROUPS, Case, Echo, answer_to
from tests.support.http2 import Reset
from tests.support.origin import Exchange
from tests.support.sites import Site
from tests.support.websocket import REQUEST_FIELDS

pytestmark = pytest.mark.requirement("S25")

DEFLATE = ("sec-websocket-extensions", "permessage-deflate")


def serve(exchange: Exchange) -> None:
    """The echo service; it ends its own half and waits for the other, so that nothing on the way is cut off."""
    deflate = exchange.request.value("sec-websocket-extensions") == "permessage-deflate"
    exchange.accept_websocket([DEFLATE] if deflate else [])
    echo = Echo(deflate=deflate)
    seen = bytearray()
    SEEN[exchange.request.target] = seen
    while data := exchange.wire.some():
        seen += data
        if not echo.is_over():
            answer = echo.takes(data)
            if answer:
                exchange.send(answer)
            if echo.is_over():
                exchange.sock.shutdown(socket.SHUT_WR)


SEEN: dict[str, bytearray] = {}
"""What reached the service, by target."""


def through(site: Site, version: str, case: Case, target: str) -> bytes:
    """What comes back, up to the end."""
    fields = [DEFLATE] if case.deflate else []
    got = bytearray()
    if version == "h1":
        with site.edge.h1(site.hostname) as plain:
            plain.start("GET", target, [*REQUEST_FIELDS, *fields])
            assert plain.head().status == 101
            return exchanged(case, plain.send, plain.wire.some, got)
    with site.edge.h2(site.hostname) as client:
        number = client.websocket(target, fields)
        assert client.head(number).status == 200
        read = client.stream_bytes(number)
        try:
            return exchanged(case, lambda data: client.data(number, data), read, got)
        except Reset as reset:
            return bytes(got + reset.got)


def exchanged(case: Case, send: Callable[[bytes], None], receive: Callable[[], bytes], got: bytearray) -> bytes:
    for piece in case.pieces:
        try:
            send(piece)
        except OSError:  # the service ended it, and the edge did so as well
            break
    while data := receive():
        got += data
    return bytes(got)


@pytest.mark.parametrize("group", GROUPS)
def test_echo(site: Site, version: str, group: str) -> None:
    site.origin.script = serve
    cases = list(GROUPS[group]())
    for number, case in enumerate(cases):
        target = f"/echo/{site.hostname}/{version}/{number}"
        got = through(site, version, case, target)
        wanted = answer_to(case)
        assert got == wanted, f"{case.name}: {got[:60]!r} ({len(got)}) came back, not {wanted[:60]!r} ({len(wanted)})"
        assert case.whole.startswith(bytes(SEEN.pop(target))), f"{case.name}: other bytes reached the service"
