import os
import socket
import threading

import httpx
import pytest
from fastapi import FastAPI

from qanat.edge.server import NICE, ApiServer, Server
from tests.support.loopback import needs_ipv6
from tests.support.waiting import PATIENCE_S, wait_until


def test_the_apis_threads_come_after_the_engines_and_nobody_elses_do() -> None:
    if os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) >= NICE:
        pytest.skip("the tests themselves run with a low priority")
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    app = FastAPI()
    seen: list[int] = []

    @app.get("/client/v4/priority")
    def priority() -> int:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return seen[0]

    server = ApiServer(app, "127.0.0.1:0")
    server.start()
    try:
        httpx.get(f"{server.url}/priority", trust_env=False, verify=False)
    finally:
        server.stop()
    assert seen == [NICE]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


@needs_ipv6
def test_it_serves_on_the_ipv6_loopback() -> None:
    app = FastAPI()

    @app.get("/client/v4/here")
    def here() -> str:
        return "here"

    server = ApiServer(app, "[::1]:0")
    server.start()
    try:
        assert server.url.startswith("http://[::1]:")
        assert httpx.get(f"{server.url}/here", trust_env=False, verify=False).json() == "here"
    finally:
        server.stop()


def test_who_has_just_connected_when_it_stops_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection taken a moment ago has its first request on the way: closed on that, it would be reset."""
    monkeypatch.setattr("qanat.edge.patience.LAST_S", PATIENCE_S)
    app = FastAPI()

    @app.get("/client/v4/here")
    def here() -> str:
        return "here"

    server = ApiServer(app, "127.0.0.1:0")
    server.start()
    host, _, port = server.url.split("/")[2].rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as client:
        wait_until(lambda: server._crowd._open, "it to be taken")
        stopping = threading.Thread(target=server.stop, kwargs={"timeout_s": PATIENCE_S})
        stopping.start()
        wait_until(lambda: server._crowd.is_leaving, "the server to stop")
        client.sendall(b"GET /client/v4/here HTTP/1.1\r\nHost: here\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
        stopping.join(PATIENCE_S)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer.lower()
    assert answer.endswith(b'"here"')


def test_who_serves_nobody_sleeps_until_it_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qanat.edge.server.TICK_S", 10 * PATIENCE_S)
    looks: list[int] = []
    looked = Server.on_tick

    async def look(self: Server, counter: int) -> bool:
        if self is server._server:  # another test's may be ending
            looks.append(counter)
        return await looked(self, counter)

    monkeypatch.setattr(Server, "on_tick", look)
    app = FastAPI()
    app.get("/client/v4/here")(lambda: "here")
    server = ApiServer(app, "127.0.0.1:0")
    server.start()
    try:
        answer = httpx.get(f"{server.url}/here", trust_env=False, verify=False)
        assert (answer.json(), "date" in answer.headers) == ("here", True)
        assert looks == [0]
    finally:
        server.stop(timeout_s=PATIENCE_S)
    assert not server._thread.is_alive()
    assert looks == [0, 0]
