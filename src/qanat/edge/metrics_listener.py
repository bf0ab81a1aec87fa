"""`metrics.address`: a listener that answers GET /metrics and nothing else, without a token, for a private network."""

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from qanat.exposition import CONTENT_TYPE

TIMEOUT_S = 10.0


class MetricsListener:
    """Serves on a listening socket from `start` to `stop`."""

    def __init__(self, where: socket.socket, expose: Callable[[], str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = TIMEOUT_S
            server_version = "qanat"
            sys_version = ""

            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(404)
                    return
                body = expose().encode()
                self.send_response(200)
                self.send_header("content-type", CONTENT_TYPE)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Scrapes are no news."""

        self._server = ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = where
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="qanat-metrics", daemon=True)

    @property
    def url(self) -> str:
        """Where to scrape."""
        host, port = self._server.socket.getsockname()[:2]
        return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Closes the socket."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
