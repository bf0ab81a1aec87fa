"""A message as an e-mail, by somebody's SMTP server."""

import smtplib
import socket
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from qanat.alerts.line import Line, Way
from qanat.errors import QanatError, RetryLaterError, escape_text


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


class _Secured:
    """What the library takes for a context: the line's own TLS."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def wrap_socket(self, _connection: socket.socket, *, server_hostname: str) -> socket.socket:
        self._line.secure(server_hostname)
        return self._line.connection


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
    document: Mapping[str, Any], password: str, event_id: str, message: Mapping[str, Any], *, at: datetime, way: Way
) -> None:
    """Sends once, within ANSWER_S. The password goes only over TLS whose certificate is good.

    Raises:
        QanatError: `alert_address_denied`, `alert_unreachable`, `alert_refused`.
        RetryLaterError: `alert_unreachable`: the server says that it is for now.
    """
    mail = written(document, event_id, message, at=at)
    host, port, security = str(document["host"]), int(document["port"]), document["security"]
    with way.line(host, port) as line:
        if security == "tls":
            line.secure(host)
        try:
            with _Guarded(line.connection, host) as client:
                if security == "starttls":
                    client.starttls(context=_Secured(line))  # type: ignore[call-overload]
                if document["username"]:
                    client.login(document["username"], password)
                refused = client.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            raise _refused(host, *next(iter(error.recipients.values()))) from None
        except smtplib.SMTPResponseException as error:
            raise _refused(host, error.smtp_code, error.smtp_error) from None
        except smtplib.SMTPNotSupportedError as error:
            raise line.trouble(str(error)) from None
    if refused:
        named = ", ".join(sorted(refused))
        raise QanatError("alert_refused", f"{host} took it, but not for {named}", where=host)


def _refused(host: str, code: int, said: bytes | str) -> QanatError:
    text = " ".join((said.decode("utf-8", "replace") if isinstance(said, bytes) else said).split())[:200]
    told = f"{host} answered {code}: {text}"
    if 400 <= code < 500:
        return RetryLaterError("alert_unreachable", told, retry_after_s=0.0)
    return QanatError("alert_refused", told, where=host)
