"""The connector's local HTTP endpoints: /ready, /healthcheck, /metrics, /config, /quicktunnel (connector.md §5).

A small server of its own on `socketserver`: http.server and what it imports would cost more memory than the whole rest
of this package (docs/explanation/connector). It answers GET and HEAD, one request a connection, and trusts no Host that
a page in somebody's browser could have been rebound to (security.md, S36).
"""

import re
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping

from msgspec import Struct

from qanat.errors import QanatError

KNOWN_PORTS = (20241, 20242, 20243, 20244, 20245)
"""Tried in order when --metrics isn't given, then a random one."""

LARGEST_HEAD = 16 * 1024
REQUEST_TIMEOUT_S = 5.0
MOST_REQUESTS = 32

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]*)(?::\d{1,5})?", re.ASCII)
_ADDRESS = re.compile(r"\[[0-9a-fA-F:.]+\]|\d{1,3}(?:\.\d{1,3}){3}", re.ASCII)


class Answer(Struct, frozen=True):
    """What one endpoint answers."""

    status: int
    content_type: str
    body: bytes


Endpoints = Mapping[str, Callable[[], Answer]]

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def text(body: str, status: int = 200) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", body.encode())


def json(body: bytes, status: int = 200) -> Answer:
    return Answer(status, "application/json", body)


class LocalServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens from its making; serves once started. `address` is `host:port`."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, listener: socket.socket, endpoints: Endpoints, named_host: str) -> None:
        super().__init__(listener.getsockname(), _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.endpoints = endpoints
        self.named_host = named_host
        self.slots = threading.BoundedSemaphore(MOST_REQUESTS)

    @property
    def address(self) -> str:
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self) -> None:
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 3600.0}, name="endpoints", daemon=True
        ).start()

    def stop(self) -> None:
        """Closes the listener at once; answers under way end with the process."""
        self.socket.close()

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if self.slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nobody's error; an endpoint's own are answered 500."""

    def answer(self, head: bytes) -> tuple[Answer, bool]:
        """The answer to a request's head, and whether its body is left out."""
        lines = head.split(b"\r\n")
        parts = lines[0].split(b" ")
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
            return text("not an HTTP/1 request\n", 400), False
        method, target = parts[0], parts[1].partition(b"?")[0]
        hosts = [line.partition(b":")[2].strip() for line in lines[1:] if line.lower().startswith(b"host:")]
        if len(hosts) > 1 or (hosts and not self._accepts(hosts[0].decode("latin-1"))):
            return text("this server is reached by address, localhost or its own name only\n", 421), method == b"HEAD"
        if method not in (b"GET", b"HEAD"):
            return text("only GET and HEAD\n", 405), False
        endpoint = self.endpoints.get(target.decode("latin-1"))
        if endpoint is None:
            return text("404 page not found\n", 404), method == b"HEAD"
        try:
            return endpoint(), method == b"HEAD"
        except Exception as error:  # noqa: BLE001 - one endpoint's fault is one 500, told without its secrets
            return text(f"ERR: {type(error).__name__}\n", 500), method == b"HEAD"

    def _accepts(self, host: str) -> bool:
        """An address, localhost, the host of --metrics, this machine's name, or a name without dots (a container's):
        names that no public DNS can point here."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].lower().removesuffix(".")
        if _ADDRESS.fullmatch(name) or "." not in name:
            return True
        return name in (self.named_host.lower(), socket.gethostname().lower())


class _Request(socketserver.BaseRequestHandler):
    server: LocalServer

    def handle(self) -> None:
        connection: socket.socket = self.request
        connection.settimeout(REQUEST_TIMEOUT_S)
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(4096)
            if not part:
                return
            head += part
            if len(head) > LARGEST_HEAD:
                connection.sendall(_encode(text("the request's head is too large\n", 431), False))
                return
        answer, without_body = self.server.answer(head.partition(b"\r\n\r\n")[0])
        connection.sendall(_encode(answer, without_body))


def _encode(answer: Answer, without_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
        "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if without_body else answer.body)


def listen(address: str | None, endpoints: Endpoints) -> LocalServer:
    """Binds the listener; nothing is answered until `start`.

    Args:
        address: `host:port` of --metrics, or None for the known ports, then a random one, on loopback.

    Raises:
        QanatError: `metrics_address`, which names the flag.
    """
    if address is None:
        for port in (*KNOWN_PORTS, 0):
            try:
                return LocalServer(_bind("127.0.0.1", port), endpoints, "localhost")
            except OSError:
                continue
        raise QanatError("metrics_address", "no port is free on 127.0.0.1", where="--metrics")
    host, colon, port_text = address.rpartition(":")
    if not colon or not port_text.isdigit() or int(port_text) > 65535:
        raise QanatError(
            "metrics_address", f"'{address[:80]}' is not host:port", where="--metrics", hint="write 127.0.0.1:2000"
        )
    name = host.removeprefix("[").removesuffix("]")
    try:
        return LocalServer(_bind(name or "0.0.0.0", int(port_text)), endpoints, name)
    except OSError as error:
        raise QanatError(
            "metrics_address",
            f"can't listen on {address[:80]}: {error.strerror or error}",
            where="--metrics",
            hint="give another port, or leave the flag out",
        ) from None


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener
