"""semantics.md, "Ends and errors": how each end of a request travels, over both transports, for HTTP/1.1 and HTTP/2 clients."""

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.connectors import Http2Stream, QuicStream
from tests.support.edge import Edge
from tests.support.http1 import Cut, Http1Client
from tests.support.http2 import Reset
from tests.support.origin import Exchange
from tests.support.sites import Fakes, Publisher, Site
from tests.support.waiting import wait_until

TRUNCATED = (Cut, Reset, ConnectionResetError)
SOON_S = 9.0
"""The contract says 100 ms; the rest is for two cores that build and test at once. Unnoticed it lasts longer, or for ever."""


# ---------------------------------------------------------------------------------------- bodies that end well
@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 1_000_001])
def test_request_body_ends_normally_at_the_origin(site: Site, version: str, size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    answer = site.client(version).request("POST", "/", body=body)
    assert answer.status == 200
    request = site.origin.last
    assert request.body == body
    assert request.body_whole


def test_chunked_request_body_ends_normally_at_the_origin(site: Site) -> None:
    client = site.h1()
    client.start("POST", "/", [("Transfer-Encoding", "chunked")])
    client.send_chunk(b"one ")
    client.send_chunk(b"two")
    client.end_chunks()
    assert client.answer("POST").status == 200
    assert site.origin.last.body == b"one two"
    assert site.origin.last.body_whole


@pytest.mark.parametrize("size", [0, 1, 65536, 5_000_000])
def test_response_body_arrives_whole(site: Site, version: str, size: int) -> None:
    body = bytes(i % 249 for i in range(size))
    site.origin.answers(body=body)
    answer = site.client(version).get()
    assert answer.body == body
    assert answer.value("content-length") == str(size)


def test_response_without_length_arrives_whole(site: Site, version: str) -> None:
    def script(exchange: Exchange) -> None:
        exchange.head(200, [("Transfer-Encoding", "chunked")])
        for piece in (b"a", b"b" * 70000, b"c"):
            exchange.chunk(piece)
        exchange.last_chunk()

    site.origin.script = script
    assert site.client(version).get().body == b"a" + b"b" * 70000 + b"c"


def test_response_ended_by_close_arrives_whole(site: Site, version: str) -> None:
    site.origin.sends(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end", then="close")
    assert site.client(version).get().body == b"until the end"


# ------------------------------------------------------------------------------------------- clients that leave
def leave(client: object, how: str, stream: int) -> None:
    if isinstance(client, Http1Client):
        client.reset() if how == "reset" else client.close()
    elif how == "cancel":
        client.cancel(stream)  # type: ignore[attr-defined]
    else:
        client.reset_connection()  # type: ignore[attr-defined]


LEAVING = [("h1", "close"), ("h1", "reset"), ("h2", "cancel"), ("h2", "reset")]


@pytest.mark.parametrize(("version", "how"), LEAVING)
def test_client_that_leaves_before_the_answer_aborts_the_origin_call(site: Site, version: str, how: str) -> None:
    gone: list[float] = []
    site.origin.script = lambda exchange: gone.append(exchange.wait_gone())
    client = site.client(version)
    number = 0
    if isinstance(client, Http1Client):
        client.start("GET", "/slow")
    else:
        number = client.start("GET", "/slow")
    site.origin.wait_requests(1)
    start = time.monotonic()
    leave(client, how, number)
    wait_until(lambda: gone, "the origin's connection to end")
    assert time.monotonic() - start < SOON_S


@pytest.mark.parametrize(("version", "how"), LEAVING)
def test_client_that_leaves_mid_answer_aborts_the_origin_call_and_its_connection(
    site: Site, version: str, how: str
) -> None:
    ends: list[float] = []

    def script(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "1000000")])
        exchange.send(b"x" * 1000)
        exchange.wait_gone()
        ends.append(time.monotonic())

    site.origin.on("/slow", script)
    client = site.client(version)
    number = 0
    if isinstance(client, Http1Client):
        client.start("GET", "/slow")
        assert client.head().status == 200
    else:
        number = client.start("GET", "/slow")
        assert client.head(number).status == 200
    start = time.monotonic()
    leave(client, how, number)
    assert wait_until(lambda: ends, "the origin's connection to end")[0] - start < SOON_S
    assert site.get().status == 200
    assert site.origin.last.connection.number != 0, "the tainted connection was used again"


