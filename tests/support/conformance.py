"""What RFC 9113 and RFC 7541 ask of an HTTP/2 server, case by case: what a client does, and what must follow.

The selection follows the cases of the h2spec project (facts only); the words and the code are ours. A case knows nothing of
who serves: it gets a `FrameClient` whose preface and SETTINGS were sent. Paths: `/` is answered with 200 and a body;
`/held` is never answered.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.frames import FrameClient, Header, block, headers, raw_frame, request

NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL = 0, 1, 2, 3
CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = 5, 6, 7, 8, 9
GENERIC = (PROTOCOL, INTERNAL)
"""A generic code may always stand for a more specific one (5.4), and PROTOCOL_ERROR is what libraries mostly use."""
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
DATA_, HEADERS_, PRIORITY_, RST_, SETTINGS_, PUSH_, PING_, GOAWAY_, WINDOW_, CONTINUATION_ = range(10)

Act = Callable[[FrameClient], None]


@dataclass(frozen=True)
class Case:
    """`where`: section of RFC 9113 (`hpack`: of RFC 7541). `act` does it, `expect` asserts what follows. `reaches`: the
    request in it is a good one. `early`: the client's preface has not been sent."""

    where: str
    what: str
    act: Act
    expect: Act
    reaches: bool = True
    early: bool = False

    def __str__(self) -> str:
        return f"{self.where} {self.what}"


# ---------------------------------------------------------------------------------------------- what follows
def connection_error(*codes: int) -> Act:
    """GOAWAY with one of these codes or a generic one, or the end of the connection at once (5.4.1); then the end in any case."""

    def check(c: FrameClient) -> None:
        assert c.until(lambda: c.goaway is not None or c.ended is not None), "no connection error"
        if c.goaway is not None:
            assert c.goaway in (*codes, *GENERIC), f"GOAWAY with {c.goaway}, not {codes}"
        assert c.until(lambda: c.ended is not None), "the connection stayed open after GOAWAY"

    return check


def stream_error(*codes: int, stream: int = 1) -> Act:
    """RST_STREAM with one of these codes or a generic one; a connection error with it is right as well (5.4)."""

    def check(c: FrameClient) -> None:
        def seen() -> bool:
            return c.reset(stream) not in (None, NO_ERROR) or c.goaway is not None or c.ended is not None

        assert c.until(seen), f"no stream error; came: {c.came}"
        code = c.reset(stream) if c.reset(stream) not in (None, NO_ERROR) else c.goaway
        assert code is None or code in (*codes, *GENERIC), f"ended with {code}, not {codes}"

    return check


def malformed(c: FrameClient) -> None:
    """A stream error of PROTOCOL_ERROR, before which an answer of 400 may come (8.1.1)."""
    c.until(lambda: c.is_over(1) or c.goaway is not None or c.ended is not None)
    assert c.reset(1) in (None, NO_ERROR, PROTOCOL), c.came
    assert c.goaway in (None, PROTOCOL), c.came
    assert c.reset(1) == PROTOCOL or c.goaway == PROTOCOL or c.status(1) == 400 or c.ended, c.came


def answered(*streams: int, status: int = 200) -> Act:
    """These streams have got their whole answers, and the connection goes on."""

    def check(c: FrameClient) -> None:
        for stream in streams or (1,):
            assert c.until(lambda n=stream: c.is_over(n)), f"stream {stream} was not answered: {c.came}"  # type: ignore[misc]
            assert c.status(stream) == status, (stream, c.status(stream), c.came)
        assert c.is_alive(), f"the connection is over: {c.came}"

    return check


def alive(c: FrameClient) -> None:
    assert c.is_alive(), f"the connection is over: {c.came}"


def alive_and_answers(c: FrameClient) -> None:
    alive(c)
    c.get(99)
    answered(99)(c)


# --------------------------------------------------------------------------------------------- what is done
def sends(*frames: Frame | bytes) -> Act:
    """These frames at once."""
    data = b"".join(frame if isinstance(frame, bytes) else frame.serialize() for frame in frames)

    def act(c: FrameClient) -> None:
        c.raw(data)

    return act


def asks(*more: Header, method: str = "GET", path: str = "/", drop: str = "", end: bool = True) -> Act:
    """One request on stream 1 with these fields more and one pseudo field less."""

    def act(c: FrameClient) -> None:
        fields = [field for field in request(c.hostname, path, method) if field[0] != drop]
        c.send(headers(1, block([*fields, *more]), "END_HEADERS", *(["END_STREAM"] if end else [])))

    return act


def then(first: Act, *frames: Frame | bytes) -> Act:
    """A first step, and these frames right after it."""

    def act(c: FrameClient) -> None:
        first(c)
        sends(*frames)(c)

    return act


def over(first: Act, *frames: Frame | bytes) -> Act:
    """A first step, and these frames once its stream 1 has ended on both sides."""

    def act(c: FrameClient) -> None:
        first(c)
        assert c.until(lambda: c.is_over(1) or c.reset(1) is not None), "the first request is not over"
        sends(*frames)(c)

    return act


