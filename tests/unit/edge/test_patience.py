"""The control API's listener against clients that hold connections, each with a second client that must be served."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from fastapi import FastAPI, Request

from qanat.edge import patience
from qanat.edge.server import ApiServer
from tests.support.waiting import wait_until

PATIENCE_S = 0.4


@pytest.fixture
def release() -> threading.Event:
    return threading.Event()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, release: threading.Event) -> Iterator[ApiServer]:
    for name in ("HEAD_S", "BODY_S", "ANSWER_STALL_S"):
        monkeypatch.setattr(patience, name, PATIENCE_S)
    app = FastAPI()

    @app.get("/")
    def hello() -> str:
        return "hello"

    @app.get("/slow")
    def slow() -> str:
        release.wait(20.0)
        return "slow"

    @app.get("/much")
    def much() -> str:
        return "x" * (64 << 20)

    @app.post("/")
    async def size(request: Request) -> int:
        return len(await request.body())

    running = ApiServer(app, "127.0.0.1:0", connections=40)
    running.start()
    yield running
    release.set()
    running.stop()


def dial(server: ApiServer, address: str = "127.0.0.1", *, receive_buffer: int | None = None) -> socket.socket:
    port = int(server.url.split(":")[2].split("/")[0])
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(10.0)
    sock.bind((address, 0))
    sock.connect(("127.0.0.1", port))
    return sock


def ask(server: ApiServer, address: str = "127.0.0.1") -> bytes:
    with closing(dial(server, address)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return read_all(sock)


def read_all(sock: socket.socket) -> bytes:
    got = b""
    try:
        while data := sock.recv(65536):
            got += data
    except ConnectionResetError:
        pass
    return got


@pytest.mark.requirement("S28")
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nX-A: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "half a second head"],
)
def test_what_does_not_come_in_time_ends_the_connection(server: ApiServer, sent: bytes) -> None:
    with closing(dial(server)) as sock:
        sock.sendall(sent)
        assert read_all(sock).count(b"200 OK") == (1 if sent.startswith(b"GET / HTTP/1.1\r\nHost") else 0)


def test_a_head_in_small_pieces_gets_no_more_time(server: ApiServer) -> None:
    stop = threading.Event()
    with closing(dial(server)) as sock:

        def drip() -> None:
            try:
                sock.sendall(b"GET / HTTP/1.1\r\nX: ")
                while not stop.wait(PATIENCE_S / 8):
                    sock.sendall(b"y")
            except OSError:
                pass

        thread = threading.Thread(target=drip)
        thread.start()
        assert read_all(sock) == b""
        stop.set()
        thread.join()


def test_an_answer_that_nobody_reads_ends_the_connection(server: ApiServer) -> None:
    with closing(dial(server, receive_buffer=4096)) as sock:
        sock.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        crowd = server._server.config.http.crowd  # type: ignore[union-attr]
        wait_until(lambda: crowd._open, "the connection is there")
        wait_until(lambda: not crowd._open, "it has ended")
        assert b"hello" in ask(server)


def test_an_answer_may_take_longer_than_its_request(server: ApiServer, release: threading.Event) -> None:
    with closing(dial(server)) as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        threading.Timer(PATIENCE_S * 3, release.set).start()
        assert b'"slow"' in read_all(sock)


@pytest.mark.parametrize("second", ["127.0.0.1", "127.0.0.2"])
def test_idle_connections_keep_nobody_out(server: ApiServer, monkeypatch: pytest.MonkeyPatch, second: str) -> None:
    monkeypatch.setattr(patience, "HEAD_S", 30.0)
    idle = [dial(server) for _ in range(60)]
    try:
        for _ in range(20):
            assert b"hello" in ask(server, second)
        crowd = server._server.config.http.crowd  # type: ignore[union-attr]
        wait_until(lambda: len(crowd._open) <= 30, "one address has three quarters at most")
    finally:
        for sock in idle:
            sock.close()
    wait_until(lambda: not crowd._open and not crowd._of and not crowd._waiting, "places come back")


def test_busy_connections_of_one_address_leave_places_to_others(server: ApiServer, release: threading.Event) -> None:
    busy = [dial(server) for _ in range(30)]
    try:
        for sock in busy:
            sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        crowd = server._server.config.http.crowd  # type: ignore[union-attr]
        wait_until(lambda: len(crowd._open) == 30 and not crowd._waiting, "all are busy")
        assert ask(server) == b"", "refused"
        with closing(dial(server, "127.0.0.2")) as other:
            other.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
            assert read_all(other).endswith(b"2")
        release.set()
    finally:
        for sock in busy:
            sock.close()


@pytest.mark.parametrize("end", ["leave", "stop"])
def test_who_has_a_request_under_way_at_the_end_is_told_that_the_connection_closes(
    server: ApiServer, release: threading.Event, end: str
) -> None:
    """Not told, a client would send its next request into the end, which resets it."""
    with closing(dial(server)) as slow:
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: not server._crowd._waiting and server._crowd._open, "the request")
        ending = threading.Thread(target=getattr(server, end))
        ending.start()
        wait_until(lambda: not any(each.cycle.keep_alive for each in server._crowd._open), "it to be told")
        assert end == "stop" or ask(server).endswith(b'"hello"'), "it serves on"
        release.set()
        assert b"\r\nconnection: close\r\n" in read_all(slow).lower()
        ending.join()


def test_a_request_that_is_there_unread_when_the_server_stops_is_answered(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection that has asked before. A busy machine's server may stop before it has read what came."""
    with closing(dial(server)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while b'"hello"' not in answer:
            answer += client.recv(65536)
        assert b"connection: close" not in answer.lower()
        reached, go_on = threading.Event(), threading.Event()
        shutdown = server._server.shutdown

        async def held(sockets: list[socket.socket] | None = None) -> None:
            reached.set()
            go_on.wait(20.0)
            await shutdown(sockets)

        monkeypatch.setattr(server._server, "shutdown", held)
        ending = threading.Thread(target=server.stop)
        ending.start()
        assert reached.wait(20.0)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        go_on.set()
        answer = read_all(client)
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert answer.endswith(b'"hello"')
        ending.join()
