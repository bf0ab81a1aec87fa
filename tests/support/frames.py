"""HTTP/2 frame by frame (`hyperframe`, `hpack`): what no client library would send, and all that came back."""

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from tests.support.tls import TlsSocket
from tests.support.waiting import PATIENCE_S

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Header = tuple[str, str]


def block(fields: Sequence[Header]) -> bytes:
    """A header block of literals that no table remembers: the same bytes mean the same fields, whenever they come."""
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields], huffman=False)


def request(hostname: str, target: str = "/", method: str = "GET", *more: Header) -> list[Header]:
    """The fields of a good request."""
    return [(":method", method), (":scheme", "https"), (":authority", hostname), (":path", target), *more]


def headers(stream: int, data: bytes, *flags: str) -> HeadersFrame:
    """A HEADERS frame with this block; END_HEADERS unless `flags` are given."""
    return HeadersFrame(stream, data=data, flags=list(flags or ("END_HEADERS", "END_STREAM")))


def raw_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """RFC 9113 4.1, unchecked."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class FrameClient:
    """The client's end of an HTTP/2 connection whose frames are all the caller's, but for the preface and SETTINGS (unless
    `start` is False). Frames that come are kept in `came`; `ended` tells how the connection ended (None: it has not)."""

    def __init__(
        self,
        sock: TlsSocket,
        hostname: str,
        *,
        settings: dict[int, int] | None = None,
        start: bool = True,
        timeout_s: float = PATIENCE_S,
    ) -> None:
        self.sock = sock
        self.hostname = hostname
        self.timeout_s = timeout_s
        self.came: list[Frame] = []
        self.heads: dict[int, list[list[Header]]] = {}
        """Decoded header blocks of each stream, in order."""
        self.ended: str | None = None
        self.acknowledges = True
        """Whether the peer's SETTINGS are acknowledged as they come."""
        self._buffer = b""
        self._block = b""
        self._decoder = hpack.Decoder()
        if start:
            self.raw(PREFACE)
            self.send(SettingsFrame(0, settings=settings or {}))

    @classmethod
    def dial(
        cls,
        address: str,
        hostname: str,
        ca_file: Path,
        *,
        settings: dict[int, int] | None = None,
        start: bool = True,
        timeout_s: float = PATIENCE_S,
        source: str | None = None,
    ) -> "FrameClient":
        """To the edge, by TLS with ALPN h2. `source`: the loopback address that it comes from."""
        host, _, port = address.rpartition(":")
        context = ssl.create_default_context(cafile=str(ca_file))
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection((host, int(port)), timeout_s, (source, 0) if source is not None else None)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = TlsSocket(plain, context, hostname)
            assert sock.selected_alpn_protocol() == "h2"
            return cls(sock, hostname, settings=settings, start=start, timeout_s=timeout_s)
        except BaseException:
            plain.close()
            raise

    def __enter__(self) -> "FrameClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    # ---- sending
    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send(self, *frames: Frame) -> None:
        self.raw(b"".join(frame.serialize() for frame in frames))

    def frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """A frame of any type, flags, stream and length."""
        self.raw(raw_frame(kind, flags, stream, payload))

    def get(self, stream: int, target: str = "/", *more: Header) -> None:
        """A good GET."""
        self.send(headers(stream, block(request(self.hostname, target, "GET", *more))))

    # ---- receiving
    def read(self, *, within_s: float | None = None) -> bool:
        """Reads once; False at the end of the connection, or when nothing came in time."""
        if self.ended is not None:
            return False
        self.sock.settimeout(self.timeout_s if within_s is None else max(0.001, within_s))
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            return False
        except OSError as error:
            self.ended = type(error).__name__
            return False
        if not data:
            self.ended = "closed"
            return False
        self._buffer += data
        while len(self._buffer) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._buffer[:9]))
            if len(self._buffer) < 9 + length:
                break
            frame.parse_body(memoryview(self._buffer[9 : 9 + length]))
            self._buffer = self._buffer[9 + length :]
            self._take(frame)
        return True

    def _take(self, frame: Frame) -> None:
        self.came.append(frame)
        if isinstance(frame, HeadersFrame | ContinuationFrame):
            self._block += frame.data
            if "END_HEADERS" in frame.flags:
                fields = self._decoder.decode(self._block)
                self._block = b""
                self.heads.setdefault(frame.stream_id, []).append([(str(name), str(text)) for name, text in fields])
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags and self.acknowledges:
            try:
                self.send(SettingsFrame(0, flags=["ACK"]))
            except OSError:
                pass

    def until(self, condition: Callable[[], object]) -> bool:
        """Reads until it is true; False when the connection ends or the time is over before."""
        end = time.monotonic() + self.timeout_s
        while not condition():
            left = end - time.monotonic()
            if left <= 0 or not self.read(within_s=left):
                return bool(condition())
        return True

    # ---- what came
    @property
    def goaway(self) -> int | None:
        """The error code of the last GOAWAY."""
        codes = [frame.error_code for frame in self.came if isinstance(frame, GoAwayFrame)]
        return codes[-1] if codes else None

    def reset(self, stream: int) -> int | None:
        """The error code of the stream's RST_STREAM."""
        for frame in self.came:
            if isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                return frame.error_code
        return None

    def status(self, stream: int) -> int | None:
        """Of the stream's final answer, as soon as its head is there."""
        for fields in self.heads.get(stream, []):
            code = int(dict(fields).get(":status", "0"))
            if code >= 200:
                return code
        return None

    def is_over(self, stream: int) -> bool:
        """The stream's answer has ended, or it was reset."""
        return self.reset(stream) is not None or any(
            frame.stream_id == stream and "END_STREAM" in frame.flags
            for frame in self.came
            if isinstance(frame, HeadersFrame | DataFrame)
        )

    def body(self, stream: int) -> bytes:
        return b"".join(f.data for f in self.came if isinstance(f, DataFrame) and f.stream_id == stream)

    def is_alive(self, payload: bytes = b"ping-a-b") -> bool:
        """The edge still answers a PING."""
        try:
            self.send(PingFrame(0, opaque_data=payload))
        except OSError:
            return False
        return self.until(
            lambda: any(
                isinstance(f, PingFrame) and "ACK" in f.flags and bytes(f.opaque_data) == payload for f in self.came
            )
        )
