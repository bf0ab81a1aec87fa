"""semantics.md and RFC 6455: a WebSocket's bytes, ends and refusals, over both transports and from both client versions."""

import os
import socket
import time

import pytest
from wsproto.connection import ConnectionType
from wsproto.events import CloseConnection, Ping, Pong

from tests.support.fixtures import every_connector
from tests.support.http1 import Http1Client, value
from tests.support.origin import Exchange
from tests.support.sites import Publisher, Site
from tests.support.waiting import wait_until
from tests.support.websocket import REQUEST_FIELDS, WebSocket, at_origin, echo, over_http1


def opened(site: Site, version: str, target: str = "/ws") -> WebSocket:
    """A client's WebSocket."""
    client = site.client(version)
    if isinstance(client, Http1Client):
        return over_http1(client, target)
    number = client.websocket(target)
    assert client.head(number).status == 200
    return WebSocket(lambda data: client.data(number, data), client.stream_bytes(number), ConnectionType.CLIENT)


def test_messages_are_echoed(site: Site, version: str) -> None:
    site.origin.script = echo
    socket = opened(site, version)
    for message in ("hello", "", "ü" * 1000):
        socket.text(message)
        assert socket.message() == message
    blob = os.urandom(300_000)
    socket.data(blob)
    assert socket.message() == blob
    socket.close(1000, "done")
    event = socket.next()
    assert isinstance(event, CloseConnection)
    assert event.code == 1000


def test_origin_sees_a_whole_upgrade_request(site: Site, version: str) -> None:
    site.origin.script = echo
    opened(site, version, "/live/x?y=1")
    request = site.origin.last
    assert (request.method, request.target) == ("GET", "/live/x?y=1")
    assert (request.value("upgrade") or "").lower() == "websocket"
    assert "upgrade" in (request.value("connection") or "").lower()
    assert request.value("sec-websocket-version") == "13"
    assert len(request.value("sec-websocket-key") or "") == 24
    assert request.value("host") == site.hostname
    assert request.value("content-length") is None
    assert request.value("transfer-encoding") is None


def test_subprotocol_is_negotiated_end_to_end(site: Site, version: str) -> None:
    def script(exchange: Exchange) -> None:
        assert exchange.request.value("sec-websocket-protocol") == "chat, superchat"
        exchange.accept_websocket([("Sec-WebSocket-Protocol", "superchat")])

    site.origin.script = script
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("GET", "/ws", [*REQUEST_FIELDS, ("Sec-WebSocket-Protocol", "chat, superchat")])
        answer = client.head()
    else:
        answer = client.head(client.websocket("/ws", [("sec-websocket-protocol", "chat, superchat")]))
    assert answer.value("sec-websocket-protocol") == "superchat"


@pytest.mark.case(36)
@every_connector
@pytest.mark.parametrize(("code", "reason"), [(1000, None), (1001, "going"), (4001, "bye")])
def test_close_code_of_the_origin_arrives_unchanged(site: Site, version: str, code: int, reason: str | None) -> None:
    def script(exchange: Exchange) -> None:
        ws = at_origin(exchange)
        ws.close(code, reason)
        ws.next()

    site.origin.script = script
    socket = opened(site, version)
    event = socket.next()
    assert isinstance(event, CloseConnection)
    assert (event.code, event.reason or None) == (code, reason)


@pytest.mark.case(36)
@every_connector
@pytest.mark.parametrize(("code", "reason"), [(1000, None), (4002, "enough")])
def test_close_code_of_the_client_arrives_unchanged(site: Site, version: str, code: int, reason: str | None) -> None:
    got: list[object] = []

    def script(exchange: Exchange) -> None:
        got.append(at_origin(exchange).next())

    site.origin.script = script
    opened(site, version).close(code, reason)
    event = wait_until(lambda: got, "the close at the origin")[0]
    assert isinstance(event, CloseConnection)
    assert (event.code, event.reason or None) == (code, reason)


@pytest.mark.case(36)
@every_connector
def test_pings_are_passed_and_not_answered(site: Site, version: str) -> None:
    seen: list[object] = []

    def script(exchange: Exchange) -> None:
        ws = at_origin(exchange)
        ping = ws.next()
        seen.append(ping)
        ws.send(Pong(b"from the origin"))
        ws.ping(b"and you")
        seen.append(ws.next())

    site.origin.script = script
    socket = opened(site, version)
    socket.ping(b"there?")
    pong = socket.next()
    assert isinstance(pong, Pong)
    assert pong.payload == b"from the origin"
    ping = socket.next()
    assert isinstance(ping, Ping)
    assert ping.payload == b"and you"
    socket.send(Pong(b"yes"))
    wait_until(lambda: len(seen) == 2, "the pong at the origin")
    assert isinstance(seen[0], Ping)
    assert seen[0].payload == b"there?"
    assert isinstance(seen[1], Pong)
    assert seen[1].payload == b"yes"


