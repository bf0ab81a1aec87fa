"""The running edge as cutovers ask it (cutover/edge.py): probes through nodes, what passes, holds, and what clients are shown."""

import socket
import ssl
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from qanat.cutover.answers import Answer
from qanat.cutover.gates import CertificateSeen
from qanat.cutover.plan import Check
from qanat.cutover.rule import Counts
from qanat.edge.engine import Edge
from qanat.edge.steering import Both
from qanat.errors import QanatError
from qanat.health.health import Health
from qanat.health.probing import Probes, Question

MOST_HELD = 10_000
RESOLVER_S = 2.0
HANDSHAKE_S = 3.0
COUNTED_EVERY_S = 0.2


class RunningCutoverEdge:
    """Safe for many threads."""

    def __init__(self, engine: Edge, steering: Both, probes: Probes, health: Health) -> None:
        self._engine = engine
        self._steering = steering
        self._probes = probes
        self._health = health

    def ask(self, *, tunnel_id: str, token_id: str | None, hostname: str, check: Check, timeout_s: float) -> Answer:
        """A probe, as the engine sends it: as a WebSocket where the target's rule leads to a service that isn't HTTP."""
        question = Question(
            tunnel_id=tunnel_id,
            token_id=token_id,
            hostname=hostname,
            path=check.path,
            timeout_s=timeout_s,
            is_websocket=self._health.services.of(tunnel_id, hostname, check.path).kind != "http",
        )
        try:
            answer = self._probes.ask(question)
        except QanatError as error:
            return Answer(status=0, cause=error.code, detail=error.message)
        return Answer(
            status=answer.status,
            headers={name.lower(): value for name, value in answer.headers},
            body=answer.body,
            duration_s=answer.duration_s,
            cause=answer.cause,
            detail=answer.detail or answer.cause,
        )

    def illness(self, *, tunnel_id: str, token_id: str | None, hostname: str) -> str:
        """By the probes that are sent anyway, and by what requests meet."""
        node = self._health.of(tunnel_id, token_id, hostname)
        return node.why if node.state == "unhealthy" and node.connections else ""

    def usable(self, tunnel_id: str) -> int:
        """Registered and not draining. Those that are suspect count: most of them answer again, and probes tell of the others."""
        return self._health.of(tunnel_id).connections

    def counts(self, *, hostname: str, tunnel_id: str, since: datetime, long_s: float) -> Counts:
        """By the engine's totals."""
        rates = self._health.rates(hostname, tunnel_id, since, long_s=long_s, fresh_s=COUNTED_EVERY_S)
        return Counts(
            requests=rates.requests,
            failed=rates.failed,
            p95_s=rates.p95_s,
            begun=rates.begun,
            hanging=rates.hanging,
            slow=rates.slow,
            long_s=long_s,
        )

    def note_counts(self) -> None:
        """In the engine's totals."""
        self._health.note_traffic()

    def hold(self, *, name: str, hostnames: Sequence[str], timeout_s: float) -> None:
        """In the engine."""
        self._steering.hold(name=name, hostnames=list(hostnames), tunnel_ids=[], timeout_s=timeout_s, most=MOST_HELD)

    def release(self, *, name: str) -> int:
        """How many waited."""
        return self._steering.release(name=name)

    def open_requests(self, tunnel_id: str) -> int:
        """Of all its nodes, WebSockets left out: they would never end."""
        return self._steering.open_requests(tunnel_id=tunnel_id) - self._steering.open_websockets(tunnel_id=tunnel_id)

    def cut_websockets(self, tunnel_id: str) -> int:
        """Of all its nodes."""
        return self._steering.cut(tunnel_id=tunnel_id, token_id=None, only_websockets=True)

    def certificate(self, hostname: str) -> CertificateSeen | None:
        """By a handshake with our own listener: what any client gets."""
        address = self._engine.addresses().https
        if address is None:
            return None
        host, _, port = address.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # what it is, not whether we trust it
        try:
            with (
                socket.create_connection((host, int(port)), timeout=HANDSHAKE_S) as plain,
                context.wrap_socket(plain, server_hostname=hostname) as shown,
            ):
                found = x509.load_der_x509_certificate(shown.getpeercert(binary_form=True) or b"")
        except (OSError, ValueError) as error:
            return CertificateSeen(names=[], not_after=None, why=f"the edge shows none: {error}")
        try:
            alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = alternatives.get_values_for_type(x509.DNSName)
        except x509.ExtensionNotFound:
            names = []
        return CertificateSeen(names=[name.lower() for name in names], not_after=found.not_valid_after_utc)

    def resolve(self, hostname: str) -> Sequence[str] | None:
        """By this machine's resolver, which is given two seconds."""
        import dns.exception
        import dns.resolver  # with all its transports, for the few cutovers that ask

        try:
            resolver = dns.resolver.Resolver()
            resolver.lifetime = RESOLVER_S
            return sorted(str(each) for each in resolver.resolve(hostname, "A"))
        except (dns.exception.DNSException, OSError):
            return []
