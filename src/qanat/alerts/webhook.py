"""A message as an HTTP POST, signed as Standard Webhooks has it (https://www.standardwebhooks.com): `webhook-id`,
`webhook-timestamp`, and `webhook-signature: v1,` with the base64 HMAC-SHA256 of `id.timestamp.body`."""

import base64
import hmac
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from threading import Timer
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from qanat import __version__
from qanat.alerts.guard import Guard, Resolve
from qanat.errors import QanatError, RetryLaterError

ANSWER_S = 10.0
MOST_BYTES = 2048
MOST_WAIT_S = 3600.0
AGAIN = frozenset((408, 425, 429))


def signature(key: bytes, event_id: str, timestamp: int, body: bytes) -> str:
    """The header's value."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def send(
    url: str,
    key: bytes,
    event_id: str,
    message: Mapping[str, Any],
    *,
    at: int,
    guard: Guard,
    tls: ssl.SSLContext,
    resolve: Resolve | None = None,
) -> None:
    """Sends once, within ANSWER_S; no redirect is followed, and of the answer little is read. `at`: Unix seconds.

    Raises:
        QanatError: `alert_address_denied`, `alert_unreachable`; `alert_refused`: the receiver will not have it.
        RetryLaterError: `alert_unreachable`, and when to try again.
    """
    parts = urlsplit(url)
    host, is_plain = parts.hostname or "", parts.scheme == "http"
    port = parts.port or (80 if is_plain else 443)
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    ends_at = monotonic() + ANSWER_S
    connection = guard.dial(host, port, ends_at=ends_at, resolve=resolve)
    # A timeout of the socket is of each read: one who sends a byte a second would hold us for ever.
    watch = Timer(max(0.0, ends_at - monotonic()), _cut, (connection,))
    watch.daemon = True
    watch.start()
    try:
        if is_plain:
            _check_listed(guard, connection, host)
        else:
            connection = tls.wrap_socket(connection, server_hostname=host.rstrip("."))
            watch.args = (connection,)
        client = http.client.HTTPConnection(host, port)
        client.sock = connection
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"qanat/{__version__}",
            "webhook-id": event_id,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(key, event_id, at, body),
            "Connection": "close",
        }
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        client.request("POST", path, body=body, headers=headers)
        answer = client.getresponse()
        said = answer.read(MOST_BYTES)
    except ssl.SSLCertVerificationError as error:
        raise QanatError(
            "alert_unreachable", f"{host}: its certificate is not trusted: {error.verify_message}", where=host
        ) from None
    except (OSError, http.client.HTTPException) as error:
        late = monotonic() >= ends_at - 0.05
        what = f"no answer within {ANSWER_S:.0f} s" if late else _told(error)
        raise QanatError("alert_unreachable", f"{host}: {what}", where=host) from None
    finally:
        watch.cancel()
        with suppress(OSError):
            connection.close()
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


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "the connection ended"
    return f"no good HTTP answer ({type(error).__name__})"
