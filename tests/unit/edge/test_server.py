import os
import threading

import httpx
import pytest
from fastapi import FastAPI

from qanat.edge.server import NICE, ApiServer
from tests.support.loopback import needs_ipv6


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
