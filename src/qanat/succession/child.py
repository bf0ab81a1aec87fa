"""The new process of a running one's program, and the lines of JSON between the two, over a socket pair."""

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from qanat import structs

if TYPE_CHECKING:
    import subprocess

VARIABLE = "QANAT_HANDED_OVER"
"""What the new process is given, in its environment: JSON. The watcher knows those that were handed something by it."""
LIMIT_S = 60.0
"""How long the new process has until it could serve, unless told otherwise."""
END_S = 5.0
"""How long a new process that failed has to end by itself."""
LONGEST_LINE = 64 * 1024

Line = TypeVar("Line", bound=msgspec.Struct)


class UpgradeFailedError(Exception):
    """Why nothing was handed over; its text is for people."""


def program(argv: Sequence[str] | None = None, original: Sequence[str] | None = None) -> list[str]:
    """The command line that started this process, so that it is looked up by its path once more: a script by itself, since
    what it runs on may have been replaced too."""
    argv = sys.argv if argv is None else argv
    original = sys.orig_argv if original is None else original
    script = argv[0]
    if script in original and os.path.isfile(script) and os.access(script, os.X_OK):  # noqa: PTH113 - pathlib costs more
        return list(original[original.index(script) :])
    return [sys.executable, *original[1:]]


class Channel(Generic[Line]):
    """Lines of JSON, each a `Line`, both ways. One thread reads."""

    def __init__(self, connection: socket.socket, line: type[Line]) -> None:
        connection.set_inheritable(False)
        self._connection = connection
        self._line = line
        self._read = b""
        self.descriptors: list[int] = []
        """File descriptors that came with lines, in their order; they are the caller's."""

    def fileno(self) -> int:
        """Of the socket."""
        return self._connection.fileno()

    def send(self, line: Line, descriptors: Sequence[int] = ()) -> bool:
        """False: the other end is gone. It gets copies of the descriptors."""
        text = msgspec.json.encode(line) + b"\n"
        try:
            sent = socket.send_fds(self._connection, [text], list(descriptors)) if descriptors else 0
            self._connection.sendall(text[sent:])
        except OSError:
            return False
        return True

    def next(self, end: float | None) -> Line | None:
        """None when nothing comes until `end` (of the monotonic clock; None: however long that takes), or the other end is gone.

        Raises:
            DecodeError: it is no such line.
        """
        while True:
            text, newline, rest = self._read.partition(b"\n")
            if newline:
                self._read = rest
                return structs.decode(text, self._line)
            try:
                self._connection.settimeout(None if end is None else max(0.001, end - time.monotonic()))
                part, descriptors, _, _ = socket.recv_fds(self._connection, LONGEST_LINE, 1, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return None
            self.descriptors += descriptors
            if not part or len(self._read) > LONGEST_LINE:
                return None
            self._read += part

    def close(self) -> None:
        """The other side hears of it, also where a thread of this process waits for it."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class Child:
    """The new process."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child

    @classmethod
    def start(cls, command: Sequence[str], *, given: msgspec.Struct, fds: Sequence[int], watched: bool) -> "Child":
        """Starts it with these file descriptors. `watched`: this process stays its parent, so that it gets a process group of
        its own: a terminal's signals reach it through here only.

        Raises:
            UpgradeFailedError: the program can't be run.
        """
        import subprocess  # once in a process's life

        environment = {**os.environ, VARIABLE: msgspec.json.encode(given).decode()}
        try:
            return cls(
                subprocess.Popen(command, env=environment, pass_fds=tuple(fds), process_group=0 if watched else None)
            )
        except OSError as error:
            raise UpgradeFailedError(f"{command[0]} can't be run: {error.strerror}") from None

    @property
    def pid(self) -> int:
        """As this process sees it."""
        return self._child.pid

    def signal(self, number: int) -> None:
        """Passes a signal on, if it still runs."""
        with suppress(OSError):
            self._child.send_signal(number)

    def wait(self, limit_s: float) -> int | None:
        """Its exit code; None: it still runs."""
        import subprocess

        try:
            return self._child.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def end(self, *, within_s: float = END_S) -> None:
        """Ends one that failed; by force when it takes longer."""
        self.signal(signal.SIGTERM)
        if self.wait(within_s) is None:
            self._child.kill()
            self._child.wait()
