"""The connector's local HTTP endpoints: /ready, /healthcheck, /metrics, /config, /quicktunnel, /diag/* (connector.md §5).

A small server of its own on `socketserver`: http.server and what it imports would cost more memory than the whole rest
of this package (docs/explanation/connector). It answers any method, as stock's, one request a connection, and no browser
under a name that its page could have been rebound to (security.md, S36).
"""

import errno
import os
import re
import select
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from qanat.errors import QanatError

KNOWN_PORTS = (20241, 20242, 20243, 20244, 20245)
"""Tried in order when --metrics isn't given, then a random one."""
RUNTIME = "QANAT_RUNTIME"
"""`virtual` in a container's image: then these are of every address, as in stock's, since loopback is the container's own."""

LARGEST_HEAD = 16 * 1024
REQUEST_TIMEOUT_S = 5.0
MOST_REQUESTS = 32

LONGEST_DRAIN_S = 1.0
MOST_DRAINED = 64
"""Seconds without a byte, and pieces, of a body that nobody reads, so that closing doesn't cost the client its answer."""

_HAS_BODY = re.compile(rb"\r\n(?:content-length|transfer-encoding):", re.IGNORECASE)

_BROWSERS = re.compile(
    rb"(?:sec-[a-z-]+|origin|referer|cookie|accept-language|upgrade-insecure-requests)", re.IGNORECASE
)
"""Fields of which every browser sends some with every request, whatever the page wants: Accept-Language at least, which a page
can change and not remove. Prometheus, kubelet, curl and the clients of languages send none of them."""

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
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def text(body: str, status: int = 200) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", body.encode())


def profile(body: str) -> Answer:
    """Text, under the type that stock gives its profiles."""
    return Answer(200, "application/octet-stream", body.encode())


def json(body: bytes, status: int = 200) -> Answer:
    """JSON under the type that stock gives it."""
    return Answer(status, "text/plain; charset=utf-8", body)


