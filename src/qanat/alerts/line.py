"""A line to where a message goes: dialled as the guard allows, over TLS as its receiver wants, and at an end when its time is."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic

from qanat.alerts.guard import Guard, Resolve
from qanat.deadline import Deadline, LateError
from qanat.errors import QanatError

ANSWER_S = 10.0


class Line:
    """An open one. `connection`: as it is now; who puts TLS on it says so."""

    def __init__(self, host: str, connection: socket.socket, tls: ssl.SSLContext) -> None:
        self.host = host
        self.connection = connection
        self._tls = tls

    def secure(self, name: str) -> None:
        """TLS with whoever has a good certificate for that name."""
        self.connection = self._tls.wrap_socket(self.connection, server_hostname=name)

    def trouble(self, what: str) -> QanatError:
        """`alert_unreachable`: what went wrong."""
        return _trouble(self.host, what)


@dataclass(frozen=True, slots=True)
class Way:
    """`guard`: where to; `tls`: whom to trust; `resolve`: in place of the system's resolver."""

    guard: Guard
    tls: ssl.SSLContext
    resolve: Resolve | None = None

    @contextmanager
    def line(self, host: str, port: int) -> Iterator[Line]:
        """For ANSWER_S at most, dialling included.

        Raises:
            QanatError: `alert_address_denied`, `alert_unreachable`.
        """
        ends_at = monotonic() + ANSWER_S
        try:
            with Deadline(ANSWER_S, host) as deadline:
                line = Line(host, self.guard.dial(host, port, ends_at=ends_at, resolve=self.resolve), self.tls)
                line.connection.settimeout(None)  # the deadline is of all that follows
                deadline.watch(line.connection)
                try:
                    yield line
                finally:
                    with suppress(OSError):
                        line.connection.close()
        except LateError:
            raise _trouble(host, f"no answer within {ANSWER_S:.0f} s") from None
        except ssl.SSLCertVerificationError as error:
            raise _trouble(host, f"its certificate is not trusted: {error.verify_message}") from None
        except OSError as error:
            raise _trouble(host, error.strerror or "the connection ended") from None


def _trouble(host: str, what: str) -> QanatError:
    return QanatError("alert_unreachable", f"{host}: {what}", where=host)
