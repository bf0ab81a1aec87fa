"""HTTP/2 by the `h2` library, at both ends: a client that can also misbehave, and an origin."""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from tests.support.http1 import Answer, Fields, Wire, close_quietly, value, values
from tests.support.tls import TlsSocket
from tests.support.waiting import PATIENCE_S


class Reset(Exception):
    """The stream ended by RST_STREAM (or with its connection). `got` is the body before it."""

    def __init__(self, code: int | None, got: bytes = b"") -> None:
        super().__init__(f"stream reset with {code} after {len(got)} body bytes")
        self.code = code
        self.got = got


def text_fields(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    return [(name.decode("latin-1"), text.decode("latin-1")) for name, text in headers]


class PatientConnection(h2.connection.H2Connection):
    """After GOAWAY the open streams go on (RFC 9113 6.8); the library takes it for the end of the connection."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        received = super()._receive_goaway_frame(frame)
        self.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        return received


@dataclass
class Stream:
    """What came on one stream so far."""

    number: int
    answer: Answer | None = None
    informational: list[tuple[int, Fields]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    unacknowledged: int = 0


class Http2Client:
    """One HTTP/2 connection to the edge. `strict` False sends header blocks that the library would refuse;
    `window` is each stream's; `source`: the loopback address that it comes from."""

    def __init__(
        self,
        address: str,
        hostname: str,
        ca_file: Path,
        *,
        strict: bool = True,
        timeout_s: float = PATIENCE_S,
        window: int | None = None,
        source: str | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        self.hostname = hostname
        self.timeout_s = timeout_s
        self.streams: dict[int, Stream] = {}
        self.goaway: int | None = None
        self.last_stream: int | None = None
        """Of the newest GOAWAY: what is above it nobody has looked at."""
        self.closed = False
        self.held: set[int] = set()
        """Streams whose data is not acknowledged: their window runs out."""
        context = ssl.create_default_context(cafile=str(ca_file))
        context.set_alpn_protocols(["h2"])
        sock = socket.create_connection((host, int(port)), timeout_s, (source, 0) if source is not None else None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            tls = context.wrap_socket(sock, server_hostname=hostname)
        except BaseException:
            close_quietly(sock)
            raise
        assert tls.selected_alpn_protocol() == "h2", tls.selected_alpn_protocol()
        self.wire = Wire(tls)
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_inbound_headers=True,
            validate_outbound_headers=strict,
            normalize_outbound_headers=strict,
        )
        self.h2 = PatientConnection(config)
        self.h2.local_settings.enable_push = 0
        self.h2.local_settings.max_header_list_size = 1 << 20
        self.h2.decoder.max_header_list_size = 1 << 20
        if window is not None:
            self.h2.local_settings.initial_window_size = window
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(8 << 20)
        self.flush()

    def __enter__(self) -> "Http2Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        close_quietly(self.wire.sock)

    def reset_connection(self) -> None:
        self.wire.reset()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.wire.sock.sendall(data)

    # ---- sending
    def start(
        self,
        method: str,
        target: str,
        fields: Sequence[tuple[str, str]] = (),
        *,
        end: bool = True,
        authority: str | None = None,
        scheme: str = "https",
    ) -> int:
        """Sends a head; the stream's number."""
        pseudo = [
            (":method", method),
            (":scheme", scheme),
            (":authority", self.hostname if authority is None else authority),
            (":path", target),
        ]
        return self.start_raw([*pseudo, *fields], end=end)

    def start_raw(self, fields: Sequence[tuple[str, str]], *, end: bool = True) -> int:
        number = self.h2.get_next_available_stream_id()
        self.streams[number] = Stream(number)
        encoded = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in fields]
        self.h2.send_headers(number, encoded, end_stream=end)
        self.flush()
        return number

    def data(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Sends body bytes, waiting for the window. Raises Reset when the edge reset the stream meanwhile."""
        while data:
            if self.streams[number].reset is not None:
                raise Reset(self.streams[number].reset)
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.pump()
                continue
            piece, data = data[:room], data[room:]
            self.h2.send_data(number, piece, end_stream=end and not data)
            self.flush()
            if not data:
                return
        if end:
            self.h2.end_stream(number)
            self.flush()

    def trailers(self, number: int, fields: Sequence[tuple[str, str]]) -> None:
        encoded = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in fields]
        self.h2.send_headers(number, encoded, end_stream=True)
        self.flush()

    def cancel(self, number: int) -> None:
        self.h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        self.flush()

    # ---- receiving
    def pump(self, *, timeout_s: float | None = None) -> bool:
        """Reads once and takes in the events; False at the end of the connection."""
        self.wire.sock.settimeout(self.timeout_s if timeout_s is None else timeout_s)
        try:
            data = self.wire.some()
        except TimeoutError:
            raise AssertionError(f"nothing came on the HTTP/2 connection for {self.timeout_s} s") from None
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return False
        for event in self.h2.receive_data(data):
            self._take(event)
        self.flush()
        return True

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway, self.last_stream = int(event.error_code or 0), event.last_stream_id
            return
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            fields = text_fields(event.headers or [])
            stream.informational.append((int(fields[0][1]), fields[1:]))
        elif isinstance(event, h2.events.ResponseReceived):
            fields = text_fields(event.headers or [])
            stream.answer = Answer(
                int(fields[0][1]), "", fields[1:], version="HTTP/2", informational=stream.informational
            )
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data or b""
            length = event.flow_controlled_length or 0
            if stream.number in self.held:
                stream.unacknowledged += length
            elif length:
                self.h2.acknowledge_received_data(length, stream.number)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = text_fields(event.headers or [])
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code or 0)

    def release(self, number: int) -> None:
        """Reads on a held stream again."""
        self.held.discard(number)
        stream = self.streams[number]
        if stream.unacknowledged:
            self.h2.acknowledge_received_data(stream.unacknowledged, number)
            stream.unacknowledged = 0
        self.flush()

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + self.timeout_s
        while not condition():
            assert time.monotonic() < end, f"waited {self.timeout_s} s in vain: {what}"
            if not self.pump():
                break

    def head(self, number: int) -> Answer:
        """The response head, as soon as it is there."""
        stream = self.streams[number]
        self.until(lambda: stream.answer or stream.reset is not None, "a response head")
        if stream.answer is None:
            raise Reset(stream.reset)
        return stream.answer

    def answer(self, number: int) -> Answer:
        """The whole answer; Reset when the stream or connection ends before it does."""
        stream = self.streams[number]
        self.until(lambda: stream.ended or stream.reset is not None, f"the end of stream {number}")
        if not stream.ended or stream.answer is None:
            raise Reset(stream.reset, bytes(stream.body))
        stream.answer.body = bytes(stream.body)
        stream.answer.trailers = stream.trailers
        return stream.answer

    def request(
        self, method: str, target: str, fields: Sequence[tuple[str, str]] = (), body: bytes | None = None
    ) -> Answer:
        number = self.start(method, target, fields, end=body is None)
        if body is not None:
            self.data(number, body, end=True)
        return self.answer(number)

    def get(self, target: str = "/", fields: Sequence[tuple[str, str]] = ()) -> Answer:
        return self.request("GET", target, fields)

    def stream_bytes(self, number: int) -> Callable[[], bytes]:
        """A reader of a stream's data as it comes (for WebSockets); b"" at its end."""
        stream = self.streams[number]

        def receive() -> bytes:
            self.until(lambda: stream.body or stream.ended or stream.reset is not None, "data")
            if stream.reset is not None and not stream.body:
                raise Reset(stream.reset)
            data = bytes(stream.body)
            stream.body.clear()
            return data

        return receive

    def websocket(self, target: str = "/ws", fields: Sequence[tuple[str, str]] = ()) -> int:
        """Extended CONNECT (RFC 8441); the stream's number."""
        self.until(lambda: self.h2.remote_settings.enable_connect_protocol, "SETTINGS_ENABLE_CONNECT_PROTOCOL")
        assert self.h2.remote_settings.enable_connect_protocol == 1, "the edge does not offer extended CONNECT"
        pseudo = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":authority", self.hostname),
            (":path", target),
        ]
        return self.start_raw([*pseudo, ("sec-websocket-version", "13"), *fields], end=False)


