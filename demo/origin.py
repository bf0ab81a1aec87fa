"""The service that the demo puts on the Internet: one page with its own name, and a WebSocket that echoes."""

import http
import threading

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve


class Origin:
    """Serves on a free port of loopback until closed. `name` is in every answer, so that one sees who answered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._server: Server = serve(self._echo, "127.0.0.1", 0, process_request=self._page)
        self.port: int = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, name=f"origin-{name}", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()

    def _page(self, _connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        body = f"Hello from the {self.name} origin; you asked for {request.path}\n".encode()
        headers = Headers({"Content-Type": "text/plain", "Content-Length": str(len(body)), "Connection": "close"})
        return Response(http.HTTPStatus.OK, "OK", headers, body)

    def _echo(self, connection: ServerConnection) -> None:
        for message in connection:
            connection.send(f"{self.name} heard: {message!s}")
