"""HTTP/1.1 by hand, at both ends: what was really on the wire, with names, order, framing and ends as they were."""

import socket
import ssl
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.tls import AnySocket, TlsSocket
from tests.support.waiting import PATIENCE_S

Fields = list[tuple[str, str]]
MAX_HEAD = 1 << 20


class Cut(Exception):
    """The peer ended the connection in the middle of a message. `got` is what came of the body before it."""

    def __init__(self, message: str, got: bytes = b"") -> None:
        super().__init__(f"{message} after {len(got)} body bytes")
        self.got = got


def values(fields: Fields, name: str) -> list[str]:
    """All values of a field, in order, whatever the case of its name."""
    return [value for key, value in fields if key.lower() == name.lower()]


def value(fields: Fields, name: str) -> str | None:
    """The one value of a field; None when it is absent; an error when there are several."""
    found = values(fields, name)
    assert len(found) <= 1, f"{name} occurs {len(found)} times: {found}"
    return found[0] if found else None


@dataclass
class Answer:
    """A whole response. `informational` are the 1xx heads before it."""

    status: int
    reason: str
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    informational: list[tuple[int, Fields]] = field(default_factory=list)
    version: str = "HTTP/1.1"
    raw_head: bytes = b""

    def value(self, name: str) -> str | None:
        return value(self.fields, name)

    def values(self, name: str) -> list[str]:
        return values(self.fields, name)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def request_id(self) -> str:
        found = self.value("cf-ray")
        assert found, f"an answer of the edge without Cf-Ray: {self.fields}"
        return found


def split_head(raw: bytes) -> tuple[str, Fields]:
    """First line and fields of a head (without its empty line). Values keep their bytes (as latin-1)."""
    first, *rest = raw.decode("latin-1").split("\r\n")
    fields: Fields = []
    for line in rest:
        name, colon, text = line.partition(":")
        assert colon and name and name == name.strip(), f"malformed field line {line!r}"
        fields.append((name, text.strip(" \t")))
    return first, fields


