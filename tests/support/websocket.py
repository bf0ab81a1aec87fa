"""WebSocket frames by wsproto over whatever carries bytes: a client's connection or an origin's exchange."""

import base64
import os
from collections.abc import Callable

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage

from tests.support.http1 import Http1Client
from tests.support.origin import Exchange, websocket_accept

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
REQUEST_FIELDS = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
]


class WebSocket:
    """One end after the handshake. `receive` gives b"" at the end of the byte stream."""

    def __init__(self, send: Callable[[bytes], None], receive: Callable[[], bytes], kind: ConnectionType) -> None:
        self._send = send
        self._receive = receive
        self._frames = Connection(kind)
        self._pending: list[Event] = []

    def send(self, event: Event) -> None:
        self._send(self._frames.send(event))

    def text(self, text: str) -> None:
        self.send(TextMessage(text))

    def data(self, data: bytes) -> None:
        self.send(BytesMessage(data))

    def ping(self, payload: bytes = b"") -> None:
        self.send(Ping(payload))

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.send(CloseConnection(code, reason))

    def next(self) -> Event | None:
        """The next event; None at the end of the byte stream."""
        while not self._pending:
            data = self._receive()
            if not data:
                return None
            self._frames.receive_data(data)
            self._pending.extend(self._frames.events())
        return self._pending.pop(0)

    def message(self) -> str | bytes:
        """The next whole message."""
        parts: list[str | bytes] = []
        while True:
            event = self.next()
            assert isinstance(event, Message), f"a message was expected, not {event!r}"
            parts.append(event.data)
            if event.message_finished:
                first = parts[0]
                if isinstance(first, str):
                    return "".join(str(part) for part in parts)
                return b"".join(bytes(part) for part in parts if not isinstance(part, str))


def at_origin(exchange: Exchange) -> WebSocket:
    """Accepts the upgrade and gives the origin's end, which waits however long nobody talks, as a real one may."""
    exchange.accept_websocket()
    exchange.sock.settimeout(None)
    return WebSocket(exchange.send, exchange.wire.some, ConnectionType.SERVER)


def over_http1(client: Http1Client, target: str = "/ws", **more: str) -> WebSocket:
    """The client's end over HTTP/1.1; asserts a right 101."""
    key = base64.b64encode(os.urandom(16)).decode()
    fields = [*REQUEST_FIELDS[:3], ("Sec-WebSocket-Key", key), *more.items()]
    client.start("GET", target, fields)
    answer = client.head()
    assert answer.status == 101, (answer.status, answer.fields)
    assert answer.value("sec-websocket-accept") == websocket_accept(key)
    assert (answer.value("upgrade") or "").lower() == "websocket"
    assert "upgrade" in (answer.value("connection") or "").lower()
    return WebSocket(client.send, client.wire.some, ConnectionType.CLIENT)


def echo(exchange: Exchange) -> None:
    """An origin script: every message comes back, a close is answered in kind."""
    if (exchange.request.value("upgrade") or "").lower() != "websocket":
        exchange.answer(400, b"no upgrade")
        return
    socket = at_origin(exchange)
    while event := socket.next():
        if isinstance(event, Message):
            socket.send(type(event)(data=event.data, message_finished=event.message_finished))
        elif isinstance(event, Ping):
            socket.send(Pong(event.payload))
        elif isinstance(event, CloseConnection):
            socket.send(event.response())
            return
