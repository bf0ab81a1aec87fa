"""A scriptable HTTP/1.1 origin on a raw socket: it records what reached it byte by byte and answers as told.

A script is a function of an `Exchange`; without one every path is answered 200 with the body `hello`.
"""

import base64
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.support.http1 import Cut, Fields, Wire, close_quietly, split_head, value, values
from tests.support.waiting import PATIENCE_S, wait_until

Script = Callable[["Exchange"], None]


@dataclass
class Connection:
    """One connection that was accepted. `raw` is all that came; `ended` how the peer left (None: still there)."""

    number: int
    wire: Wire
    ended_at: float | None = None

    @property
    def raw(self) -> bytes:
        return bytes(self.wire.seen)


@dataclass
class Request:
    """One request as it reached the origin."""

    method: str
    target: str
    version: str
    fields: Fields
    raw_head: bytes
    connection: Connection
    at: float
    received: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    body_whole: bool = False
    sni: str | None = None

    def value(self, name: str) -> str | None:
        return value(self.fields, name)

    def values(self, name: str) -> list[str]:
        return values(self.fields, name)

    @property
    def body(self) -> bytes:
        """What came of the body so far."""
        return bytes(self.received)

    @property
    def names(self) -> list[str]:
        """Lower-case names in order."""
        return [name.lower() for name, _ in self.fields]