# ------------------------------------------------------------------------------------------------ origin
@dataclass
class Http2Request:
    """One request as it reached an HTTP/2 origin."""

    number: int
    pseudo: dict[str, str]
    fields: Fields
    trailers: Fields = field(default_factory=list)

    def value(self, name: str) -> str | None:
        return value(self.fields, name)

    def values(self, name: str) -> list[str]:
        return values(self.fields, name)


class Http2Exchange:
    """One stream at the origin. Methods may be called from the script's own thread."""

    def __init__(self, connection: "Http2OriginConnection", request: Http2Request) -> None:
        self.connection = connection
        self.request = request
        self.incoming: queue.Queue[bytes | None] = queue.Queue()
        self.canceled = threading.Event()

    def pieces(self) -> Iterable[bytes]:
        while (piece := self.incoming.get(timeout=PATIENCE_S)) is not None:
            yield piece

    def body(self) -> bytes:
        return b"".join(self.pieces())

    def head(self, status: int = 200, fields: Sequence[tuple[str, str]] = (), *, end: bool = False) -> None:
        with self.connection.lock:
            self.connection.h2.send_headers(self.request.number, [(":status", str(status)), *fields], end_stream=end)
            self.connection.flush()

    def data(self, data: bytes, *, end: bool = False) -> None:
        while data:
            with self.connection.lock:
                room = min(
                    self.connection.h2.local_flow_control_window(self.request.number),
                    self.connection.h2.max_outbound_frame_size,
                )
                if room > 0:
                    piece, data = data[:room], data[room:]
                    self.connection.h2.send_data(self.request.number, piece, end_stream=end and not data)
                    self.connection.flush()
                    continue
            if self.canceled.wait(0.005):
                return

    def trailers(self, fields: Sequence[tuple[str, str]]) -> None:
        with self.connection.lock:
            self.connection.h2.send_headers(self.request.number, list(fields), end_stream=True)
            self.connection.flush()

    def reset(self, code: int = 2) -> None:
        with self.connection.lock:
            self.connection.h2.reset_stream(self.request.number, code)
            self.connection.flush()