def test_client_that_leaves_mid_request_never_gives_the_origin_a_whole_body(site: Site) -> None:
    seen: list[str] = []

    def script(exchange: Exchange) -> None:
        try:
            exchange.body()
            seen.append("whole")
        except Cut:
            seen.append("cut")
            raise

    site.origin.script = script
    client = site.h1()
    client.start("POST", "/", [("Transfer-Encoding", "chunked")])
    client.send_chunk(b"half of it")
    site.origin.wait_requests(1)
    client.close()
    assert wait_until(lambda: seen, "the origin to notice") == ["cut"]


# ------------------------------------------------------------------------------------------ origins that fail
def test_refused_connection_is_502(refusing_site: Site, version: str) -> None:
    answer = refusing_site.client(version).get()
    assert answer.status == 502
    assert refusing_site.edge.cause(answer.request_id) == "origin_refused"


def test_origin_that_accepts_no_connection_in_time_is_504(publish: Publisher, version: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for sock in waiting:  # the queue is full after one or two: the system then answers no SYN
                sock.setblocking(False)
                sock.connect_ex(address)
            site = publish(f"http://127.0.0.1:{address[1]}", origin_request={"connectTimeout": 1})
            answer = site.client(version).get()
            assert answer.status == 504
            assert site.edge.cause(answer.request_id) == "origin_timeout"
        finally:
            for sock in waiting:
                sock.close()


def test_origin_that_never_answers_the_tls_handshake_is_504(publish: Publisher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = publish(f"https://127.0.0.1:{listener.getsockname()[1]}", origin_request={"tlsTimeout": 1})
        answer = site.get()
        assert answer.status == 504
        assert site.edge.cause(answer.request_id) == "origin_timeout"


MALFORMED = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "two-digit status": b"HTTP/1.1 20 OK\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "bare CR in a value": b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    "end in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "nothing at all": b"",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_head_of_an_origin_is_502(site: Site, name: str) -> None:
    site.origin.sends(MALFORMED[name], then="close")
    answer = site.h2().request("POST", "/", body=b"x")
    assert answer.status == 502
    assert site.edge.cause(answer.request_id) in ("origin_bad_response", "origin_error")
    site.origin.answers(body=b"well")
    assert site.get().body == b"well"


CUT_BODIES = {
    "chunked, reset": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "reset"),
    "chunked, closed": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "close"),
    "chunked, in a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhello", "close"),
    "chunked, bad size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", "keep"),
    "length, closed": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", "close"),
    "length, reset": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", "reset"),
}


@pytest.mark.parametrize("name", CUT_BODIES)
def test_origin_dying_mid_body_is_never_a_clean_end(site: Site, version: str, name: str) -> None:
    """A reset may overtake the head on the tunnel (QUIC drops what was not delivered): then the edge's own 502 is right."""
    raw, then = CUT_BODIES[name]
    site.origin.sends(raw, then=then)
    for _ in range(5):
        try:
            answer = site.client(version).get("/download")
        except TRUNCATED as cut:
            if isinstance(cut, Cut | Reset):
                assert cut.got in (b"", b"hello")
        else:
            assert answer.status == 502
            assert site.edge.cause(answer.request_id).startswith("origin_")


