"""security.md S22: a client whose frames cost us work and it nothing is told to calm down, while another is served.

The counts to the frame are in crates/edge/src/public/frames.rs; that nobody's latency suffers, in test_neighbours_visitors.py.
"""

import threading
from collections.abc import Iterator

import pytest
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

from tests.support.fixtures import every_connector, quic_only
from tests.support.frames import FrameClient, block, headers, raw_frame, request
from tests.support.origin import Exchange
from tests.support.sites import Site

pytestmark = pytest.mark.requirement("S22")

ENHANCE_YOUR_CALM = 11
CANCEL = 8


@pytest.fixture
def client(site: Site) -> Iterator[FrameClient]:
    with FrameClient.dial(site.edge.https, site.hostname, site.edge.ca_file) as client:
        client.get(1)
        assert client.until(lambda: client.is_over(1))
        assert client.status(1) == 200
        yield client


def flood(client: FrameClient, batch: bytes, batches: int) -> int | None:
    """Sends until it is ended; the GOAWAY's code."""
    for _ in range(batches):
        try:
            client.raw(batch)
        except OSError:
            break
        client.read(within_s=0.001)
        if client.ended is not None or client.goaway is not None:
            break
    client.until(lambda: client.goaway is not None)
    return client.goaway


def bytes_of(*frames: Frame) -> bytes:
    return b"".join(frame.serialize() for frame in frames)


IDLE = {
    "settings": bytes_of(SettingsFrame(0, settings={4: 65535})),
    "ping": bytes_of(PingFrame(0, opaque_data=b"12345678")),
    "priority": bytes_of(PriorityFrame(7, depends_on=0, stream_weight=1)),
    "unknown": raw_frame(0xFA, 0, 0, b"grease"),
    "resets of no stream": bytes_of(RstStreamFrame(1, error_code=CANCEL)),
}


@quic_only
@pytest.mark.parametrize("kind", IDLE)
def test_frames_that_ask_for_nothing(site: Site, client: FrameClient, kind: str) -> None:
    client.raw(IDLE[kind] * 60)
    assert client.is_alive(), "so many are borne"
    assert flood(client, IDLE[kind] * 60, 20) == ENHANCE_YOUR_CALM
    assert site.get().status == 200


@quic_only
def test_empty_data(site: Site, client: FrameClient) -> None:
    client.send(headers(3, block(request(site.hostname, "/", "POST")), "END_HEADERS"))
    assert flood(client, bytes_of(DataFrame(3)) * 60, 20) == ENHANCE_YOUR_CALM
    assert site.get().status == 200
    site.origin.problems.clear()


@quic_only
@pytest.mark.parametrize("size", [0, 1, 16384])
def test_a_header_block_without_end(site: Site, client: FrameClient, size: int) -> None:
    client.send(headers(3, block(request(site.hostname)), "END_STREAM"))
    piece = block([("x-a", "b" * (size - 10))])[:size] if size > 10 else b"\x00" * size
    assert flood(client, bytes_of(ContinuationFrame(3, data=piece)), 100) == ENHANCE_YOUR_CALM
    assert site.get().status == 200


def never(exchange: Exchange) -> None:
    """An origin that doesn't answer."""
    exchange.wait_gone()


@quic_only
def test_rapid_resets(site: Site, client: FrameClient) -> None:
    data = block(request(site.hostname, "/never"))
    site.origin.script = never
    for first in range(3, 3 + 2 * 10_000, 40):
        pairs = ((headers(n, data), RstStreamFrame(n, error_code=CANCEL)) for n in range(first, first + 40, 2))
        try:
            client.raw(bytes_of(*(frame for pair in pairs for frame in pair)))
        except OSError:
            break
        client.read(within_s=0.001)
        if client.goaway is not None:
            break
    assert client.until(lambda: client.goaway is not None)
    assert client.goaway == ENHANCE_YOUR_CALM
    assert first > 2 * 480, "some hundreds are borne"
    site.origin.script = lambda exchange: exchange.answer(200, b"fine")
    assert site.get().status == 200


MADE = {
    "window update of 0": raw_frame(8, 0, 0, bytes(4)),
    "window overflow": raw_frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "data after the end": raw_frame(0, 0, 0, b"x"),
    "priority of a wrong length": raw_frame(2, 0, 0, b"abc"),
    "headers after the end": b"",
    "depends on itself": b"",
}