class Gone(Exception):
    """The peer went away while the script was still talking."""


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, origin: "Origin", request: Request) -> None:
        self.origin = origin
        self.request = request
        self.wire = request.connection.wire
        self.sock = self.wire.sock
        self.over = False
        self._body_read = False

    # ---- the request's body
    def pieces(self) -> Iterator[bytes]:
        """The decoded body as it comes."""
        request = self.request
        self._body_read = True
        length = request.value("content-length")
        try:
            if request.value("transfer-encoding") is not None:
                for piece in self.wire.chunks():
                    request.received += piece
                    yield piece
                request.trailers = self.wire.trailers
            elif length is not None:
                left = int(length)
                while left:
                    if not self.wire.buffer and not self.wire.fill():
                        raise Cut(f"{left} bytes missing", request.body)
                    piece = self.wire.buffer[:left]
                    self.wire.buffer = self.wire.buffer[len(piece) :]
                    left -= len(piece)
                    request.received += piece
                    yield piece
        except OSError as error:
            raise Cut(str(error), request.body) from error
        request.body_whole = True

    def body(self) -> bytes:
        for _ in self.pieces():
            pass
        return self.request.body

    # ---- the answer
    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from error

    def head(self, status: int = 200, fields: Sequence[tuple[str, str]] = (), reason: str = "OK") -> None:
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {text}" for name, text in fields), "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def last_chunk(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        self.send(b"0\r\n" + b"".join(f"{name}: {text}\r\n".encode("latin-1") for name, text in trailers) + b"\r\n")

    def answer(
        self, status: int = 200, body: bytes = b"hello", fields: Sequence[tuple[str, str]] = (), reason: str = "OK"
    ) -> None:
        """Reads the request's body and answers with a Content-Length."""
        if not self._body_read:
            self.body()
        framing = [] if status in (204, 304) else [("Content-Length", str(len(body)))]
        self.head(status, [*fields, *framing], reason)
        if self.request.method != "HEAD":
            self.send(body)

    def reset(self) -> None:
        self.over = True
        self.wire.reset()

    def close(self) -> None:
        self.over = True
        close_quietly(self.sock)

    def wait_gone(self, *, within_s: float = PATIENCE_S) -> float:
        """Seconds until the peer closed or reset this connection; AssertionError when it did not."""
        start = time.monotonic()
        self.sock.settimeout(within_s)
        try:
            while self.wire.fill():
                pass
        except TimeoutError:
            self.origin.problems.append(f"{self.request.target}: the connector kept the connection for {within_s} s")
            raise AssertionError(self.origin.problems[-1]) from None
        except OSError:
            pass
        self.over = True
        return time.monotonic() - start

    # ---- WebSocket
    def accept_websocket(self, fields: Sequence[tuple[str, str]] = ()) -> None:
        """Answers 101 as RFC 6455 says; frames are the script's business then."""
        key = self.request.value("sec-websocket-key") or ""
        self.head(
            101,
            [
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Accept", websocket_accept(key)),
                *fields,
            ],
            "Switching Protocols",
        )
        self.over = True


def websocket_accept(key: str) -> str:
    """RFC 6455 4.2.2."""
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def hello(exchange: Exchange) -> None:
    exchange.answer()


class Held:
    """A script whose answer begins at once, with `first`, and ends with `later` once it is let go. Chunked: a stock connector
    holds back what has a length."""

    def __init__(self, *, patience_s: float = 60.0) -> None:
        self._go = threading.Event()
        self._patience_s = patience_s

    def __call__(self, exchange: Exchange) -> None:
        exchange.head(200, [("Transfer-Encoding", "chunked")])
        exchange.chunk(b"first")
        self._go.wait(self._patience_s)
        exchange.chunk(b"later")
        exchange.last_chunk()

    def let_go(self) -> None:
        self._go.set()


class Origin:
    """Listens from the moment it is made (on `listener` when one is given) until `close`."""

    def __init__(
        self, listener: socket.socket | None = None, *, tls: ssl.SSLContext | None = None, script: Script = hello
    ) -> None:
        if listener is None:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.bind(("127.0.0.1", 0))
        self.listener = listener
        self.listener.listen(256)
        self.tls = tls
        self.script = script
        self.scripts: dict[str, Script] = {}
        self.requests: list[Request] = []
        self.connections: list[Connection] = []
        self.idle_limit_s: float | None = None
        """After so long without a request a connection is closed, as an origin's keep-alive limit does."""
        self.problems: list[str] = []
        """What went wrong in scripts: the fixture fails the test with it."""
        self._open = True
        self._sni: dict[int, str | None] = {}
        if tls is not None:
            tls.sni_callback = self._remember_sni
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def service(self) -> str:
        name = self.listener.getsockname()
        if isinstance(name, str):
            return f"{'unix+tls' if self.tls else 'unix'}:{name}"
        host, port = name[:2]
        return f"{'https' if self.tls else 'http'}://{host}:{port}"

    def on(self, path: str, script: Script) -> None:
        """The script for one path (query excluded)."""
        self.scripts[path] = script

    def answers(self, status: int = 200, body: bytes = b"hello", fields: Sequence[tuple[str, str]] = ()) -> None:
        self.script = lambda exchange: exchange.answer(status, body, fields)

    def sends(self, raw: bytes, *, then: str = "keep") -> None:
        """Answers with these bytes; `then`: `keep` the connection, `close` it or `reset` it."""

        def script(exchange: Exchange) -> None:
            exchange.body()
            exchange.send(raw)
            if then == "close":
                exchange.close()
            elif then == "reset":
                exchange.reset()

        self.script = script

    def wait_requests(self, count: int = 1, *, timeout_s: float = PATIENCE_S) -> list[Request]:
        return wait_until(
            lambda: self.requests if len(self.requests) >= count else None,
            f"{count} requests at the origin",
            timeout_s=timeout_s,
        )

    @property
    def last(self) -> Request:
        assert self.requests, "nothing reached the origin"
        return self.requests[-1]

    @property
    def open_connections(self) -> int:
        return sum(connection.ended_at is None for connection in self.connections)

    @property
    def raw(self) -> bytes:
        """Every byte that reached this origin."""
        return b"".join(connection.raw for connection in self.connections)

    def close(self) -> None:
        self._open = False
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        close_quietly(self.listener)
        # Whose own threads close them: OpenSSL would read on from whatever has the descriptor's number by then.
        for connection in list(self.connections):
            try:
                connection.wire.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # ---- inside
    def _remember_sni(self, sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self._sni[id(sock)] = name

    def _accept(self) -> None:
        while self._open:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sni: str | None = None
        try:
            sock.settimeout(60.0)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
                sni = self._sni.pop(id(sock), None)
        except OSError:
            close_quietly(sock)
            return
        connection = Connection(len(self.connections), Wire(sock))
        self.connections.append(connection)
        try:
            while self._open and self._one(connection, sni):
                pass
        except (Cut, Gone, OSError):
            pass
        except Exception as error:
            self.problems.append(f"{type(error).__name__}: {error}")
        finally:
            connection.ended_at = time.monotonic()
            close_quietly(sock)

    def _one(self, connection: Connection, sni: str | None) -> bool:
        if self.idle_limit_s is not None and self.requests and not connection.wire.buffer:
            connection.wire.sock.settimeout(self.idle_limit_s)
            connection.wire.fill()  # TimeoutError is an OSError: the connection is closed
            connection.wire.sock.settimeout(60.0)
        raw = connection.wire.until(b"\r\n\r\n", "a request head")
        line, fields = split_head(raw)
        method, target, version = line.split(" ")
        request = Request(method, target, version, fields, raw, connection, time.monotonic(), sni=sni)
        self.requests.append(request)
        exchange = Exchange(self, request)
        self.scripts.get(target.partition("?")[0], self.script)(exchange)
        return not exchange.over