def test_cut_answer_is_recorded_with_its_cause(site: Site) -> None:
    go = threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "100")])
        exchange.send(b"hello")
        go.wait(5.0)
        exchange.close()

    site.origin.script = script
    client = site.h1()
    client.start("GET", "/")
    pieces = client.body_of(client.head())
    assert next(pieces) == b"hello"
    go.set()
    with pytest.raises(TRUNCATED):
        list(pieces)
    assert site.edge.cause(site.origin.last.value("cf-ray") or "") == "origin_reset_mid_body"


def test_origin_may_answer_before_it_reads_the_body(site: Site, version: str) -> None:
    def script(exchange: Exchange) -> None:
        exchange.head(200, [("Transfer-Encoding", "chunked")])
        exchange.chunk(b"early")
        for piece in exchange.pieces():
            exchange.chunk(piece.upper())
        exchange.last_chunk()

    site.origin.script = script
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("POST", "/", [("Transfer-Encoding", "chunked")])
        assert client.head().status == 200
        pieces = client.wire.chunks()
        assert next(pieces) == b"early"
        client.send_chunk(b"later")
        assert next(pieces) == b"LATER"
        client.end_chunks()
        assert b"".join(pieces) == b""
    else:
        number = client.start("POST", "/", end=False)
        assert client.head(number).status == 200
        read = client.stream_bytes(number)
        assert read() == b"early"
        client.data(number, b"later")
        assert read() == b"LATER"
        client.data(number, b"", end=True)
        assert client.answer(number).status == 200


def test_origin_that_answers_and_stops_reading_is_heard(site: Site, version: str) -> None:
    """It answers 413 after the head and closes; the client is still sending."""

    def script(exchange: Exchange) -> None:
        exchange.head(413, [("Content-Length", "3"), ("Connection", "close")], "Too Large")
        exchange.send(b"big")
        exchange.close()

    site.origin.script = script
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("POST", "/", [("Content-Length", "50000000")])
        sender = threading.Thread(target=send_until_stopped, args=(client,))
        sender.start()
        answer = client.answer("POST")
        with suppress(OSError):
            client.sock.shutdown(socket.SHUT_RDWR)
        sender.join(10.0)
        assert not sender.is_alive()
    else:
        number = client.start("POST", "/", [("content-length", "50000000")], end=False)
        try:
            for _ in range(100):
                if client.streams[number].ended:
                    break
                client.data(number, b"x" * 65536)
        except Reset:
            pass
        client.until(lambda: client.streams[number].answer, "the answer")
        stream = client.streams[number]
        assert stream.answer is not None
        client.until(lambda: stream.ended or stream.reset is not None, "the end")
        answer = stream.answer
        answer.body = bytes(stream.body)
        assert stream.reset in (None, 0), "anything but NO_ERROR says that the answer is not whole"
    assert answer.status == 413
    assert answer.body == b"big"


def send_until_stopped(client: Http1Client) -> None:
    try:
        for _ in range(800):
            client.send(b"x" * 65536)
    except OSError:
        pass


# ------------------------------------------------------------------------------------- tunnels that go away
async def drop_connection(stream: QuicStream | Http2Stream) -> None:
    """A connector that dies with the request's head in its hands."""
    if isinstance(stream, QuicStream):
        stream.protocol.close()
    else:
        writer = stream.connector._writer
        assert writer is not None
        writer.transport.abort()