def with_block(make: Callable[[str], bytes]) -> Act:
    """A request whose header block is made by hand from the hostname."""

    def act(c: FrameClient) -> None:
        c.send(headers(1, make(c.hostname)))

    return act


GET = asks()
HELD = asks(path="/held")
"""Half-closed (remote) for as long as the connection lasts."""
OPEN = asks(method="POST", path="/held", end=False)
RESET = then(OPEN, RstStreamFrame(1, error_code=CANCEL))


def good(hostname: str) -> bytes:
    return block(request(hostname))


def cut(c: FrameClient) -> tuple[bytes, bytes, bytes]:
    """A good header block in three pieces."""
    data = good(c.hostname)
    return data[:3], data[3:10], data[10:]


def continued(*after_first: Callable[[bytes, bytes], Frame | bytes]) -> Act:
    """HEADERS without END_HEADERS, then what is made from the two other pieces of the block."""

    def act(c: FrameClient) -> None:
        one, two, three = cut(c)
        made = [make(two, three) for make in after_first]
        sends(headers(1, one, "END_STREAM"), *made)(c)

    return act


def post(*frames: Frame | bytes, fields: tuple[Header, ...] = ()) -> Act:
    """The head of a POST whose body is sent as these frames."""
    return then(asks(*fields, method="POST", end=False), *frames)


def padded(hostname: str) -> bytes:
    data = good(hostname)
    return bytes([8]) + data + bytes(8)


def prioritised(hostname: str, depends_on: int) -> bytes:
    return depends_on.to_bytes(4, "big") + bytes([16]) + good(hostname)


def raw_request(flags: int, payload: Callable[[str], bytes]) -> Act:
    def act(c: FrameClient) -> None:
        c.frame(HEADERS_, flags, 1, payload(c.hostname))

    return act


def more_streams_than_allowed(c: FrameClient) -> None:
    assert c.until(lambda: any(isinstance(f, SettingsFrame) and "ACK" not in f.flags for f in c.came))
    told = [f.settings for f in c.came if isinstance(f, SettingsFrame) and "ACK" not in f.flags]
    most = told[0][SettingsFrame.MAX_CONCURRENT_STREAMS]
    assert 1 <= most <= 1000, most
    data = block(request(c.hostname, "/held"))
    c.send(*(headers(1 + 2 * n, data) for n in range(most + 1)))
    c.extra = 1 + 2 * most  # type: ignore[attr-defined]


def extra_is_refused(c: FrameClient) -> None:
    stream: int = c.extra  # type: ignore[attr-defined]
    stream_error(PROTOCOL, REFUSED, stream=stream)(c)


def window_of_one(c: FrameClient) -> None:
    c.send(SettingsFrame(0, settings={4: 1}))
    c.get(1)


def one_byte_first(c: FrameClient) -> None:
    assert c.until(lambda: c.body(1)), "no DATA"
    (first, *_) = [f for f in c.came if isinstance(f, DataFrame) and f.stream_id == 1 and f.data]
    assert len(first.data) == 1
    alive(c)
    assert len(c.body(1)) == 1, "more came than the window let through"


def window_changes(*values: int) -> Act:
    """A window of 0, a request, then these initial windows one after the other (6.9.2)."""

    def act(c: FrameClient) -> None:
        c.send(SettingsFrame(0, settings={4: 0}))
        c.get(1)
        assert c.until(lambda: c.status(1)), "no head"
        alive(c)
        assert c.body(1) == b""
        for value in values:
            c.send(SettingsFrame(0, settings={4: value}))

    return act


def negative_window(c: FrameClient) -> None:
    """3 bytes are let through, then the window shrinks by 3 and so is −1 or less; 2 more are 1 byte."""
    c.send(SettingsFrame(0, settings={4: 3}))
    c.get(1)
    assert c.until(lambda: len(c.body(1)) == 3), c.came
    c.send(SettingsFrame(0, settings={4: 2}))
    alive(c)
    c.send(WindowUpdateFrame(1, window_increment=2))


def body_is(size: int) -> Act:
    def check(c: FrameClient) -> None:
        assert c.until(lambda: len(c.body(1)) >= size), c.came
        alive(c)
        assert len(c.body(1)) == size, c.body(1)

    return check


def settings_acknowledged(c: FrameClient) -> None:
    def acks() -> int:
        return sum(isinstance(f, SettingsFrame) and "ACK" in f.flags for f in c.came)

    assert c.until(lambda: acks() >= 2), "the second SETTINGS was not acknowledged"  # the first was the preface's


def pong_is(payload: bytes) -> Act:
    def check(c: FrameClient) -> None:
        def pongs() -> list[bytes]:
            return [bytes(f.opaque_data) for f in c.came if isinstance(f, PingFrame) and "ACK" in f.flags]

        assert c.until(pongs), "no pong"
        assert pongs() == [payload]

    return check


def no_pong(c: FrameClient) -> None:
    alive(c)
    pongs = [bytes(f.opaque_data) for f in c.came if isinstance(f, PingFrame)]
    assert pongs == [b"ping-a-b"], "a PING with ACK was answered"


def first_is_settings(c: FrameClient) -> None:
    assert c.until(lambda: c.came), "nothing came"
    assert isinstance(c.came[0], SettingsFrame)
    assert "ACK" not in c.came[0].flags


def reads(*wanted: bytes) -> Act:
    """The whole answer's body on stream 1."""

    def check(c: FrameClient) -> None:
        answered(1)(c)
        assert c.body(1) in wanted, c.body(1)

    return check


def settings(identifier: int, value: int) -> bytes:
    return raw_frame(SETTINGS_, 0, 0, identifier.to_bytes(2, "big") + value.to_bytes(4, "big"))


def name_and_value(prefix: bytes, name: bytes, value: bytes) -> bytes:
    return prefix + bytes([len(name)]) + name + bytes([len(value)]) + value


def closed_or_ignored(c: FrameClient) -> None:
    """After a reset that it received, a peer may not know yet: DATA is a stream error, or is taken and forgotten (5.1)."""
    alive_at_all = c.is_alive()
    assert alive_at_all or c.goaway in (None, CLOSED), c.came
    assert c.reset(1) in (None, CLOSED), c.came


def error_or_nothing(c: FrameClient) -> None:
    """A connection error by 3.4. The library that we stand on takes any frame for the first one, which hurts nobody."""
    assert c.is_alive() or c.goaway in (None, PROTOCOL)


def dropped_or_malformed(c: FrameClient) -> None:
    """Malformed by 8.1. The library that we stand on drops it from trailers before we see it."""
    assert c.until(lambda: c.is_over(1) or c.ended is not None)
    assert c.reset(1) in (None, NO_ERROR, PROTOCOL)


def backwards(c: FrameClient) -> None:
    c.get(5, "/held")
    c.get(3)


def two_values(c: FrameClient) -> None:
    c.raw(raw_frame(SETTINGS_, 0, 0, b"\0\4\0\0\0\x64\0\4\0\0\0\x01"))
    c.get(1)


def finishes(c: FrameClient) -> None:
    assert c.until(lambda: c.is_over(1)), c.came
    assert c.status(1) == 200


def malformed_or_trimmed(c: FrameClient) -> None:
    """Malformed; a recipient that takes it anyway leaves the blank out, as HTTP/1.1 does."""
    c.until(lambda: c.is_over(1) or c.ended is not None)
    assert c.status(1) in (None, 200, 400)


def remembered(c: FrameClient) -> None:
    c.send(headers(1, good(c.hostname) + name_and_value(b"\x40", b"x-a", b"b")))
    c.send(headers(3, good(c.hostname) + b"\xbe"))


HUFFMAN_WWW = bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff")
"""`www.example.com` (RFC 7541 C.4.1)."""

CASES: list[Case] = [
    # ---- 3: starting
    Case("3.4", "the server's preface is SETTINGS", sends(), first_is_settings),
    Case(
        "3.4",
        "a preface that isn't one",
        sends(b"INVALID CONNECTION PREFACE\r\n\r\n"),
        connection_error(PROTOCOL),
        early=True,
    ),
    Case(
        "3.4",
        "a PING in the place of SETTINGS",
        sends(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", PingFrame(0, opaque_data=b"12345678")),
        error_or_nothing,
        early=True,
    ),
    # ---- 4: frames
    Case("4.1", "an unknown type is ignored", sends(raw_frame(0x16, 0, 0, b"12345678")), alive),
    Case("4.1", "undefined flags are ignored", sends(raw_frame(PING_, 0x16, 0, b"12345678")), pong_is(b"12345678")),
    Case("4.1", "the reserved bit is ignored", sends(raw_frame(PING_, 0, 1 << 31, b"12345678")), pong_is(b"12345678")),
    Case("4.2", "DATA of 2^14 bytes", post(DataFrame(1, data=b"x" * 16384, flags=["END_STREAM"])), answered()),
    Case(
        "4.2",
        "DATA beyond the largest size",
        post(raw_frame(DATA_, END_STREAM, 1, bytes(16385))),
        stream_error(FRAME_SIZE),
    ),
    Case(
        "4.2",
        "HEADERS beyond the largest size",
        raw_request(END_HEADERS | END_STREAM, lambda h: good(h) + block([("x", "y" * 16385)])),
        connection_error(FRAME_SIZE),
        reaches=False,
    ),
    Case(
        "4.2",
        "SETTINGS beyond the largest size",
        sends(raw_frame(SETTINGS_, 0, 0, bytes(16386))),
        connection_error(FRAME_SIZE),
    ),
    Case(
        "4.3",
        "a header block that isn't one",
        sends(headers(1, b"\x88" * 2 + b"\xff" * 20)),
        connection_error(COMPRESSION),
        reaches=False,
    ),
    Case(
        "4.3",
        "PRIORITY within a header block",
        continued(lambda _two, _three: PriorityFrame(1, depends_on=0, stream_weight=1)),
        connection_error(PROTOCOL),
        reaches=False,
    ),
    Case(
        "4.3",
        "HEADERS of another stream within a header block",
        continued(lambda _two, _three: headers(3, b"\x82")),
        connection_error(PROTOCOL),
        reaches=False,
    ),
    # ---- 5.1: states of a stream
    Case("5.1 idle", "DATA", sends(DataFrame(1, data=b"x")), connection_error(PROTOCOL)),
    Case("5.1 idle", "RST_STREAM", sends(RstStreamFrame(1, error_code=CANCEL)), connection_error(PROTOCOL)),
    Case("5.1 idle", "WINDOW_UPDATE", sends(WindowUpdateFrame(1, window_increment=100)), connection_error(PROTOCOL)),
    Case(
        "5.1 idle",
        "CONTINUATION",
        sends(ContinuationFrame(1, data=b"\x82", flags=["END_HEADERS"])),
        connection_error(PROTOCOL),
    ),
    Case("5.1 idle", "PRIORITY", sends(PriorityFrame(1, depends_on=0, stream_weight=255)), alive_and_answers),
    Case("5.1 half-closed", "DATA", then(HELD, DataFrame(1, data=b"x")), stream_error(CLOSED)),
    Case("5.1 half-closed", "HEADERS", then(HELD, headers(1, b"\x82")), stream_error(CLOSED, PROTOCOL)),
    Case(
        "5.1 half-closed",
        "CONTINUATION",
        then(HELD, ContinuationFrame(1, data=b"\x82", flags=["END_HEADERS"])),
        stream_error(CLOSED, PROTOCOL),
    ),
    Case("5.1 half-closed", "WINDOW_UPDATE", then(HELD, WindowUpdateFrame(1, window_increment=9)), alive_and_answers),
    Case("5.1 half-closed", "PRIORITY", then(HELD, PriorityFrame(1, depends_on=0, stream_weight=9)), alive_and_answers),
    Case("5.1 half-closed", "RST_STREAM", then(HELD, RstStreamFrame(1, error_code=CANCEL)), alive_and_answers),
    Case("5.1 reset", "DATA", then(RESET, DataFrame(1, data=b"x")), closed_or_ignored),
    Case("5.1 reset", "HEADERS", then(RESET, headers(1, b"\x82")), stream_error(CLOSED, PROTOCOL)),
    Case(
        "5.1 reset",
        "CONTINUATION",
        then(RESET, ContinuationFrame(1, data=b"\x82", flags=["END_HEADERS"])),
        stream_error(CLOSED, PROTOCOL),
    ),
    Case("5.1 closed", "DATA", over(GET, DataFrame(1, data=b"x")), stream_error(CLOSED)),
    Case("5.1 closed", "HEADERS", over(GET, headers(1, b"\x82")), stream_error(CLOSED, PROTOCOL)),
    Case(
        "5.1 closed",
        "CONTINUATION",
        over(GET, ContinuationFrame(1, data=b"\x82", flags=["END_HEADERS"])),
        connection_error(CLOSED, PROTOCOL),
    ),
    Case("5.1 closed", "PRIORITY", over(GET, PriorityFrame(1, depends_on=0, stream_weight=9)), alive_and_answers),
    Case("5.1.1", "an even stream", lambda c: c.get(2), connection_error(PROTOCOL), reaches=False),
    Case("5.1.1", "a stream below an earlier one", backwards, connection_error(PROTOCOL)),
    Case("5.1.2", "more streams than are allowed", more_streams_than_allowed, extra_is_refused),
    # ---- 5.3 to 5.5
    Case(
        "5.3",
        "HEADERS with priority",
        raw_request(END_HEADERS | END_STREAM | PRIORITY, lambda h: prioritised(h, 0)),
        answered(),
    ),
    Case(
        "5.3",
        "HEADERS with exclusive priority",
        raw_request(END_HEADERS | END_STREAM | PRIORITY, lambda h: prioritised(h, 1 << 31)),
        answered(),
    ),
    Case(
        "5.3",
        "a stream that depends on itself is no reason to hurt another",
        then(HELD, PriorityFrame(5, depends_on=5, stream_weight=9)),
        lambda c: stream_error(PROTOCOL, stream=5)(c) if not c.is_alive() else None,
    ),
    Case(
        "5.4.1",
        "after a connection error it is closed",
        sends(raw_frame(PING_, 0, 3, bytes(8))),
        connection_error(PROTOCOL),
    ),
    Case("5.5", "an unknown frame on a stream is ignored", then(GET, raw_frame(0x16, 0, 1, bytes(8))), answered()),
    Case(
        "5.5",
        "an unknown frame within a header block",
        continued(lambda _two, _three: raw_frame(0x16, 0, 0, bytes(8))),
        connection_error(PROTOCOL),
        reaches=False,
    ),
    # ---- 6.1: DATA
    Case("6.1", "one DATA frame", post(DataFrame(1, data=b"body", flags=["END_STREAM"])), answered()),
    Case(
        "6.1",
        "several DATA frames",
        post(*(DataFrame(1, data=b"x") for _ in range(3)), DataFrame(1, flags=["END_STREAM"])),
        answered(),
    ),
    Case("6.1", "padded DATA", post(raw_frame(DATA_, END_STREAM | PADDED, 1, b"\x05body" + bytes(5))), answered()),
    Case(
        "6.1",
        "DATA on stream 0",
        sends(DataFrame(1, data=b"x").serialize()[:5] + bytes(4) + b"x"),
        connection_error(PROTOCOL),
    ),
    Case(
        "6.1",
        "padding longer than the frame",
        post(raw_frame(DATA_, PADDED, 1, b"\x05body")),
        connection_error(PROTOCOL),
    ),
    # ---- 6.2: HEADERS
    Case("6.2", "a good request", GET, answered()),
    Case("6.2", "padded HEADERS", raw_request(END_HEADERS | END_STREAM | PADDED, padded), answered()),
    Case(
        "6.2",
        "padded HEADERS with priority",
        raw_request(END_HEADERS | END_STREAM | PADDED | PRIORITY, lambda h: bytes([8]) + prioritised(h, 0) + bytes(8)),
        answered(),
    ),
    Case(
        "6.2",
        "HEADERS on stream 0",
        sends(raw_frame(HEADERS_, END_HEADERS | END_STREAM, 0, b"\x82")),
        connection_error(PROTOCOL),
    ),
    Case(
        "6.2",
        "padding longer than the frame",
        raw_request(END_HEADERS | END_STREAM | PADDED, lambda h: bytes([255]) + good(h)),
        connection_error(PROTOCOL),
        reaches=False,
    ),
    Case(
        "6.2",
        "DATA within a header block",
        continued(lambda _two, _three: DataFrame(1, data=b"x")),
        connection_error(PROTOCOL),
        reaches=False,
    ),
    # ---- 6.3: PRIORITY
    Case("6.3", "PRIORITY on stream 0", sends(raw_frame(PRIORITY_, 0, 0, bytes(5))), connection_error(PROTOCOL)),
    Case("6.3", "PRIORITY of 4 bytes", then(HELD, raw_frame(PRIORITY_, 0, 1, bytes(4))), stream_error(FRAME_SIZE)),
    Case("6.3", "PRIORITY of 6 bytes", then(HELD, raw_frame(PRIORITY_, 0, 1, bytes(6))), stream_error(FRAME_SIZE)),
    Case("6.3", "weight 1", then(GET, PriorityFrame(1, depends_on=0, stream_weight=0)), answered()),
    Case("6.3", "weight 256", then(GET, PriorityFrame(1, depends_on=0, stream_weight=255)), answered()),
    Case("6.3", "exclusive", then(GET, PriorityFrame(1, depends_on=0, stream_weight=9, exclusive=True)), answered()),
    # ---- 6.4: RST_STREAM
    Case("6.4", "RST_STREAM on stream 0", sends(raw_frame(RST_, 0, 0, bytes(4))), connection_error(PROTOCOL)),
    Case("6.4", "RST_STREAM of 3 bytes", then(HELD, raw_frame(RST_, 0, 1, bytes(3))), connection_error(FRAME_SIZE)),
    Case("6.4", "RST_STREAM of 5 bytes", then(HELD, raw_frame(RST_, 0, 1, bytes(5))), connection_error(FRAME_SIZE)),
    Case("6.4", "RST_STREAM", then(HELD, RstStreamFrame(1, error_code=CANCEL)), alive_and_answers),
    # ---- 6.5: SETTINGS
    Case("6.5", "acknowledged", sends(SettingsFrame(0, settings={3: 100})), settings_acknowledged),
    Case("6.5", "empty", sends(SettingsFrame(0)), settings_acknowledged),
    Case("6.5", "an ACK with a payload", sends(raw_frame(SETTINGS_, ACK, 0, bytes(6))), connection_error(FRAME_SIZE)),
    Case("6.5", "on a stream", sends(raw_frame(SETTINGS_, 0, 1, b"\0\3\0\0\0\x64")), connection_error(PROTOCOL)),
    Case("6.5", "5 bytes", sends(raw_frame(SETTINGS_, 0, 0, bytes(5))), connection_error(FRAME_SIZE)),
    Case("6.5", "7 bytes", sends(raw_frame(SETTINGS_, 0, 0, bytes(7))), connection_error(FRAME_SIZE)),
    Case("6.5.2", "ENABLE_PUSH of 2", sends(settings(2, 2)), connection_error(PROTOCOL)),
    Case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", sends(settings(4, 1 << 31)), connection_error(FLOW_CONTROL)),
    Case("6.5.2", "MAX_FRAME_SIZE of 2^14 - 1", sends(settings(5, (1 << 14) - 1)), connection_error(PROTOCOL)),
    Case("6.5.2", "MAX_FRAME_SIZE of 2^24", sends(settings(5, 1 << 24)), connection_error(PROTOCOL)),
    Case("6.5.2", "MAX_FRAME_SIZE of 2^24 - 1", sends(settings(5, (1 << 24) - 1)), alive_and_answers),
    Case("6.5.2", "an unknown setting is ignored", sends(settings(0xFF, 1)), alive_and_answers),
    Case("6.5.3", "the later of two values counts", two_values, one_byte_first),
    # ---- 6.6: PUSH_PROMISE
    Case(
        "6.6",
        "PUSH_PROMISE of a client",
        then(HELD, raw_frame(PUSH_, END_HEADERS, 1, b"\0\0\0\x02\x82")),
        connection_error(PROTOCOL),
    ),
    # ---- 6.7: PING
    Case("6.7", "answered with its own payload", sends(PingFrame(0, opaque_data=b"whatever")), pong_is(b"whatever")),
    Case("6.7", "an ACK isn't answered", sends(PingFrame(0, opaque_data=b"unasked!", flags=["ACK"])), no_pong),
    Case("6.7", "on a stream", sends(raw_frame(PING_, 0, 1, bytes(8))), connection_error(PROTOCOL)),
    Case("6.7", "7 bytes", sends(raw_frame(PING_, 0, 0, bytes(7))), connection_error(FRAME_SIZE)),
    Case("6.7", "9 bytes", sends(raw_frame(PING_, 0, 0, bytes(9))), connection_error(FRAME_SIZE)),
    # ---- 6.8: GOAWAY
    Case("6.8", "on a stream", sends(raw_frame(GOAWAY_, 0, 1, bytes(8))), connection_error(PROTOCOL)),
    Case("6.8", "open streams go on after it", then(GET, raw_frame(GOAWAY_, 0, 0, bytes(8))), finishes),
    # ---- 6.9: WINDOW_UPDATE
    Case("6.9", "0 for the connection", sends(raw_frame(WINDOW_, 0, 0, bytes(4))), connection_error(PROTOCOL)),
    Case("6.9", "0 for a stream", then(HELD, raw_frame(WINDOW_, 0, 1, bytes(4))), stream_error(PROTOCOL)),
    Case("6.9", "3 bytes", sends(raw_frame(WINDOW_, 0, 0, bytes(3))), connection_error(FRAME_SIZE)),
    Case("6.9", "5 bytes", sends(raw_frame(WINDOW_, 0, 0, bytes(5))), connection_error(FRAME_SIZE)),
    Case("6.9", "for the connection", sends(WindowUpdateFrame(0, window_increment=1)), alive_and_answers),
    Case("6.9", "for a stream", then(GET, WindowUpdateFrame(1, window_increment=1)), answered()),
    Case("6.9.1", "DATA keeps to the window", window_of_one, one_byte_first),
    Case(
        "6.9.1",
        "a connection's window beyond 2^31 - 1",
        sends(*(WindowUpdateFrame(0, window_increment=(1 << 31) - 1) for _ in range(2))),
        connection_error(FLOW_CONTROL),
    ),
    Case(
        "6.9.1",
        "a stream's window beyond 2^31 - 1",
        then(HELD, *(WindowUpdateFrame(1, window_increment=(1 << 31) - 1) for _ in range(2))),
        stream_error(FLOW_CONTROL),
    ),
    Case("6.9.2", "a changed initial window counts for open streams", window_changes(1), body_is(1)),
    Case("6.9.2", "so do several changes", window_changes(2, 1, 4), body_is(4)),
    Case("6.9.2", "a window may become negative", negative_window, body_is(4)),
    Case("6.9.2", "beyond 2^31 - 1", then(HELD, settings(4, (1 << 32) - 1)), connection_error(FLOW_CONTROL)),
    # ---- 6.10: CONTINUATION
    Case(
        "6.10",
        "one",
        continued(lambda two, three: ContinuationFrame(1, data=two + three, flags=["END_HEADERS"])),
        answered(),
    ),
    Case(
        "6.10",
        "several",
        continued(
            lambda two, _three: ContinuationFrame(1, data=two),
            lambda _two, three: ContinuationFrame(1, data=three, flags=["END_HEADERS"]),
        ),
        answered(),
    ),
    Case(
        "6.10",
        "another frame between them",
        continued(
            lambda two, _three: ContinuationFrame(1, data=two),
            lambda _two, _three: PingFrame(0, opaque_data=b"12345678"),
        ),
        connection_error(PROTOCOL),
        reaches=False,
    ),
    Case(
        "6.10",
        "on stream 0",
        continued(lambda two, _three: raw_frame(CONTINUATION_, END_HEADERS, 0, two)),
        connection_error(PROTOCOL),
        reaches=False,
    ),
    Case(
        "6.10",
        "of another stream",
        continued(lambda two, three: ContinuationFrame(3, data=two + three, flags=["END_HEADERS"])),
        connection_error(PROTOCOL),
        reaches=False,
    ),
    Case(
        "6.10",
        "after END_HEADERS of HEADERS",
        then(OPEN, ContinuationFrame(1, data=b"\x82", flags=["END_HEADERS"])),
        connection_error(PROTOCOL),
    ),
    Case(
        "6.10",
        "after END_HEADERS of CONTINUATION",
        continued(
            lambda two, three: ContinuationFrame(1, data=two + three, flags=["END_HEADERS"]),
            lambda _two, _three: ContinuationFrame(1, data=b"\x82", flags=["END_HEADERS"]),
        ),
        connection_error(PROTOCOL),
    ),
    Case(
        "6.10",
        "after DATA",
        then(OPEN, DataFrame(1, data=b"x"), ContinuationFrame(1, data=b"\x82", flags=["END_HEADERS"])),
        connection_error(PROTOCOL),
    ),
    # ---- 7: error codes
    Case("7", "an unknown code in RST_STREAM", then(HELD, RstStreamFrame(1, error_code=0xFF)), alive_and_answers),
    Case("7", "an unknown code in GOAWAY", then(GET, raw_frame(GOAWAY_, 0, 0, bytes(4) + b"\0\0\0\xff")), finishes),
    # ---- 8: messages
    Case("8.1", "GET", GET, reads(b"hello")),
    Case("8.1", "HEAD", asks(method="HEAD"), reads(b"")),
    Case("8.1", "POST with a body", post(DataFrame(1, data=b"a=b", flags=["END_STREAM"])), reads(b"hello")),
    Case(
        "8.1",
        "POST with trailers",
        post(DataFrame(1, data=b"a=b"), headers(1, block([("x-sum", "1")]))),
        reads(b"hello"),
    ),
    Case(
        "8.1",
        "a second HEADERS that doesn't end the stream",
        post(DataFrame(1, data=b"x"), headers(1, block([("x-sum", "1")]), "END_HEADERS")),
        stream_error(PROTOCOL),
    ),
    Case("8.2.1", "an upper-case name", asks(("X-TEST", "ok")), malformed, reaches=False),
    Case("8.2.1", "a name with a blank", asks(("x test", "ok")), malformed, reaches=False),
    Case("8.2.1", "a name with a colon", asks(("x:test", "ok")), malformed, reaches=False),
    Case("8.2.1", "a value with NUL", asks(("x-test", "a\0b")), malformed, reaches=False),
    Case("8.2.1", "a value with CR and LF", asks(("x-test", "a\r\nb: c")), malformed, reaches=False),
    Case("8.2.1", "a value that begins with a blank", asks(("x-test", " a")), malformed_or_trimmed),
    Case("8.2.2", "Connection", asks(("connection", "keep-alive")), malformed, reaches=False),
    Case("8.2.2", "Keep-Alive", asks(("keep-alive", "timeout=5")), malformed, reaches=False),
    Case("8.2.2", "Proxy-Connection", asks(("proxy-connection", "keep-alive")), malformed, reaches=False),
    Case("8.2.2", "Transfer-Encoding", asks(("transfer-encoding", "chunked")), malformed, reaches=False),
    Case("8.2.2", "Upgrade", asks(("upgrade", "websocket")), malformed, reaches=False),
    Case("8.2.2", "TE other than trailers", asks(("te", "trailers, deflate")), malformed, reaches=False),
    Case("8.2.2", "TE: trailers", asks(("te", "trailers")), answered()),
    Case("8.3", "an unknown pseudo field", asks((":test", "ok")), malformed, reaches=False),
    Case("8.3", ":status in a request", asks((":status", "200")), malformed, reaches=False),
    Case(
        "8.3",
        "a pseudo field after others",
        asks(("x-test", "ok"), (":path", "/late"), drop=":path"),
        malformed,
        reaches=False,
    ),
    Case(
        "8.3",
        "a pseudo field in trailers",
        post(DataFrame(1, data=b"x"), headers(1, block([(":method", "200")]))),
        dropped_or_malformed,
    ),
    Case("8.3.1", "an empty :path", asks((":path", ""), drop=":path"), malformed, reaches=False),
    Case("8.3.1", "no :method", asks(drop=":method"), malformed, reaches=False),
    Case("8.3.1", "no :scheme", asks(drop=":scheme"), malformed, reaches=False),
    Case("8.3.1", "no :path", asks(drop=":path"), malformed, reaches=False),
    Case("8.3.1", "two :method", asks((":method", "GET")), malformed, reaches=False),
    Case("8.3.1", "two :scheme", asks((":scheme", "https")), malformed, reaches=False),
    Case("8.3.1", "two :path", asks((":path", "/")), malformed, reaches=False),
    Case("8.3.1", "two :authority", asks((":authority", "other.test")), malformed, reaches=False),
    Case(
        "8.1.1",
        "Content-Length more than one DATA frame",
        post(DataFrame(1, data=b"test", flags=["END_STREAM"]), fields=(("content-length", "8"),)),
        malformed,
    ),
    Case(
        "8.1.1",
        "Content-Length less than one DATA frame",
        post(DataFrame(1, data=b"test", flags=["END_STREAM"]), fields=(("content-length", "1"),)),
        malformed,
    ),
    Case(
        "8.1.1",
        "Content-Length other than several DATA frames",
        post(
            DataFrame(1, data=b"test"),
            DataFrame(1, data=b"test", flags=["END_STREAM"]),
            fields=(("content-length", "9"),),
        ),
        malformed,
    ),
    Case("8.1.1", "Content-Length of what has no body", asks(("content-length", "4"), method="POST"), malformed),
    Case(
        "8.1.1",
        "Content-Length that is right",
        post(
            DataFrame(1, data=b"test"),
            DataFrame(1, data=b"more", flags=["END_STREAM"]),
            fields=(("content-length", "8"),),
        ),
        answered(),
    ),
    # ---- RFC 7541
    Case(
        "hpack 2.3.3",
        "an index that no table has",
        with_block(lambda h: good(h) + b"\xc6"),
        connection_error(COMPRESSION),
        reaches=False,
    ),
    Case(
        "hpack 2.3.3",
        "a literal whose name's index no table has",
        with_block(lambda h: good(h) + b"\x7f\x10\x05value"),
        connection_error(COMPRESSION),
        reaches=False,
    ),
    Case(
        "hpack 4.2",
        "a change of the table's size at a block's end",
        with_block(lambda h: good(h) + b"\x21"),
        connection_error(COMPRESSION),
        reaches=False,
    ),
    Case(
        "hpack 4.2",
        "a change of the table's size at a block's begin",
        with_block(lambda h: b"\x21" + good(h)),
        answered(),
    ),
    Case(
        "hpack 5.1",
        "an integer that never ends",
        with_block(lambda h: good(h) + b"\xff" + b"\xff" * 12 + b"\x01"),
        connection_error(COMPRESSION),
        reaches=False,
    ),
    Case(
        "hpack 5.2",
        "a string longer than its block",
        with_block(lambda h: good(h) + b"\x00\x01x\x7f\x10abc"),
        connection_error(COMPRESSION),
        reaches=False,
    ),
    Case(
        "hpack 5.2",
        "Huffman padding of more than 7 bits",
        with_block(lambda h: good(h) + b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        connection_error(COMPRESSION),
        reaches=False,
    ),
    Case(
        "hpack 5.2",
        "Huffman padding that isn't of ones",
        with_block(lambda h: good(h) + b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        connection_error(COMPRESSION),
        reaches=False,
    ),
    Case(
        "hpack 5.2",
        "Huffman with the symbol for the end",
        with_block(lambda h: good(h) + b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"),
        connection_error(COMPRESSION),
        reaches=False,
    ),
    Case("hpack 5.2", "Huffman", with_block(lambda h: good(h) + b"\x00\x06x-site\x8c" + HUFFMAN_WWW), answered()),
    Case("hpack 6.1", "an indexed field", with_block(lambda h: good(h) + b"\x90"), answered()),
    Case("hpack 6.1", "index 0", with_block(lambda h: good(h) + b"\x80"), connection_error(COMPRESSION), reaches=False),
    Case(
        "hpack 6.2.1",
        "a literal that is remembered",
        with_block(lambda h: good(h) + name_and_value(b"\x40", b"x-a", b"b")),
        answered(),
    ),
    Case("hpack 6.2.1", "and used again", remembered, answered(1, 3)),
    Case("hpack 6.2.1", "with a known name", with_block(lambda h: good(h) + b"\x7a\x04test"), answered()),
    Case(
        "hpack 6.2.2",
        "a literal that isn't",
        with_block(lambda h: good(h) + name_and_value(b"\x00", b"x-a", b"b")),
        answered(),
    ),
    Case("hpack 6.2.2", "with a known name", with_block(lambda h: good(h) + b"\x0f\x2b\x04test"), answered()),
    Case(
        "hpack 6.2.3",
        "a literal that never is",
        with_block(lambda h: good(h) + name_and_value(b"\x10", b"x-a", b"b")),
        answered(),
    ),
    Case("hpack 6.2.3", "with a known name", with_block(lambda h: good(h) + b"\x1f\x2b\x04test"), answered()),
    Case(
        "hpack 6.3", "two changes of the table's size", with_block(lambda h: b"\x20\x3f\xe1\x1f" + good(h)), answered()
    ),
    Case(
        "hpack 6.3",
        "a table larger than SETTINGS allow",
        with_block(lambda h: b"\x3f\xe1\xff\xff\x03" + good(h)),
        connection_error(COMPRESSION),
        reaches=False,
    ),
]
