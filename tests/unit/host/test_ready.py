"""Where a process listens, and what it answers there."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from qanat.host.service.ready import Ready, ask, listeners

pytestmark = pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs Linux's /proc")


@contextmanager
def answering(body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_one_listener_that_answers_as_a_connector_is_found() -> None:
    with (
        answering(b"not JSON") as other,
        answering(json.dumps({"readyConnections": 0, "connectorId": "c"}).encode()) as port,
    ):
        assert {("127.0.0.1", port), ("127.0.0.1", other)} <= set(listeners(os.getpid()))
        assert ask(os.getpid()) == Ready(0, "c", f"127.0.0.1:{port}")
        assert ("127.0.0.1", port) not in listeners(os.getppid())


def test_a_process_that_is_gone_answers_nothing() -> None:
    assert ask(None) is None
    assert ask(2**22 + 1) is None