@quic_only
@pytest.mark.parametrize("how", MADE)
def test_resets_that_the_client_makes_us_send(site: Site, client: FrameClient, how: str) -> None:
    """MadeYouReset (CVE-2025-8671), six triggers: the connection ends before the origin has been made to work for long."""
    data = block(request(site.hostname, "/made"))
    site.origin.script = never
    ended = False
    for n in range(3, 3 + 2 * 2000, 2):
        trigger = bytearray(MADE[how])
        for at in range(0, len(trigger), max(len(trigger) // (2 if how == "window overflow" else 1), 1)):
            trigger[at + 5 : at + 9] = n.to_bytes(4, "big")
        if how == "headers after the end":
            trigger = bytearray(bytes_of(headers(n, data, "END_HEADERS", "END_STREAM")))
        if how == "depends on itself":
            trigger = bytearray(raw_frame(2, 0, n, n.to_bytes(4, "big") + b"\x01"))
        try:
            client.raw(bytes_of(headers(n, data)) + bytes(trigger))
            client.read(within_s=0.0005)
        except OSError:
            ended = True
        if ended or client.goaway is not None or client.ended is not None:
            ended = True
            break
    assert ended
    assert n < 3 + 2 * 1000, f"{n // 2} requests"
    site.origin.script = lambda exchange: exchange.answer(200, b"fine")
    assert site.get().status == 200


@quic_only
def test_honest_cancels_are_borne(site: Site, client: FrameClient) -> None:
    """Somebody who looks through a page of pictures: as many cancelled as seen, 300 each."""
    data = block(request(site.hostname, "/picture"))
    for n in range(3, 3 + 4 * 300, 4):
        client.send(headers(n, data))
        assert client.until(lambda n=n: client.is_over(n))  # type: ignore[misc]
        client.send(headers(n + 2, data), RstStreamFrame(n + 2, error_code=CANCEL))
    assert client.is_alive()
    assert client.goaway is None


@pytest.mark.case(74)
@every_connector
def test_somebody_who_cancels_much_is_no_flood(site: Site) -> None:
    """A map: a download runs all the time; 1 500 tiles are cancelled when their head has come, fifty at once, then 300 right
    after they were asked for. The connection, the download and another visitor's events go on."""
    done = threading.Event()

    def download(exchange: Exchange) -> None:
        exchange.head(200, [("Transfer-Encoding", "chunked")])
        exchange.chunk(b"begun")
        done.wait(60.0)
        exchange.chunk(b"ended")
        exchange.last_chunk()

    def tile(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "100000")])
        exchange.send(b"x" * 20_000)  # less stays in a stock connector's buffer
        exchange.wait_gone(within_s=30.0)

    def slow(exchange: Exchange) -> None:
        exchange.wait_gone(within_s=30.0)

    site.origin.on("/events", download)
    site.origin.on("/download", download)
    site.origin.on("/tile", tile)
    site.origin.on("/slow", slow)
    neighbour = site.h1(timeout_s=30.0)
    neighbour.start("GET", "/events")
    events = neighbour.body_of(neighbour.head())
    assert next(events) == b"begun"
    settings = {4: 1 << 20}
    with FrameClient.dial(
        site.edge.https, site.hostname, site.edge.ca_file, settings=settings, timeout_s=30.0
    ) as client:
        client.send(WindowUpdateFrame(0, window_increment=1 << 30))
        client.get(1, "/download")
        assert client.until(lambda: client.body(1) == b"begun")
        tiles, waiting = (block(request(site.hostname, path)) for path in ("/tile", "/slow"))
        number = 3
        for _ in range(30):
            batch = range(number, number + 100, 2)
            number += 100
            client.send(*(headers(n, tiles) for n in batch))
            assert client.until(lambda batch=batch: all(client.status(n) for n in batch))  # type: ignore[misc]
            client.send(*(RstStreamFrame(n, error_code=CANCEL) for n in batch))
        for _ in range(10):
            batch = range(number, number + 60, 2)
            number += 60
            client.send(*(headers(n, waiting) for n in batch))
            client.read(within_s=0.005)
            client.send(*(RstStreamFrame(n, error_code=CANCEL) for n in batch))
        assert client.is_alive()
        done.set()
        assert client.until(lambda: client.is_over(1))
        assert (client.goaway, client.body(1)) == (None, b"begunended")
    assert b"".join(events) == b"ended"
    site.origin.problems.clear()