class Wire:
    """A connected socket with a read buffer; `seen` is every byte that was read."""

    def __init__(self, sock: AnySocket) -> None:
        self.sock = sock
        self.buffer = b""
        self.seen = bytearray()
        self.ended = False

    def fill(self) -> bool:
        """Reads once; False at the end of the stream."""
        if self.ended:
            return False
        data = self.sock.recv(65536)
        if not data:
            self.ended = True
            return False
        self.buffer += data
        self.seen += data
        return True

    def until(self, mark: bytes, what: str) -> bytes:
        """The bytes before `mark`, which is taken as well."""
        while mark not in self.buffer:
            if len(self.buffer) > MAX_HEAD:
                raise AssertionError(f"{what} longer than {MAX_HEAD} bytes")
            if not self.fill():
                raise Cut(f"end of connection in {what} ({self.buffer[:200]!r})")
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            if not self.buffer and not self._fill_or_cut():
                raise Cut(f"end of connection, {count} bytes were announced", bytes(parts))
            take = self.buffer[: count - len(parts)]
            parts += take
            self.buffer = self.buffer[len(take) :]
        return bytes(parts)

    def _fill_or_cut(self) -> bool:
        try:
            return self.fill()
        except (ConnectionResetError, ssl.SSLError):
            self.ended = True
            return False

    def some(self) -> bytes:
        """What is there, waiting for the first byte; b"" at the end."""
        if not self.buffer:
            self.fill()
        data, self.buffer = self.buffer, b""
        return data

    def chunks(self) -> Iterator[bytes]:
        """The data of a chunked body. After the last chunk the trailers are in `self.trailers`."""
        got = bytearray()
        self.trailers: Fields = []
        while True:
            try:
                line = self.until(b"\r\n", "a chunk size")
                size = int(line.partition(b";")[0], 16)
                if size == 0:
                    while trailer := self.until(b"\r\n", "trailers"):
                        self.trailers += split_head(b"\r\n" + trailer)[1]
                    return
                data = self.exactly(size)
                end = self.exactly(2)
            except Cut as cut:
                raise Cut(f"chunked body cut: {cut}", bytes(got) + cut.got) from None
            except (ConnectionResetError, ssl.SSLError) as error:
                raise Cut(f"chunked body cut: {error}", bytes(got)) from None
            assert end == b"\r\n", f"no CRLF after a chunk: {end!r}"
            got += data
            yield data

    def reset(self) -> None:
        """Closes with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        close_quietly(self.sock)


def close_quietly(sock: AnySocket) -> None:
    try:
        sock.close()
    except OSError:
        pass


def head_bytes(method: str, target: str, fields: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {text}" for name, text in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


class Http1Client:
    """One connection to the edge, TLS (SNI `hostname`) or plain. Every wait is bounded by `timeout_s`. `source`: the
    loopback address that it comes from."""

    def __init__(
        self,
        address: str,
        hostname: str,
        ca_file: Path | None,
        *,
        alpn: Sequence[str] = ("http/1.1",),
        timeout_s: float = PATIENCE_S,
        receive_buffer: int | None = None,
        source: str | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        self.hostname = hostname
        plain = socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET, socket.SOCK_STREAM)
        plain.settimeout(timeout_s)
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock: AnySocket = plain
        try:
            if source is not None:
                plain.bind((source, 0))
            plain.connect((host.strip("[]"), int(port)))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if ca_file is not None:
                context = ssl.create_default_context(cafile=str(ca_file))
                if alpn:
                    context.set_alpn_protocols(list(alpn))
                sock = TlsSocket(plain, context, hostname)
        except BaseException:
            close_quietly(plain)
            raise
        self.sock = sock
        self.wire = Wire(sock)

    def __enter__(self) -> "Http1Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        close_quietly(self.sock)

    def reset(self) -> None:
        """Goes away as a crashed client does."""
        self.wire.reset()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def start(self, method: str, target: str, fields: Sequence[tuple[str, str]] = ()) -> None:
        """Sends a head; Host is added unless it is among the fields."""
        if not values(list(fields), "host"):
            fields = [("Host", self.hostname), *fields]
        self.send(head_bytes(method, target, fields))

    def request(
        self, method: str, target: str, fields: Sequence[tuple[str, str]] = (), body: bytes | None = None
    ) -> Answer:
        """A whole exchange; a body is sent with Content-Length."""
        if body is not None and not values(list(fields), "content-length"):
            fields = [*fields, ("Content-Length", str(len(body)))]
        self.start(method, target, fields)
        if body:
            self.send(body)
        return self.answer(method)

    def get(self, target: str = "/", fields: Sequence[tuple[str, str]] = ()) -> Answer:
        return self.request("GET", target, fields)

    def send_chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end_chunks(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        self.send(b"0\r\n" + b"".join(f"{name}: {text}\r\n".encode("latin-1") for name, text in trailers) + b"\r\n")

    def head(self) -> Answer:
        """The next head that is not 1xx (101 is given), without its body."""
        informational: list[tuple[int, Fields]] = []
        while True:
            raw = self.wire.until(b"\r\n\r\n", "a response head")
            line, fields = split_head(raw)
            version, _, rest = line.partition(" ")
            code, _, reason = rest.partition(" ")
            if 100 <= int(code) < 200 and int(code) != 101:
                informational.append((int(code), fields))
                continue
            return Answer(int(code), reason, fields, informational=informational, version=version, raw_head=raw)

    def answer(self, method: str = "GET") -> Answer:
        """The next whole answer. Raises Cut when the connection ends before the body does."""
        answer = self.head()
        answer.body = b"".join(self.body_of(answer, method))
        return answer

    def body_of(self, answer: Answer, method: str = "GET") -> Iterator[bytes]:
        """The body, piece by piece as it comes."""
        length = answer.value("content-length")
        if method == "HEAD" or answer.status in (101, 204, 304):
            return
        coding = answer.value("transfer-encoding")
        if coding is not None:
            assert coding.lower() == "chunked" and length is None, answer.fields
            yield from self.wire.chunks()
            answer.trailers = self.wire.trailers
        elif length is not None:
            left = int(length)
            got = bytearray()
            while left:
                try:
                    data = self.wire.buffer[:left] or self._more(left)
                except (ConnectionResetError, ssl.SSLError) as error:
                    raise Cut(str(error), bytes(got)) from None
                if not data:
                    raise Cut(f"end of connection, {left} bytes missing", bytes(got))
                self.wire.buffer = self.wire.buffer[len(data) :]
                left -= len(data)
                got += data
                yield data
        else:
            while data := self.wire.some():
                yield data

    def _more(self, limit: int) -> bytes:
        self.wire.fill()
        return self.wire.buffer[:limit]

    def ended(self, *, within_s: float = PATIENCE_S) -> bool:
        """True when the edge ends the connection within the time and nothing more came before."""
        return self.rest(within_s=within_s) == b""

    def rest(self, *, within_s: float = PATIENCE_S) -> bytes:
        """All bytes up to the end of the connection; AssertionError when it stays open."""
        end = time.monotonic() + within_s
        self.sock.settimeout(within_s)
        try:
            while self.wire.fill():
                assert time.monotonic() < end, "the connection stayed open"
        except (ConnectionResetError, ssl.SSLError):
            pass
        except TimeoutError:
            raise AssertionError(f"the connection was still open after {within_s} s") from None
        data, self.wire.buffer = self.wire.buffer, b""
        return data

    def is_open(self, *, for_s: float = 0.2) -> bool:
        """True when the connection is neither ended nor has unread bytes for so long."""
        before = self.sock.gettimeout()
        self.sock.settimeout(for_s)
        try:
            self.wire.fill()
            return False
        except TimeoutError:
            return True
        except (ConnectionResetError, ssl.SSLError):
            return False
        finally:
            self.sock.settimeout(before)