class LocalServer:
    """Listens on one or two addresses from its making; answers once started. `address` is the first one's `host:port`."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        endpoints: Endpoints,
        named_host: str,
        is_own_hostname: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        self.endpoints = endpoints
        self.slots = threading.BoundedSemaphore(MOST_REQUESTS)
        self._named_host = named_host
        self._is_own_hostname = is_own_hostname
        self._listening = [_Listening(listener, self) for listener in listeners]

    @property
    def addresses(self) -> list[str]:
        return [each.address for each in self._listening]

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def listeners(self) -> list[socket.socket]:
        """What it listens on, for a process that shall go on listening there."""
        return [each.socket for each in self._listening]

    def start(self) -> None:
        for each in self._listening:
            each.thread.start()

    def stop(self) -> None:
        """Takes nothing new from here on, and closes the listeners: another process may have them as well. Answers under way
        end by themselves, or with the process."""
        for each in self._listening:
            each.stop()

    def answer(self, head: bytes) -> tuple[Answer, bool]:
        """The answer to a request's head, and whether its body is left out."""
        lines = head.split(b"\r\n")
        parts = lines[0].split(b" ")
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
            return text("not an HTTP/1 request\n", 400), False
        bodiless, target = parts[0] == b"HEAD", parts[1].partition(b"?")[0]
        fields = [(name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
        hosts = [value for name, value in fields if name.lower() == b"host"]
        if len(hosts) > 1:
            return text("the request has two hosts\n", 400), bodiless
        if hosts and not self._accepts(hosts[0].decode("latin-1"), fields):
            return text(_REBOUND, 421), bodiless
        if target == b"/debug/pprof/cmdline":
            return text("forbidden\n", 403), bodiless
        endpoint = self.endpoints.get(target.decode("latin-1"))
        if endpoint is None:
            return text("404 page not found\n", 404), bodiless
        try:
            return endpoint(), bodiless
        except Exception as error:  # noqa: BLE001 - one endpoint's fault is one 500, told without its secrets
            return text(f"ERR: {type(error).__name__}\n", 500), bodiless

    def _accepts(self, host: str, fields: list[tuple[bytes, bytes]]) -> bool:
        """Whether no page can have brought a browser here under `host`. Names that no public DNS can point to this server are
        everybody's: an address, localhost, the host of --metrics, this machine's name, a name without dots (a container's); so
        is a hostname whose rule leads here, which is the operator's own. Any other name is taken from who is no browser."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].lower().removesuffix(".")
        if _ADDRESS.fullmatch(name) or "." not in name:
            return True
        if name in (self._named_host.lower(), socket.gethostname().lower()) or self._is_own_hostname(name):
            return True
        return not any(_is_browsers(*field) for field in fields)


_REBOUND = (
    "a browser reaches this server by address, localhost or its own name only\n"
    "(behind a tunnel: set httpHostHeader: localhost in the rule)\n"
)


def _is_browsers(name: bytes, value: bytes) -> bool:
    return bool(_BROWSERS.fullmatch(name)) or (name.lower() == b"user-agent" and value.startswith(b"Mozilla/"))


class _Listening(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One listener of a server."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, listener: socket.socket, server: LocalServer) -> None:
        super().__init__(listener.getsockname(), _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server = server
        self.thread = threading.Thread(target=self._serve, name="endpoints", daemon=True)
        self._ended, self._end = os.pipe()
        # Where two processes have the listener, a connection that woke this one may be the other's by now.
        listener.setblocking(False)

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        poller.register(self._ended, select.POLLIN)
        while self._ended not in [ready for ready, _ in poller.poll()]:
            self._handle_request_noblock()  # type: ignore[attr-defined]  # what serve_forever calls

    def stop(self) -> None:
        os.write(self._end, b"\0")
        if self.thread.is_alive():
            self.thread.join()
        self.socket.close()
        os.close(self._end)
        os.close(self._ended)

    @property
    def address(self) -> str:
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if self.server.slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.server.slots.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nobody's error; an endpoint's own are answered 500."""


class _Request(socketserver.BaseRequestHandler):
    server: _Listening

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
                connection.sendall(encode_answer(text("the request's head is too large\n", 431), False))
                return
        answer, without_body = self.server.server.answer(head.partition(b"\r\n\r\n")[0])
        connection.sendall(encode_answer(answer, without_body))
        if _HAS_BODY.search(head):
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(LONGEST_DRAIN_S)
            for _ in range(MOST_DRAINED):
                if not connection.recv(65536):
                    return


def _date() -> str:
    """RFC 9110, 5.6.7, whatever the locale."""
    now = time.gmtime()
    return (
        f"{_DAYS[now.tm_wday]}, {now.tm_mday:02d} {_MONTHS[now.tm_mon - 1]} {now.tm_year} "
        f"{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d} GMT"
    )


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def encode_answer(answer: Answer, without_body: bool, fields: Mapping[str, str] | None = None) -> bytes:
    """The answer as HTTP/1.1, after which the connection ends. `fields`: more of them."""
    more = "".join(f"{name}: {value}\r\n" for name, value in (fields or {}).items())
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\nDate: {_date()}\r\n"
        f"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if without_body else answer.body)


def listen(
    address: str | None,
    endpoints: Endpoints,
    *,
    is_own_hostname: Callable[[str], bool] = lambda _name: False,
    place: str = "--metrics",
    inherited: Sequence[socket.socket] = (),
    is_virtual: bool = False,
) -> LocalServer:
    """Binds the listeners; nothing is answered until `start`. A name such as localhost is listened to on its IPv4 and its IPv6
    address, where both exist; no host at all is every address.

    Args:
        address: `host:port` of --metrics, or None for the known ports, then a random one, on loopback.
        is_own_hostname: whether a public hostname leads here by the connector's own rules.
        place: what set the address: flag, variable, or file and key.
        inherited: listeners for this very address that another process has handed over.
        is_virtual: without an address, every one of this host's is listened to.

    Raises:
        QanatError: `metrics_address`, which names the place.
    """
    if address is None:
        host = "0.0.0.0" if is_virtual else "127.0.0.1"
        if inherited:
            return LocalServer(inherited, endpoints, "localhost", is_own_hostname)
        for port in (*KNOWN_PORTS, 0):
            try:
                return LocalServer([_bind(_places(host, port)[0])], endpoints, "localhost", is_own_hostname)
            except OSError:
                continue
        raise QanatError("metrics_address", f"no port is free on {host}", where=place)
    host, colon, port_text = address.rpartition(":")
    if not colon or not (port_text or "0").isdigit() or int(port_text or 0) > 65535:
        raise QanatError(
            "metrics_address", f"'{address[:80]}' is not host:port", where=place, hint="write 127.0.0.1:2000"
        )
    name = host.removeprefix("[").removesuffix("]")
    try:
        listeners = inherited or _bind_all(name, int(port_text or 0))
    except OSError as error:
        raise QanatError(
            "metrics_address",
            f"can't listen on {address[:80]}: {error.strerror or error}",
            where=place,
            hint="give another port, or leave the flag out",
        ) from None
    return LocalServer(listeners, endpoints, name, is_own_hostname)


_Place = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


def _bind_all(name: str, port: int) -> list[socket.socket]:
    """A listener on each address of `name`, IPv4 first, as stock has that one alone. Only the first must be there: the other may
    be an address that this host's name has and the host has not."""
    if not name:
        try:
            return [_bind((socket.AF_INET6, ("::", port)))]
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return [_bind((socket.AF_INET, ("0.0.0.0", port)))]
    names = (
        ("127.0.0.1", "::1") if name.lower() == "localhost" else (name,)
    )  # whatever /etc/hosts leaves out (RFC 6761)
    found = sorted((p for n in names for p in _places(n, port)), key=lambda place: place[0] != socket.AF_INET)
    listeners: list[socket.socket] = []
    for family, place in found:
        if any(family == other.family for other in listeners):
            continue
        same_port = (place[0], listeners[0].getsockname()[1], *place[2:]) if listeners else place
        try:
            listeners.append(_bind((family, same_port)))
        except OSError:
            if not listeners:
                raise
    return listeners


def _places(name: str, port: int) -> list[_Place]:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, place) for family, _, _, _, place in found]


def _bind(place: _Place) -> socket.socket:
    family, address = place
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # `::` is every address; a name's other one has a listener of its own
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        listener.bind(address)
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener
