"""A message as an e-mail, by somebody's SMTP server."""

import smtplib
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from threading import Timer
from time import monotonic
from typing import Any

from qanat.alerts.guard import Guard, Resolve
from qanat.errors import QanatError, RetryLaterError, escape_text

ANSWER_S = 10.0


class _Guarded(smtplib.SMTP):
    """Over a connection that was dialled already."""

    def __init__(self, connection: socket.socket, host: str) -> None:
        self._connection = connection
        super().__init__(local_hostname="localhost")
        self._host = host  # the name that STARTTLS asks the certificate for
        code, said = self.connect(host)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._connection


def written(document: Mapping[str, Any], event_id: str, message: Mapping[str, Any], *, at: datetime) -> EmailMessage:
    """The mail. What others chose (names, reasons) breaks no header: line ends are taken out, and the library refuses them."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = escape_text(" ".join(str(message["title"]).split()))[:200]
    mail["From"] = document["sender"]
    mail["To"] = ", ".join(document["recipients"])
    mail["Date"] = format_datetime(at)
    domain = str(document["sender"]).rpartition("@")[2]
    mail["Message-ID"] = f"<{event_id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(f"{message['body']}\n")
    return mail


def send(
    document: Mapping[str, Any],
    password: str,
    event_id: str,
    message: Mapping[str, Any],
    *,
    at: datetime,
    guard: Guard,
    tls: ssl.SSLContext,
    resolve: Resolve | None = None,
) -> None:
    """Sends once, within ANSWER_S. The password goes only over TLS whose certificate is good.

    Raises:
        QanatError: `alert_address_denied`, `alert_unreachable`, `alert_refused`.
        RetryLaterError: `alert_unreachable`: the server says that it is for now.
    """
    mail = written(document, event_id, message, at=at)
    host, port, security = str(document["host"]), int(document["port"]), document["security"]
    ends_at = monotonic() + ANSWER_S
    connection = guard.dial(host, port, ends_at=ends_at, resolve=resolve)
    watch = Timer(max(0.0, ends_at - monotonic()), _cut, (connection,))
    watch.daemon = True
    watch.start()
    try:
        if security == "tls":
            connection = tls.wrap_socket(connection, server_hostname=host)
            watch.args = (connection,)
        with _Guarded(connection, host) as client:
            if security == "starttls":
                client.starttls(context=tls)
                watch.args = (client.sock,)
            if document["username"]:
                client.login(document["username"], password)
            refused = client.send_message(mail)
    except ssl.SSLCertVerificationError as error:
        raise QanatError(
            "alert_unreachable", f"{host}: its certificate is not trusted: {error.verify_message}", where=host
        ) from None
    except smtplib.SMTPRecipientsRefused as error:
        raise _refused(host, *next(iter(error.recipients.values()))) from None
    except smtplib.SMTPResponseException as error:
        raise _refused(host, error.smtp_code, error.smtp_error) from None
    except (OSError, smtplib.SMTPException) as error:
        if monotonic() >= ends_at - 0.05:
            what = f"no answer within {ANSWER_S:.0f} s"
        elif isinstance(error, smtplib.SMTPNotSupportedError):
            what = str(error)
        else:
            what = error.strerror or "the connection ended"
        raise QanatError("alert_unreachable", f"{host}: {what}", where=host) from None
    finally:
        watch.cancel()
        with suppress(OSError):
            connection.close()
    if refused:
        named = ", ".join(sorted(refused))
        raise QanatError("alert_refused", f"{host} took it, but not for {named}", where=host)


def _refused(host: str, code: int, said: bytes | str) -> QanatError:
    text = " ".join((said.decode("utf-8", "replace") if isinstance(said, bytes) else said).split())[:200]
    told = f"{host} answered {code}: {text}"
    if 400 <= code < 500:
        return RetryLaterError("alert_unreachable", told, retry_after_s=0.0)
    return QanatError("alert_refused", told, where=host)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
