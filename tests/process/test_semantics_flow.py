"""semantics.md, "Backpressure and memory": nothing is hoarded, nobody waits for somebody else, nothing is held back."""

import hashlib
import os
import threading
import time

import pytest

from tests.support.http1 import Http1Client
from tests.support.origin import Exchange, Gone
from tests.support.sites import Site
from tests.support.waiting import wait_until

MIB = 1 << 20


def settled(read: "list[int]") -> int:
    """The value once it has not moved for 0.3 s."""
    last, since = read[0], time.monotonic()

    def still() -> bool:
        nonlocal last, since
        if read[0] != last:
            last, since = read[0], time.monotonic()
        return time.monotonic() - since > 0.3 and last > 0

    wait_until(still, "the sender to stall")
    return last


def test_slow_reader_stalls_the_origin_and_nobody_else(site: Site, version: str) -> None:
    sent = [0]
    done = threading.Event()

    def pour(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", str(256 * MIB))])
        try:
            while sent[0] < 256 * MIB:
                exchange.send(b"x" * 65536)
                sent[0] += 65536
        except Gone:
            pass
        finally:
            done.set()

    site.origin.on("/big", pour)
    before = site.edge.process.rss_bytes() + site.connector.process.rss_bytes()
    client = site.h1(receive_buffer=65536) if version == "h1" else site.h2(window=65535)
    if isinstance(client, Http1Client):
        client.start("GET", "/big")
    else:
        number = client.start("GET", "/big")
        client.held.add(number)
        client.head(number)
    stalled = settled(sent)
    assert stalled < 32 * MIB, f"{stalled >> 20} MiB were taken from the origin for a client that reads nothing"
    assert site.get("/small").body == b"hello"
    after = site.edge.process.rss_bytes() + site.connector.process.rss_bytes()
    assert after - before < 48 * MIB
    client.close()
    assert done.wait(10.0), "the origin was not released"


def test_slow_origin_stalls_the_uploader(site: Site) -> None:
    go = threading.Event()
    whole: list[int] = []

    def reluctant(exchange: Exchange) -> None:
        go.wait(30.0)
        whole.append(len(exchange.body()))
        exchange.answer(200, b"thanks")

    site.origin.script = reluctant
    client = site.h1(timeout_s=30.0)
    size = 128 * MIB
    client.start("POST", "/", [("Content-Length", str(size))])
    sent = [0]

    def upload() -> None:
        while sent[0] < size:
            client.send(b"x" * 65536)
            sent[0] += 65536

    uploader = threading.Thread(target=upload, daemon=True)
    uploader.start()
    assert settled(sent) < 48 * MIB
    go.set()
    assert client.answer("POST").body == b"thanks"
    assert whole == [size]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", ["text/event-stream; charset=utf-8", "application/x-ndjson", "text/plain"])
def test_each_piece_is_delivered_as_it_comes(site: Site, version: str, method: str, kind: str) -> None:
    """No length, so nothing may be held back: the origin writes the next piece only after the client had the last."""
    had = threading.Semaphore(0)

    def drip(exchange: Exchange) -> None:
        exchange.body()
        exchange.head(200, [("Content-Type", kind), ("Transfer-Encoding", "chunked")])
        for n in range(5):
            exchange.chunk(b"data: %d\n\n" % n)
            assert had.acquire(timeout=5.0)
        exchange.last_chunk()

    site.origin.script = drip
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start(method, "/sse", [("Content-Length", "0")] if method == "POST" else [])
        client.head()
        pieces = client.wire.chunks()
        for n in range(5):
            assert next(pieces) == b"data: %d\n\n" % n
            had.release()
        assert list(pieces) == []
    else:
        number = client.start(method, "/sse")
        read = client.stream_bytes(number)
        for n in range(5):
            assert read() == b"data: %d\n\n" % n
            had.release()
        client.answer(number)


def test_piece_of_a_known_length_is_delivered_as_it_comes(site: Site, version: str) -> None:
    had = threading.Event()

    def drip(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "10")])
        exchange.send(b"first")
        assert had.wait(5.0)
        exchange.send(b"later")

    site.origin.script = drip
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("GET", "/")
        pieces = client.body_of(client.head())
        assert next(pieces) == b"first"
        had.set()
        assert b"".join(pieces) == b"later"
    else:
        number = client.start("GET", "/")
        read = client.stream_bytes(number)
        assert read() == b"first"
        had.set()
        assert read() == b"later"


def test_uploaded_bytes_reach_the_origin_as_they_come(site: Site, version: str) -> None:
    pieces: list[bytes] = []

    def collect(exchange: Exchange) -> None:
        for piece in exchange.pieces():
            pieces.append(piece)
        exchange.answer()

    site.origin.script = collect
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("PATCH", "/files/1", [("Content-Length", "8")])
        client.send(b"1234")
        wait_until(lambda: pieces == [b"1234"], "the first half at the origin")
        client.send(b"5678")
        assert client.answer("PATCH").status == 200
    else:
        number = client.start("PATCH", "/files/1", [("content-length", "8")], end=False)
        client.data(number, b"1234")
        wait_until(lambda: pieces == [b"1234"], "the first half at the origin")
        client.data(number, b"5678", end=True)
        assert client.answer(number).status == 200


def test_many_streams_of_one_connection_at_once(site: Site) -> None:
    bodies = {f"/{n}": os.urandom(200_000) for n in range(40)}
    for path, body in bodies.items():
        site.origin.on(path, lambda exchange, body=body: exchange.answer(200, body))  # type: ignore[misc]
    client = site.h2(timeout_s=20.0)
    numbers = {path: client.start("GET", path) for path in bodies}
    for path, number in numbers.items():
        assert hashlib.sha256(client.answer(number).body).digest() == hashlib.sha256(bodies[path]).digest()


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    for n in range(5):
        site.origin.on(f"/{n}", lambda exchange, n=n: exchange.answer(200, b"%d" % n))  # type: ignore[misc]
    client = site.h1()
    client.send(b"".join(f"GET /{n} HTTP/1.1\r\nHost: {site.hostname}\r\n\r\n".encode() for n in range(5)))
    assert [client.answer().body for _ in range(5)] == [b"%d" % n for n in range(5)]


def test_nothing_is_left_open_after_many_requests(site: Site) -> None:
    client = site.h1()
    for _ in range(50):
        assert client.get().status == 200
    edge_files, connector_files = site.edge.process.open_files(), site.connector.process.open_files()
    for _ in range(300):
        assert client.get().status == 200
    assert site.edge.process.open_files() <= edge_files + 2
    assert site.connector.process.open_files() <= connector_files + 2
