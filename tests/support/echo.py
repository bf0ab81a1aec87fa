"""What RFC 6455 lets a client send, and what it doesn't, for an echo service at the other end of a tunnel.

The groups follow those of the Autobahn test suite (facts only); the cases and the code are ours. A tunnel carries bytes: what
comes back through it must be, byte for byte, what the service answers to somebody who is connected to it directly. So a case
is only what is sent; `answer_to` says what must come back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

MASK = bytes.fromhex("a1b2c3d4")
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MIB = 1 << 20


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """RFC 6455 5.2, unchecked."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    mark = 0x80 if masked else 0
    if len(payload) < 126:
        head = bytes([first, mark | len(payload)])
    elif len(payload) < 1 << 16:
        head = bytes([first, mark | 126]) + len(payload).to_bytes(2, "big")
    else:
        head = bytes([first, mark | 127]) + len(payload).to_bytes(8, "big")
    if not masked:
        return head + payload
    key = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    hidden = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
    return head + MASK + hidden


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, (b"" if code is None else code.to_bytes(2, "big")) + reason)


def fragments(opcode: int, pieces: Sequence[bytes], between: bytes = b"") -> bytes:
    """One message in several frames, with other frames between them."""
    last = len(pieces) - 1
    return between.join(frame(CONT if n else opcode, piece, fin=n == last) for n, piece in enumerate(pieces))


def split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)] or [b""]


@dataclass(frozen=True)
class Case:
    """What is sent, in pieces of `chop` bytes (0: at once). A case that ends nothing itself is ended by a close frame."""

    name: str
    sent: bytes
    chop: int = 0
    deflate: bool = False

    @property
    def whole(self) -> bytes:
        return self.sent + close(1000)

    @property
    def pieces(self) -> list[bytes]:
        return split(self.whole, self.chop) if self.chop else [self.whole]


def agreed() -> PerMessageDeflate:
    extension = PerMessageDeflate()
    extension.accept("permessage-deflate")
    return extension


class Echo:
    """The service: every message comes back as one frame, every ping as a pong; a close or a broken rule ends it."""

    def __init__(self, *, deflate: bool = False) -> None:
        self._connection = Connection(ConnectionType.SERVER, [agreed()] if deflate else [])
        self._parts: list[str | bytes] = []
        self._over = False

    def is_over(self) -> bool:
        """The service has sent its close frame, or can't go on."""
        return self._over

    def takes(self, data: bytes) -> bytes:
        """What is sent back at once."""
        out = bytearray()
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                if self._over:
                    break
                if isinstance(event, Message):
                    self._parts.append(event.data)
                    if event.message_finished:
                        out += self._connection.send(self._echoed(event))
                elif isinstance(event, Ping):
                    out += self._connection.send(event.response())
                elif isinstance(event, CloseConnection):
                    self._over = True
                    out += self._connection.send(CloseConnection(event.code))
        except (RemoteProtocolError, LocalProtocolError):
            self._over = True
        return bytes(out)

    def _echoed(self, last: Message[Any]) -> Message[Any]:
        parts, self._parts = self._parts, []
        if isinstance(last, TextMessage):
            return TextMessage("".join(str(part) for part in parts))
        return BytesMessage(b"".join(bytes(part) for part in parts if not isinstance(part, str)))


def answer_to(case: Case) -> bytes:
    """What the service sends to somebody who is connected to it directly."""
    echo = Echo(deflate=case.deflate)
    out = bytearray()
    for piece in split(case.whole, 1 << 16):
        if not echo.is_over():
            out += echo.takes(piece)
    assert echo.is_over()
    return bytes(out)


# -------------------------------------------------------------------------------------------------- groups
SIZES = (0, 1, 125, 126, 127, 128, 65535, 65536)
KOSME = "κόσμε".encode()


