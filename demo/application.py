"""The web application of the second demo, the same one on every host. It says and logs whose connector a request came by."""

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TAG = "Cf-Warp-Tag-Host"
"""`qanat tunnel run --tag host=NAME` puts it on every request: the hosts of this demo are one machine."""
SEQUENCE = "X-Sequence"
SERVED_BY = "X-Served-By"


@dataclass(frozen=True)
class Served:
    """One request of a visitor. `sequence`: the visitor's number of it."""

    host: str
    sequence: int
    ray: str
    at: float


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A connector that was killed leaves its connections behind: nothing to tell."""


class Application:
    """Serves on a free port of loopback. `status`: what every page is answered with, 200 unless it is broken."""

    def __init__(self, log: list[Served]) -> None:
        self.status = 200
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                host = self.headers.get(TAG, "nobody")
                if (sequence := self.headers.get(SEQUENCE)) is not None:
                    log.append(Served(host, int(sequence), self.headers.get("Cf-Ray", ""), time.monotonic()))
                body = f"{host} answers {self.path} with {application.status}\n".encode()
                self.send_response(application.status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.send_header(SERVED_BY, host)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, name="application", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
