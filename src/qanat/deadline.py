"""An end for a whole exchange with a peer. A socket's timeout is of each read: who sends a byte a second holds us for ever with
it, in the middle of a TLS handshake or of a field."""

import os
import socket
from contextlib import suppress
from threading import Lock, Timer
from time import monotonic
from types import TracebackType
from typing import Any, Self


class LateError(TimeoutError):
    """Not done in time. Its text says whose the answer was to be, and in what time."""


class Deadline:
    """`with Deadline(10.0, "a.example") as deadline:` ends in a LateError when it took longer, and every connection that it
    watches is shut down then: whoever reads or writes goes on at once. `seconds` are from its entry."""

    def __init__(self, seconds: float, whose: str) -> None:
        self._seconds = seconds
        self._whose = whose
        self._twins: list[socket.socket] = []
        self._lock = Lock()
        self._over = False
        self._ends_at = 0.0
        self._timer = Timer(seconds, self._end)
        self._timer.daemon = True

    def watch(self, connection: socket.socket) -> None:
        """From now on, also once TLS is put on it: a socket that is wrapped loses its descriptor, so this has its own."""
        twin = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._twins.append(twin)
            if self._over:
                _shut(twin)

    def dial(self, *args: Any, **kwargs: Any) -> socket.socket:
        """As `socket.create_connection`, and watched."""
        connection = socket.create_connection(*args, **kwargs)
        self.watch(connection)
        return connection

    def opener(self, *handlers: Any) -> Any:
        """As `urllib.request.build_opener`; what its connections are is watched from the first byte on."""
        from urllib.request import HTTPHandler, HTTPSHandler, build_opener  # not for every start

        deadline = self

        class Watched(HTTPHandler):
            def do_open(self, http_class: Any, req: Any, **kwargs: Any) -> Any:
                def made(*args: Any, **also: Any) -> Any:
                    return deadline.over(http_class(*args, **also))

                return super().do_open(made, req, **kwargs)

        class WatchedTls(Watched, HTTPSHandler):
            pass

        return build_opener(Watched, WatchedTls, *handlers)

    def over(self, connection: Any) -> Any:
        """The same `http.client.HTTPConnection`, watched: what it is connected by, and what it dials."""
        if connection.sock is not None:
            self.watch(connection.sock)
        connection._create_connection = self.dial
        return connection

    def _end(self) -> None:
        with self._lock:
            self._over = True
            for twin in self._twins:
                _shut(twin)

    def __enter__(self) -> Self:
        self._ends_at = monotonic() + self._seconds
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for twin in self._twins:
                twin.close()
            self._twins.clear()
            # A socket's own timeout may end an exchange before the timer's thread gets to it.
            late = self._over or monotonic() >= self._ends_at
            if late and (value is None or isinstance(value, Exception)):
                # Also where all seems well: a head that is cut looks as if it had ended.
                raise LateError(f"no whole answer of {self._whose} within {self._seconds:g} s") from value


def _shut(twin: socket.socket) -> None:
    with suppress(OSError):
        twin.shutdown(socket.SHUT_RDWR)
