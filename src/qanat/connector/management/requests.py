"""One request for the management: who asks, what for, and the answer. Paths and failures as stock's (connector.md §5)."""

import socket
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import msgspec

from qanat.connector.endpoints import LARGEST_HEAD, REQUEST_TIMEOUT_S, Answer, encode_answer, text
from qanat.connector.management import logs
from qanat.connector.management.claims import Claims, NotAllowedError, read_claims
from qanat.connector.management.service import Facts
from qanat.connector.management.viewers import Viewers

DASHBOARDS = ".cloudflare.com"
"""Pages under this domain may read answers and follow logs, as with stock: the hosted edge's dashboard does. An edge of ours
has no page that asks a connector."""


def serve(connection: socket.socket, facts: Facts, viewers: Viewers, clock: Callable[[], float] = time.time) -> None:
    """Reads a request's head, and answers it; a viewer of logs stays until one of both leaves."""
    connection.settimeout(REQUEST_TIMEOUT_S)
    try:
        read = _read_head(connection)
        if read is None:
            return
        request = Request(read[0])
        answer = request.answer(facts, clock())
        if isinstance(answer, Answer):
            connection.sendall(encode_answer(answer, request.method == "HEAD", request.cors))
        else:
            logs.follow(connection, b"".join(read), viewers, request.token)
    except OSError:
        pass  # who asked has left


class Request:
    """A request's head, read."""

    def __init__(self, head: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.method, _, rest = lines[0].partition(" ")
        target = urlsplit(rest.partition(" ")[0])
        self.path = target.path
        self.token = parse_qs(target.query).get("access_token", [""])[0]
        fields = (line.partition(":") for line in lines[1:])
        self.origin = next((value.strip() for name, _, value in fields if name.lower() == "origin"), "")

    @property
    def is_of_dashboard(self) -> bool:
        origin = urlsplit(self.origin)
        return origin.scheme == "https" and (origin.hostname or "").endswith(DASHBOARDS)

    @property
    def cors(self) -> dict[str, str]:
        """Fields by which a dashboard's page may read the answer."""
        if not self.is_of_dashboard or self.path == "/logs":
            return {}
        return {
            "Access-Control-Allow-Origin": self.origin,
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
        }

    def answer(self, facts: Facts, now: float) -> Answer | Claims:
        """The answer; for a viewer of logs, who it is."""
        try:
            claims = read_claims(
                self.token, tunnel_id=facts.tunnel_id, account_tag=facts.account_tag, path=self.path, now=now
            )
        except NotAllowedError as error:
            return _failure(error.status, error.code, str(error))
        if self.path == "/ping":
            return self._of_reads(lambda: text(""), "GET", "HEAD")
        if self.path == "/logs" and self.method == "GET":
            if self.origin and not self.is_of_dashboard:
                return text("pages of this origin may not follow logs\n", 403)
            return claims
        if self.path == "/host_details":
            return self._of_reads(lambda: host_details(facts), "GET")
        if self.path == "/qanat/role" and facts.role is not None:
            return self._of_reads(facts.role, "GET")
        endpoint = facts.diagnostics.get(self.path)
        return self._of_reads(endpoint, "GET") if endpoint else text("404 page not found\n", 404)

    def _of_reads(self, endpoint: Callable[[], Answer], *methods: str) -> Answer:
        if self.method not in methods:
            return text("", 405)
        return endpoint()


def host_details(facts: Facts) -> Answer:
    """The connector, an address of this host, and its name."""
    details = {"connector_id": facts.connector_id}
    address = own_address(facts.service_op_ip)
    if address:
        details["ip"] = address
    details["hostname"] = f"custom:{facts.label}" if facts.label else socket.gethostname() or "unknown"
    return Answer(200, "application/json", msgspec.json.encode(details) + b"\n")


def own_address(service: str) -> str | None:
    """The address that this host would speak to `host:port` from. Nothing is sent: a UDP socket has a way before it has a use."""
    host, _, port = service.rpartition(":")
    try:
        places = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        family, kind, _, _, place = places[0]
        with socket.socket(family, kind) as probe:
            probe.connect(place)
            return str(probe.getsockname()[0])
    except (OSError, ValueError, IndexError):
        return None


def _failure(status: int, code: int, message: str) -> Answer:
    return Answer(status, "application/json", msgspec.json.encode({"errors": [{"code": code, "message": message}]}))


def _read_head(connection: socket.socket) -> tuple[bytes, bytes, bytes] | None:
    """A head, the line that ends it, and what came behind it; None when there is none."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(4096)
        if not part:
            return None
        received += part
        if len(received) > LARGEST_HEAD:
            connection.sendall(encode_answer(text("the request's head is too large\n", 431), False))
            return None
    return received.partition(b"\r\n\r\n")
