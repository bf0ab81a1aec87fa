"""What one connector answers must not hurt the visitors of another, nor make the edge take for HTTP what is none: statuses of
the switching kind, heads without measure (security.md S12, S16, S19; cases.md 70)."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import hpack
import hyperframe.frame
import pytest

from tests.support import rpc
from tests.support.connectors import Http2Handler, Http2Stream, QuicStream, serialised
from tests.support.fixtures import quic_only
from tests.support.http1 import Fields
from tests.support.neighbours import ATTACKER, Victim, lab, repeated, unharmed  # noqa: F401
from tests.support.sites import Fakes
from tests.support.websocket import ACCEPT, REQUEST_FIELDS

WRONG_ACCEPT = ACCEPT.swapcase()
QANAT = ("allow_remote_config", "serialized_headers", "qanat_status")
STOCK = ("allow_remote_config", "serialized_headers")
FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"


class Bystander:
    """A visitor of another tunnel of the same edge."""

    def __init__(self, fakes: Fakes) -> None:
        tunnel, hostname = fakes.tunnel()
        fakes.quic(tunnel)
        self.client = fakes.edge.h1(hostname)

    def is_served(self) -> None:
        for _ in range(3):
            answer = self.client.get("/mine")
            assert (answer.status, answer.body) == (200, b"ok")


@pytest.fixture
def bystander(fakes: Fakes) -> Iterator[Bystander]:
    found = Bystander(fakes)
    yield found
    found.client.close()


def raw_head(stream: Http2Stream, fields: Fields, *, end: bool = False) -> None:
    """A head that no library would let out."""
    send_block(stream, header_block(fields), end=end)


def header_block(fields: Fields) -> bytes:
    """It leaves the table of either side as it is; without Huffman coding, which takes Python seconds for a large one."""
    return bytes(hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields], huffman=False))


def send_block(stream: Http2Stream, block: bytes, *, end: bool) -> None:
    first = hyperframe.frame.HeadersFrame(stream.number, data=block[:16384], flags=["END_STREAM"] if end else [])
    frames: list[hyperframe.frame.Frame] = [first]
    for at in range(16384, len(block), 16384):
        frames.append(hyperframe.frame.ContinuationFrame(stream.number, data=block[at : at + 16384]))
    frames[-1].flags.add("END_HEADERS")
    stream.connector.flush()
    assert stream.connector._writer is not None
    stream.connector._writer.write(b"".join(frame.serialize() for frame in frames))


def interim_101(stream: Http2Stream) -> None:
    raw_head(stream, [(":status", "101"), ("cf-cloudflared-response-headers", serialised([("Upgrade", "websocket")]))])
    stream.connector._writer.write(data_frame(stream, FORGED))  # type: ignore[union-attr]


def interim_101_and_more(stream: Http2Stream) -> None:
    raw_head(stream, [(":status", "101")])
    stream.respond(200, [("Content-Length", "5")], b"after")


def final(status: int) -> Callable[[Http2Stream], None]:
    return lambda stream: raw_head(stream, [(":status", str(status))], end=True)


def data_frame(stream: Http2Stream, data: bytes) -> bytes:
    return bytes(hyperframe.frame.DataFrame(stream.number, data=data).serialize())


NO_FINAL = {
    "101 and raw bytes": interim_101,
    "101 and another answer": interim_101_and_more,
    "101 with the end": final(101),
    "100 with the end": final(100),
    "103 with the end": final(103),
    "199 with the end": final(199),
}


BREAKS_ITS_LINK = ("101 and raw bytes",)
"""DATA before a final head is a connection error of HTTP/2: the connector has lost its own link, nobody else."""


@pytest.mark.case(70)
@pytest.mark.parametrize("features", [STOCK, QANAT], ids=["stock", "ours"])
@pytest.mark.parametrize("name", NO_FINAL)
def test_an_interim_status_is_no_answer_over_http2(
    fakes: Fakes, bystander: Bystander, name: str, features: tuple[str, ...]
) -> None:
    async def handler(stream: Http2Stream) -> None:
        path = dict(stream.fields)[":path"]
        NO_FINAL[name](stream) if path == "/hostile" else stream.respond(200, [("Content-Length", "2")], b"ok")

    tunnel, hostname = fakes.tunnel()
    fakes.http2(tunnel, handler=handler, features=features)
    with fakes.edge.h1(hostname) as old, fakes.edge.h2(hostname) as modern:
        for fields in ([], REQUEST_FIELDS):
            answer = old.get("/hostile", fields)
            assert answer.status == 502 or (answer.status == 530 and name in BREAKS_ITS_LINK)
            assert 101 not in [status for status, _ in answer.informational]
            after = old.get("/next")  # the visitor's connection still speaks HTTP, and only ours
            assert (after.status, after.body) == (200, b"ok") or name in BREAKS_ITS_LINK
        assert modern.get("/hostile").status in ((502, 530) if name in BREAKS_ITS_LINK else (502,))
        assert modern.get("/next").status == 200 or name in BREAKS_ITS_LINK
    bystander.is_served()


SWITCHES: dict[str, tuple[int, Fields, Fields]] = {
    "plain GET": (101, [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", ACCEPT)], []),
    "plain GET, another protocol": (101, [("Upgrade", "foo"), ("Connection", "Upgrade")], []),
    "another protocol": (101, [("Upgrade", "other"), ("Sec-WebSocket-Accept", ACCEPT)], REQUEST_FIELDS),
    "no accept": (101, [("Upgrade", "websocket")], REQUEST_FIELDS),
    "wrong accept": (101, [("Upgrade", "websocket"), ("Sec-WebSocket-Accept", WRONG_ACCEPT)], REQUEST_FIELDS),
    "nothing": (101, [], REQUEST_FIELDS),
}


@pytest.mark.case(70)
@pytest.mark.parametrize("name", SWITCHES)
def test_only_the_switch_that_was_asked_for_passes_over_quic(
    fakes: Fakes, bystander: Bystander, version: str, name: str
) -> None:
    status, answered, asked = SWITCHES[name]
    gone = threading.Event()

    async def handler(stream: QuicStream) -> None:
        if stream.dest.endswith("/next"):
            stream.respond(200, [("Content-Length", "2")], b"ok")
            return
        stream.respond(status, answered)
        stream.write(FORGED)
        while await stream.more():
            pass
        gone.set()

    tunnel, hostname = fakes.tunnel()
    fakes.quic(tunnel, handler=handler)
    if version == "h1":
        with fakes.edge.h1(hostname) as client:
            answer = client.get("/hostile", asked)
            assert answer.status == 502
            assert fakes.edge.cause(answer.request_id) == "origin_bad_response"
            assert client.get("/next").body == b"ok"
    else:
        with fakes.edge.h2(hostname) as modern:
            modern.get("/next")
            # the key is the edge's own: an accept of any other is wrong
            number = modern.websocket("/hostile") if asked else modern.start("GET", "/hostile")
            assert modern.answer(number).status == 502
            assert modern.get("/next").body == b"ok"
    assert gone.wait(5), "the call to the connector goes on"
    bystander.is_served()


REFUSALS: dict[str, Fields] = {
    "h2,h2c": [("Upgrade", "h2,h2c"), ("Connection", "Upgrade")],
    "an accept": [("Sec-WebSocket-Accept", ACCEPT)],
    "h2c and an accept": [("Upgrade", "h2c"), ("Sec-WebSocket-Accept", ACCEPT)],
    "websocket": [("Upgrade", "websocket")],
    "all of it": [("Upgrade", "websocket"), ("Sec-WebSocket-Accept", ACCEPT)],
}


@pytest.mark.parametrize("features", [STOCK, QANAT], ids=["stock", "ours"])
@pytest.mark.parametrize("name", REFUSALS)
def test_a_websocket_refused_with_200_stays_refused_over_http2(
    fakes: Fakes, bystander: Bystander, name: str, features: tuple[str, ...]
) -> None:
    async def handler(stream: Http2Stream) -> None:
        stream.respond(200, [*REFUSALS[name], ("Content-Length", "4")], b"page")

    tunnel, hostname = fakes.tunnel()
    fakes.http2(tunnel, handler=handler, features=features)
    with fakes.edge.h1(hostname) as client:
        # S11: what follows a refused upgrade are requests
        client.start("GET", "/ws", REQUEST_FIELDS)
        client.start("GET", "/next")
        for _ in range(2):
            answer = client.answer()
            assert (answer.status, answer.body) == (200, b"page")
    with fakes.edge.h2(hostname) as modern:
        modern.get("/")
        # RFC 8441 5: to a client of HTTP/2 any 2xx is the WebSocket
        answer = modern.head(modern.websocket("/ws"))
        assert (answer.status, answer.value("x-qanat-error")) == (502, "origin_bad_response")
        assert modern.get("/next").body == b"page"
    bystander.is_served()


def test_a_stock_connectors_websocket_is_known_by_its_accept_over_http2(fakes: Fakes) -> None:
    """101 travels as 200; the accept of the key that was sent, and nothing less, proves it."""

    def switched(accept: str) -> Http2Handler:
        async def handler(stream: Http2Stream) -> None:
            fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
            stream.head(200, [("cf-cloudflared-response-headers", serialised(fields))])
            stream.write(b"raw")

        return handler

    for accept, expected in ((ACCEPT, 101), (WRONG_ACCEPT, 502)):
        tunnel, hostname = fakes.tunnel()
        fakes.http2(tunnel, handler=switched(accept))
        with fakes.edge.h1(hostname) as client:
            client.start("GET", "/ws", REQUEST_FIELDS)
            assert client.head().status == expected
            if expected == 101:
                assert client.wire.exactly(3) == b"raw"


# ------------------------------------------------------------------------------------------------ measure
def metadata(fields: Fields) -> bytes:
    return rpc.DATA + rpc.connect_response(
        [("HttpStatus", "200"), *((f"HttpHeader:{name}", text) for name, text in fields)]
    )


def heavy(fields: int, nominations: int) -> Fields:
    """The most that fits: nominations by the name of fields that are there."""
    names = [f"x{n:x}" for n in range(max(fields, nominations))]
    lines: Fields = [("Connection", ",".join(names[at : at + 2000])) for at in range(0, nominations, 2000)]
    return [*lines, *((name, "") for name in names[: fields - len(lines)])]


def answering(fakes: Fakes, link: str, lines: Fields) -> str:
    """The hostname of a tunnel whose connector answers everything with these fields."""
    head = metadata(lines)
    block = header_block([(":status", "200"), ("cf-cloudflared-response-headers", serialised(lines))])

    async def over_quic(stream: QuicStream) -> None:
        stream.write(head, end=True)

    async def over_http2(stream: Http2Stream) -> None:
        send_block(stream, block, end=True)

    tunnel, hostname = fakes.tunnel()
    if link == "quic":
        fakes.quic(tunnel, handler=over_quic)
    else:
        fakes.http2(tunnel, handler=over_http2)
    return hostname


LINKS = pytest.mark.parametrize("transport", ["quic", "http2"])


@pytest.mark.requirement("S16")
@LINKS
@pytest.mark.parametrize(("fields", "status"), [(511, 200), (512, 200), (513, 502), (6000, 502)])
def test_a_connectors_answer_has_as_many_fields_as_it_may(
    fakes: Fakes, bystander: Bystander, transport: str, fields: int, status: int
) -> None:
    with fakes.edge.h1(answering(fakes, transport, heavy(fields, 100))) as client:
        answer = client.get()
        assert answer.status == status
        if status == 502:
            assert fakes.edge.cause(answer.request_id) == "response_head_too_large"
        assert client.get().status == status  # client and link live on
    bystander.is_served()


@pytest.mark.requirement("S16")
@LINKS
@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 502)])
def test_a_connectors_answer_is_as_large_as_it_may(fakes: Fakes, transport: str, extra: int, status: int) -> None:
    line = "X-A", "v" * ((128 << 10) - len("X-A: \r\n") + extra)
    with fakes.edge.h1(answering(fakes, transport, [line])) as client:
        answer = client.get()
        assert answer.status == status
        if status == 502:
            assert fakes.edge.cause(answer.request_id) == "response_head_too_large"


@pytest.mark.alone
@quic_only
@LINKS
@pytest.mark.parametrize("fields", [512, 6000], ids=["as many as may be", "more"])
def test_heavy_answers_slow_nobody_down(fakes: Fakes, victim: Victim, transport: str, fields: int) -> None:
    """Fields that `Connection` names, and 12 000 names: what took 0.58 s of an I/O thread was their product."""
    hostname = answering(fakes, transport, heavy(fields, 12000))
    statuses: set[int] = set()

    @contextmanager
    def attack() -> Iterator[None]:
        with fakes.edge.h1(hostname, source=ATTACKER) as client:
            with repeated(lambda: statuses.add(client.get().status), per_second=20):
                yield

    unharmed(victim, attack=attack)
    assert statuses == {200 if fields == 512 else 502}
