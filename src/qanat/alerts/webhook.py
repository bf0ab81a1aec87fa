"""A message as an HTTP POST, signed as Standard Webhooks has it (https://www.standardwebhooks.com): `webhook-id`,
`webhook-timestamp`, and `webhook-signature: v1,` with the base64 HMAC-SHA256 of `id.timestamp.body`."""

import base64
import hmac
import http.client
import json
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from qanat import __version__
from qanat.alerts.guard import Guard
from qanat.alerts.line import Way
from qanat.errors import QanatError, RetryLaterError

MOST_BYTES = 2048
MOST_WAIT_S = 3600.0
AGAIN = frozenset((408, 425, 429))


def signature(key: bytes, event_id: str, timestamp: int, body: bytes) -> str:
    """The header's value."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def send(url: str, key: bytes, event_id: str, message: Mapping[str, Any], *, at: int, way: Way) -> None:
    """Sends once, within ANSWER_S; no redirect is followed, and of the answer little is read. `at`: Unix seconds.

    Raises:
        QanatError: `alert_address_denied`, `alert_unreachable`; `alert_refused`: the receiver will not have it.
        RetryLaterError: `alert_unreachable`, and when to try again.
    """
    parts = urlsplit(url)
    host, is_plain = parts.hostname or "", parts.scheme == "http"
    port = parts.port or (80 if is_plain else 443)
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"qanat/{__version__}",
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(key, event_id, at, body),
        "Connection": "close",
    }
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with way.line(host, port) as line:
        if is_plain:
            _check_listed(way.guard, line.connection, host)
        else:
            line.secure(host.rstrip("."))
        client = http.client.HTTPConnection(host, port)
        client.sock = line.connection
        try:
            client.request("POST", path, body=body, headers=headers)
            answer = client.getresponse()
            said = answer.read(MOST_BYTES)
        except http.client.HTTPException as error:
            if isinstance(error, OSError):  # the connection ended before an answer
                raise
            raise line.trouble(f"no good HTTP answer ({type(error).__name__})") from None
    _judge(host, answer.status, said, answer.getheader("retry-after", ""))


def _judge(host: str, status: int, said: bytes, retry_after: str) -> None:
    if 200 <= status < 300:
        return
    text = " ".join(said.decode("utf-8", "replace").split())[:200]
    told = f"{host} answered {status}" + (f": {text}" if text else "")
    if 300 <= status < 400:
        raise QanatError("alert_refused", f"{told}; redirects are not followed", where=host)
    if status < 500 and status not in AGAIN:
        raise QanatError("alert_refused", told, where=host)
    wait_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 8 else 0.0
    raise RetryLaterError("alert_unreachable", told, retry_after_s=min(wait_s, MOST_WAIT_S))


def _check_listed(guard: Guard, connection: socket.socket, host: str) -> None:
    """Without TLS only where the operator says so: anybody on the way could read it, and answer."""
    address = str(connection.getpeername()[0]).partition("%")[0]
    if not guard.is_listed(ip_address(address)):
        raise QanatError(
            "alert_address_denied",
            f"nothing is sent to {host} without TLS",
            where=host,
            hint="use https://, or let the operator list the network in alerts.networks",
        )
