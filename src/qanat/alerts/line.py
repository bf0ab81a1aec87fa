"""A line to where a message goes: dialled as the guard allows, over TLS as its receiver wants, and at an end when its time is."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Timer
from time import monotonic

from qanat.alerts.guard import Guard, Resolve
from qanat.errors import QanatError

ANSWER_S = 10.0
LATE_S = 0.05
"""What ends so shortly before the end was late."""


class Line:
    """An open one. `connection`: as it is now; who puts TLS on it says so."""

    def __init__(self, host: str, connection: socket.socket, tls: ssl.SSLContext, ends_at: float) -> None:
        self.host = host
        self.connection = connection
        self._tls = tls
        self._ends_at = ends_at

    def secure(self, name: str) -> None:
        """TLS with whoever has a good certificate for that name. It can be cut from its first byte on."""
        shaken = self._tls.wrap_socket(self.connection, server_hostname=name, do_handshake_on_connect=False)
        self.connection = shaken
        shaken.do_handshake()

    def trouble(self, what: str) -> QanatError:
        """`alert_unreachable`: what went wrong, or that it was late."""
        late = monotonic() >= self._ends_at - LATE_S
        told = f"no answer within {ANSWER_S:.0f} s" if late else what
        return QanatError("alert_unreachable", f"{self.host}: {told}", where=self.host)

    def cut(self) -> None:
        """Whoever reads or writes is told that it has ended."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class Way:
    """`guard`: where to; `tls`: whom to trust; `resolve`: in place of the system's resolver."""

    guard: Guard
    tls: ssl.SSLContext
    resolve: Resolve | None = None

    @contextmanager
    def line(self, host: str, port: int) -> Iterator[Line]:
        """For ANSWER_S at most. A timeout of the socket is of each read: one who sends a byte a second would hold us for ever.

        Raises:
            QanatError: `alert_address_denied`, `alert_unreachable`.
        """
        ends_at = monotonic() + ANSWER_S
        line = Line(host, self.guard.dial(host, port, ends_at=ends_at, resolve=self.resolve), self.tls, ends_at)
        watch = Timer(max(0.0, ends_at - monotonic()), line.cut)
        watch.daemon = True
        watch.start()
        try:
            yield line
        except ssl.SSLCertVerificationError as error:
            raise QanatError(
                "alert_unreachable", f"{host}: its certificate is not trusted: {error.verify_message}", where=host
            ) from None
        except OSError as error:
            raise line.trouble(error.strerror or "the connection ended") from None
        finally:
            watch.cancel()
            with suppress(OSError):
                line.connection.close()
