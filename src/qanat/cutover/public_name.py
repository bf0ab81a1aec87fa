"""Requests to a hostname as any visitor makes them: by its public name, over TLS. What is asked where no edge can be."""

import http.client
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from qanat.cutover.answers import Answer
from qanat.cutover.gates import CertificateSeen
from qanat.cutover.plan import Check
from qanat.deadline import Deadline
from qanat.errors import QanatError

BODY_BYTES = 64 * 1024


class PublicName:
    """`connect_to`: HOST:PORT that is dialled for every name, instead of what DNS says; `ca_file`: PEM of authorities that are
    trusted instead of the system's."""

    def __init__(self, *, connect_to: str | None = None, ca_file: Path | None = None) -> None:
        self._connect_to = _place(connect_to) if connect_to is not None else None
        try:
            self._context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
        except OSError as error:
            raise QanatError("ca_file_invalid", f"{ca_file}: {error}", where="--cacert") from error

    def ask(self, hostname: str, check: Check, *, timeout_s: float) -> Answer:
        """One GET on a connection of its own."""
        began = monotonic()
        try:
            with Deadline(timeout_s, hostname) as deadline, self._connected(hostname, timeout_s, deadline) as sock:
                connection = http.client.HTTPSConnection(hostname, timeout=timeout_s)
                connection.sock = sock
                connection.request("GET", check.path, headers={"user-agent": "qanat-probe", "accept": "*/*"})
                with connection.getresponse() as answer:
                    body = answer.read(BODY_BYTES)
                headers = {name.lower(): value for name, value in answer.getheaders()}
                duration_s = monotonic() - began
                return Answer(status=answer.status, headers=headers, body=body, duration_s=duration_s)
        except (OSError, http.client.HTTPException, ValueError) as error:
            detail = str(error) or type(error).__name__
            return Answer(status=0, cause="unreachable", detail=detail, duration_s=monotonic() - began)

    def certificate(self, hostname: str, *, timeout_s: float) -> CertificateSeen:
        """What is shown for the name; `why` when it isn't trusted."""
        try:
            with Deadline(timeout_s, hostname) as deadline, self._connected(hostname, timeout_s, deadline) as sock:
                shown = sock.getpeercert() or {}
        except (OSError, ValueError) as error:
            return CertificateSeen(names=[], not_after=None, why=str(error))
        names = [each[1] for each in shown.get("subjectAltName", ()) if each[0] == "DNS"]
        end = shown.get("notAfter")
        not_after = datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if isinstance(end, str) else None
        return CertificateSeen(names=[str(name) for name in names], not_after=not_after)

    def resolve(self, hostname: str) -> Sequence[str]:
        """What the system's resolver answers; nothing when it doesn't."""
        try:
            found = socket.getaddrinfo(hostname, 443, proto=socket.IPPROTO_TCP)
        except OSError:
            return []
        return sorted({str(each[4][0]) for each in found})

    def _connected(self, hostname: str, timeout_s: float, deadline: Deadline) -> ssl.SSLSocket:
        sock = deadline.dial(self._connect_to or (hostname, 443), timeout=timeout_s)
        try:
            return self._context.wrap_socket(sock, server_hostname=hostname)
        except BaseException:
            sock.close()
            raise


def _place(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise QanatError("usage", f"{text!r} is not HOST:PORT", where="--connect-to")
    return host.strip("[]"), int(port)