def framing() -> Iterator[Case]:
    for size in SIZES:
        yield Case(f"text of {size}", frame(TEXT, b"*" * size))
        yield Case(f"binary of {size}", frame(BINARY, b"\xfe" * size))
    for chop in (1, 997):
        yield Case(f"text chopped by {chop}", frame(TEXT, b"*" * (300 if chop == 1 else 65536)), chop)
        yield Case(f"binary chopped by {chop}", frame(BINARY, b"\xfe" * (300 if chop == 1 else 65536)), chop)
    yield Case("not masked", frame(TEXT, b"Hello", masked=False))
    yield Case("a length that needs no 64 bits", b"\x81\xff" + (5).to_bytes(8, "big") + frame(TEXT, b"Hello")[2:])


def pings() -> Iterator[Case]:
    for payload in (b"", b"Hello", bytes(range(0, 250, 2)), b"\xfe" * 125):
        yield Case(f"a ping of {len(payload)}", frame(PING, payload))
    yield Case("a ping of 126", frame(PING, b"\xfe" * 126))
    yield Case("a ping octet by octet", frame(PING, b"\xfe" * 125), 1)
    yield Case("a pong that nobody asked for", frame(PONG))
    yield Case("a pong with a payload, then a ping", frame(PONG, b"unasked") + frame(PING, b"asked"))
    ten = b"".join(frame(PING, b"payload-%d" % n) for n in range(10))
    yield Case("ten pings", ten)
    yield Case("ten pings octet by octet", ten, 1)


def reserved() -> Iterator[Case]:
    for rsv in range(1, 8):
        yield Case(f"reserved bits {rsv}", frame(TEXT, b"Hello", rsv=rsv))
        yield Case(f"reserved bits {rsv} after a message", frame(TEXT, b"one") + frame(BINARY, b"two", rsv=rsv), 3)
        yield Case(f"reserved bits {rsv} of a ping", frame(PING, b"Hello", rsv=rsv))
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield Case(f"opcode {opcode}", frame(opcode))
        yield Case(f"opcode {opcode} after a message", frame(TEXT, b"one") + frame(opcode, b"x") + frame(PING), 2)


def fragmented() -> Iterator[Case]:
    for opcode in (PING, PONG):
        yield Case(f"opcode {opcode} in two", frame(opcode, b"one", fin=False) + frame(CONT, b"two"))
    two = [b"fragment1", b"fragment2"]
    for chop in (0, 1, 5):
        yield Case(f"text in two, chopped by {chop}", fragments(TEXT, two), chop)
        yield Case(f"a ping between, chopped by {chop}", fragments(TEXT, two, frame(PING, b"ping")), chop)
    yield Case("empty fragments", fragments(TEXT, [b"", b"", b""]))
    yield Case("an empty one between", fragments(TEXT, [b"", b"middle", b""]))
    for fin in (True, False):
        yield Case(f"nothing to continue, fin {fin}", frame(CONT, b"x", fin=fin) + frame(TEXT, b"Hello"))
        yield Case(f"nothing more to continue, fin {fin}", fragments(TEXT, two) + frame(CONT, b"x", fin=fin))
    yield Case("another message within one", frame(TEXT, b"one", fin=False) + frame(TEXT, b"two"))
    five = [b"fragment%d" % n for n in range(5)]
    yield Case("five with pings between", fragments(TEXT, five, frame(PING, b"pongme")))
    yield Case("five with pongs between, by octet", fragments(BINARY, five, frame(PONG, b"unasked")), 1)
    yield Case("300 fragments of a byte", fragments(BINARY, [b"x"] * 300))


def utf8() -> Iterator[Case]:
    yield Case("text", frame(TEXT, KOSME))
    yield Case("text in two", fragments(TEXT, [KOSME[:4], KOSME[4:]]))
    yield Case("text in fragments of an octet", fragments(TEXT, split(KOSME, 1)), 1)
    points = (0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFDD0, 0xFFFD, 0xFFFE, 0x10000, 0x10FFFF)
    for point in points:
        yield Case(f"U+{point:04X}", frame(TEXT, chr(point).encode()))
        yield Case(f"U+{point:04X} in fragments", fragments(TEXT, split(chr(point).encode(), 1)))
    bad = {
        "a lone continuation": b"\x80",
        "a cut sequence": b"\xce",
        "a cut sequence of three": b"\xe1\x88",
        "an overlong slash": b"\xc0\xaf",
        "an overlong NUL of three": b"\xe0\x80\x80",
        "an overlong NUL of four": b"\xf0\x80\x80\x80",
        "a surrogate": b"\xed\xa0\x80",
        "a pair of surrogates": b"\xed\xad\xbf\xed\xb0\x80",
        "beyond the last": b"\xf4\x90\x80\x80",
        "five bytes": b"\xf8\x88\x80\x80\x80",
        "FE": b"\xfe",
        "FF": b"\xff",
    }
    for name, data in bad.items():
        yield Case(name, frame(TEXT, KOSME + data + b"edited"))
        yield Case(f"{name}, in fragments", fragments(TEXT, [KOSME, data, b"edited"]))
        yield Case(f"{name}, in binary", frame(BINARY, data))


def closing() -> Iterator[Case]:
    hello = frame(TEXT, b"Hello")
    yield Case("after a message", hello + close())
    yield Case("twice", close() + close())
    for name, more in (("a ping", frame(PING)), ("a message", hello), ("a fragment", frame(CONT, b"x"))):
        yield Case(f"{name} after it", close() + more)
    yield Case("within a message", frame(TEXT, b"fragment1", fin=False) + close())
    yield Case("without a code", close(None))
    yield Case("with half a code", frame(CLOSE, b"\x03"))
    yield Case("with a reason", close(1000, b"Hello"))
    yield Case("with the longest reason", close(1000, b"*" * 123))
    yield Case("with too long a reason", close(1000, b"*" * 124))
    yield Case("with a reason that isn't UTF-8", close(1000, KOSME + b"\xed\xa0\x80"))
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield Case(f"with code {code}", close(code))
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535):
        yield Case(f"with code {code}, which isn't one", close(code, b"why"))
    yield Case("octet by octet", hello + close(1001, b"going"), 1)


def large() -> Iterator[Case]:
    for opcode, byte in ((TEXT, b"*"), (BINARY, b"\xfe")):
        yield Case(f"opcode {opcode}, 1 MiB", frame(opcode, byte * MIB))
        yield Case(f"opcode {opcode}, 1 MiB in frames of 4 KiB", fragments(opcode, split(byte * MIB, 4096)))
        yield Case(f"opcode {opcode}, 256 KiB chopped by 1024", frame(opcode, byte * (256 << 10)), 1024)
    yield Case("4 MiB", frame(BINARY, bytes(range(256)) * (4 * MIB // 256)))
    yield Case("500 messages", b"".join(frame(TEXT, b"message %d" % n) for n in range(500)))
    yield Case("500 pings and messages", b"".join(frame(PING, b"p") + frame(BINARY, bytes(64)) for _ in range(500)))


def deflated() -> Iterator[Case]:
    """permessage-deflate is between the two ends; the first reserved bit is a good one then (RFC 7692)."""
    client = Connection(ConnectionType.CLIENT, [agreed()])
    sent = b"".join(client.send(TextMessage("compress me " * n)) for n in (1, 10, 1000))
    yield Case("three messages", sent, 0, deflate=True)
    client = Connection(ConnectionType.CLIENT, [agreed()])
    yield Case("a binary one by octets", client.send(BytesMessage(bytes(5000))), 1, deflate=True)


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {
    "framing": framing,
    "pings": pings,
    "reserved": reserved,
    "fragments": fragmented,
    "utf8": utf8,
    "closing": closing,
    "large": large,
    "deflated": deflated,
}