Http2Script = Callable[[Http2Exchange], None]


class Http2OriginConnection:
    """One accepted connection."""

    def __init__(self, origin: "Http2Origin", sock: TlsSocket) -> None:
        self.origin = origin
        self.sock = sock
        self.lock = threading.Lock()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        self.exchanges: dict[int, Http2Exchange] = {}

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def serve(self) -> None:
        with self.lock:
            self.h2.initiate_connection()
            self.flush()
        while data := self.sock.recv(65536):
            with self.lock:
                events = self.h2.receive_data(data)
                for event in events:
                    self._take(event)
                self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields: Fields = [(str(name), str(text)) for name, text in event.headers or []]
            pseudo = {name: text for name, text in fields if name.startswith(":")}
            request = Http2Request(event.stream_id or 0, pseudo, [f for f in fields if not f[0].startswith(":")])
            exchange = Http2Exchange(self, request)
            self.exchanges[request.number] = exchange
            self.origin.requests.append(request)
            threading.Thread(target=self._run, args=(exchange,), daemon=True).start()
            return
        found = self.exchanges.get(getattr(event, "stream_id", 0) or 0)
        if found is None:
            return
        if isinstance(event, h2.events.DataReceived):
            found.incoming.put(event.data or b"")
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        elif isinstance(event, h2.events.TrailersReceived):
            found.request.trailers = [(str(name), str(text)) for name, text in event.headers or []]
        elif isinstance(event, h2.events.StreamEnded):
            found.incoming.put(None)
        elif isinstance(event, h2.events.StreamReset):
            found.canceled.set()
            found.incoming.put(None)

    def _run(self, exchange: Http2Exchange) -> None:
        try:
            self.origin.script(exchange)
        except (OSError, h2.exceptions.ProtocolError, queue.Empty) as error:
            if not exchange.canceled.is_set():
                self.origin.problems.append(f"{type(error).__name__}: {error}")


class Http2Origin:
    """A TLS origin that speaks HTTP/2 only."""

    def __init__(self, script: Http2Script, tls: ssl.SSLContext) -> None:
        self.script = script
        self.tls = tls
        self.requests: list[Http2Request] = []
        self.problems: list[str] = []
        self.connections: list[Http2OriginConnection] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def service(self) -> str:
        return f"https://127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            connection = Http2OriginConnection(self, TlsSocket(sock, self.tls))
            self.connections.append(connection)
            connection.serve()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            close_quietly(sock)

    def close(self) -> None:
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        close_quietly(self.listener)
        for connection in self.connections:  # whose own thread closes it
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