@pytest.mark.case(36)
@every_connector
def test_an_end_without_a_close_frame_is_an_end_and_no_frame(site: Site, version: str) -> None:
    """1006 is what a client tells itself: nobody writes it (RFC 6455 7.4.1)."""

    def script(exchange: Exchange) -> None:
        exchange.accept_websocket()
        exchange.send(b"\x81\x05hello")
        exchange.close()

    site.origin.script = script
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("GET", "/ws", REQUEST_FIELDS)
        assert client.head().status == 101
        assert b"".join(iter(client.wire.some, b"")) == b"\x81\x05hello"
    else:
        number = client.websocket("/ws")
        assert (client.head(number).status, client.answer(number).body) == (200, b"\x81\x05hello")


def test_bytes_right_after_the_head_are_not_lost(site: Site) -> None:
    """The origin writes a frame in the same segment as its 101; the client in the same as its request."""

    def script(exchange: Exchange) -> None:
        from tests.support.origin import websocket_accept

        key = exchange.request.value("sec-websocket-key") or ""
        head = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {websocket_accept(key)}\r\n\r\n"
        )
        exchange.send(head.encode() + b"\x81\x05early")
        exchange.over = True
        exchange.wait_gone()

    site.origin.script = script
    client = site.h1()
    client.start("GET", "/ws", REQUEST_FIELDS)
    assert client.head().status == 101
    assert client.wire.exactly(7) == b"\x81\x05early"


@pytest.mark.case(36)
@every_connector
@pytest.mark.parametrize("who", ["client", "origin"])
def test_reset_on_one_side_ends_the_other(site: Site, version: str, who: str) -> None:
    ended: list[float] = []

    def script(exchange: Exchange) -> None:
        ws = at_origin(exchange)
        ws.next()
        if who == "origin":
            exchange.reset()
        else:
            ended.append(exchange.wait_gone())

    site.origin.script = script
    client = site.client(version)
    if isinstance(client, Http1Client):
        ws = over_http1(client)
        ws.text("go")
        if who == "client":
            site.origin.wait_requests(1)
            client.reset()
        else:
            client.rest(within_s=2.0)
    else:
        number = client.websocket("/ws")
        client.head(number)
        WebSocket(lambda data: client.data(number, data), client.stream_bytes(number), ConnectionType.CLIENT).text("go")
        if who == "client":
            site.origin.wait_requests(1)
            client.cancel(number)
        else:
            stream = client.streams[number]
            client.until(lambda: stream.ended or stream.reset is not None, "the end of the WebSocket")
    if who == "client":
        assert wait_until(lambda: ended, "the origin's end")[0] < 2.0


@pytest.mark.case(36)
def test_origin_half_close_reaches_the_client_while_it_may_still_send(site: Site) -> None:
    got: list[bytes] = []

    def script(exchange: Exchange) -> None:
        exchange.accept_websocket()
        exchange.send(b"last words")
        exchange.sock.shutdown(socket.SHUT_WR)
        while data := exchange.wire.some():
            got.append(data)

    site.origin.script = script
    client = site.h2()
    number = client.websocket("/ws")
    assert client.head(number).status == 200
    read = client.stream_bytes(number)
    assert read() == b"last words"
    assert read() == b""
    client.data(number, b"but I am not done")
    wait_until(lambda: b"".join(got) == b"but I am not done", "the client's bytes after the origin's end")
    client.data(number, b"", end=True)
    wait_until(lambda: site.origin.open_connections == 0, "the end")


def test_client_half_close_reaches_the_origin_while_it_may_still_send(site: Site) -> None:
    def script(exchange: Exchange) -> None:
        exchange.accept_websocket()
        got = b""
        while data := exchange.wire.some():
            got += data
        exchange.send(b"you said " + got)
        exchange.close()

    site.origin.script = script
    client = site.h2()
    number = client.websocket("/ws")
    client.head(number)
    client.data(number, b"that's all", end=True)
    assert client.answer(number).body == b"you said that's all"


@pytest.mark.parametrize("status", [200, 400, 403, 404, 426, 500])
def test_refused_upgrade_passes_as_plain_http(site: Site, version: str, status: int) -> None:
    site.origin.answers(status, b"no websocket here", [("X-Why", "policy")])
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("GET", "/ws", REQUEST_FIELDS)
        answer = client.answer()
        assert client.get("/next").status == status, "the connection stays usable"
    else:
        number = client.websocket("/ws")
        answer = client.answer(number)
    if version == "h2" and status == 200:  # RFC 8441 5: a client of HTTP/2 would take it for the WebSocket
        assert (answer.status, answer.value("x-qanat-error")) == (502, "origin_bad_response")
        return
    assert (answer.status, answer.body) == (status, b"no websocket here")
    assert answer.value("x-why") == "policy"
    assert value(answer.fields, "upgrade") is None


@pytest.mark.case(36)
def test_a_new_configuration_cuts_no_websocket(site: Site, version: str, publish: Publisher) -> None:
    site.origin.script = echo
    socket = opened(site, version)
    socket.text("before")
    assert socket.message() == "before"
    assert publish("http_status:418").get().status == 418
    socket.text("after")
    assert socket.message() == "after"


@pytest.mark.case(36)
@every_connector
def test_silent_websocket_survives(site: Site) -> None:
    """Longer than any keep-alive of the transports (QUIC's idle limit is 5 s)."""
    site.origin.script = echo
    socket = opened(site, "h1")
    socket.text("before")
    assert socket.message() == "before"
    time.sleep(6.5)
    socket.text("after")
    assert socket.message() == "after"