@pytest.fixture(params=["quic", "http2"])
def protocol(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_idempotent_request_moves_to_another_connection(fakes: Fakes, protocol: str) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.connector(protocol, tunnel, handler=drop_connection)  # type: ignore[arg-type]
    with fakes.edge.h1(hostname) as client:
        alone = client.get("/alone")
        assert alone.status == 502
        assert fakes.edge.cause(alone.request_id) == "connection_lost"
    dying = fakes.connector(protocol, tunnel, handler=drop_connection)  # type: ignore[arg-type]
    good = fakes.connector(protocol, tunnel, index=1)  # type: ignore[arg-type]
    for attempt in range(20):
        with fakes.edge.h1(hostname) as client:
            assert client.get(f"/{attempt}").status == 200
        if dying.data_streams:
            break
    assert dying.data_streams, "the request never went to the dying connection"
    assert good.data_streams


def test_request_that_may_not_be_repeated_is_502_connection_lost(fakes: Fakes, protocol: str) -> None:
    tunnel, hostname = fakes.tunnel()
    dying = [fakes.connector(protocol, tunnel, handler=drop_connection, index=i) for i in range(2)]  # type: ignore[arg-type]
    with fakes.edge.h1(hostname) as client:
        answer = client.request("POST", "/order", body=b"one beer")
    assert answer.status == 502
    assert fakes.edge.cause(answer.request_id) == "connection_lost"
    assert sum(len(connector.data_streams) for connector in dying) == 1


def test_connection_lost_mid_answer_resets_the_client(fakes: Fakes, protocol: str, version: str) -> None:
    async def handler(stream: QuicStream | Http2Stream) -> None:
        if isinstance(stream, QuicStream):
            stream.respond(200, [("Content-Length", "100")])
            stream.write(b"hello")
        else:
            stream.head(200, [("cf-cloudflared-response-meta", '{"src":"origin"}'), ("content-length", "100")])
            stream.write(b"hello")
        await go.wait()
        await drop_connection(stream)

    import asyncio

    go = asyncio.Event()
    tunnel, hostname = fakes.tunnel()
    connector = fakes.connector(protocol, tunnel, handler=handler)  # type: ignore[arg-type]
    client = fakes.edge.h1(hostname) if version == "h1" else fakes.edge.h2(hostname)
    with client:
        if isinstance(client, Http1Client):
            client.start("GET", "/")
            head = client.head()
            connector._thread.loop.call_soon_threadsafe(go.set)
            with pytest.raises(TRUNCATED):
                list(client.body_of(head))
        else:
            number = client.start("GET", "/")
            client.head(number)
            connector._thread.loop.call_soon_threadsafe(go.set)
            with pytest.raises(TRUNCATED):
                client.answer(number)


def test_known_tunnel_without_connection_is_530_at_once(fakes: Fakes, version: str) -> None:
    _, hostname = fakes.tunnel()
    client = fakes.edge.h1(hostname) if version == "h1" else fakes.edge.h2(hostname)
    with client:
        start = time.monotonic()
        answer = client.get()
        assert time.monotonic() - start < SOON_S
    assert answer.status == 530
    assert "1033" in answer.text
    assert answer.request_id in answer.text
    assert fakes.edge.cause(answer.request_id) == "no_connection"


def test_unknown_hostname_is_the_edges_own_404(edge: Edge) -> None:
    with edge.plain("nobody.example.test") as client:
        answer = client.get()
    assert answer.status == 404
    assert answer.value("x-qanat-error") == "unknown_hostname"


# ------------------------------------------------------------------------------------------- an edge of its own
@pytest.fixture
def own_edge(folder: Path) -> "Edge":
    return Edge(folder / "edge", limits_response_timeout_s="1")


def test_origin_that_never_answers_is_504(own_edge: Edge) -> None:
    api = own_edge.api
    try:
        tunnel = api.create_tunnel("slow")
        api.publish(api.create_zone("example.test"), "slow.example.test", tunnel.id)
        from tests.support.connectors import QuicConnector

        async def silent(stream: QuicStream) -> None:
            await stream.body()

        with QuicConnector(own_edge.tunnel, own_edge.ca_file, tunnel.token, handler=silent) as connector:
            with own_edge.h1("slow.example.test") as client:
                start = time.monotonic()
                answer = client.get()
                assert 0.8 < time.monotonic() - start < 9
            assert answer.status == 504
            assert own_edge.cause(answer.request_id) == "response_timeout"
            stream = connector.data_streams[0]
            wait_until(
                lambda: stream.stopped is not None or stream.reset is not None, "the abandoned stream to be reset"
            )
    finally:
        own_edge.stop()
