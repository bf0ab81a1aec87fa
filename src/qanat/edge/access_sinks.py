"""Where the access log goes: a file that begins anew when it is large, standard output, or a unix socket. Each takes lines."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from qanat.errors import QanatError
from qanat.settings import AccessLogSettings

SOCKET_S = 1.0
"""For a reader that takes nothing: its lines are lost then, those of the next second may get through."""


class Sink(Protocol):
    """Takes lines. OSError: these are lost; the next ones may not be."""

    def write(self, lines: bytes) -> None: ...
    def close(self) -> None: ...


def open_sink(settings: AccessLogSettings) -> Sink | None:
    """None: there is no access log. QanatError `access_log_unwritable`."""
    if settings.to == "off":
        return None
    if settings.to == "stdout":
        return StandardOutput()
    if settings.to.startswith("unix:"):
        return UnixSocket(settings.to.removeprefix("unix:"))
    try:
        return RotatedFile(Path(settings.to), rotate_bytes=settings.rotate_bytes, keep=settings.keep)
    except OSError as error:
        raise QanatError(
            "access_log_unwritable",
            f"can't write {settings.to}: {error.strerror}",
            where="access_log.to",
            hint="name a file in a folder that the edge may write to, stdout, unix:PATH or off",
        ) from error


class RotatedFile:
    """`file`, and before it `file.1` (newer) to `file.{keep}`. A line is in it as a whole or not at all."""

    def __init__(self, file: Path, *, rotate_bytes: int, keep: int) -> None:
        self._file = file
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._fd = self._open()

    def _open(self) -> int:
        fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(fd).st_size
        return fd

    def write(self, lines: bytes) -> None:
        if self._is_moved():
            self._again()
        if self._rotate_bytes and self._size and self._size + len(lines) > self._rotate_bytes:
            self._rotate()
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            with suppress(OSError):  # half a line is none
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(lines)

    def close(self) -> None:
        os.close(self._fd)

    def _is_moved(self) -> bool:
        """By logrotate, say."""
        try:
            there = self._file.stat()
        except OSError:
            return True
        here = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def _again(self) -> None:
        fd = self._open()  # first: what can't be opened leaves the old one
        os.close(self._fd)
        self._fd = fd

    def _rotate(self) -> None:
        for number in range(self._keep, 0, -1):
            older = self._numbered(number - 1) if number > 1 else self._file
            with suppress(FileNotFoundError):
                older.replace(self._numbered(number))
        if not self._keep:
            self._file.unlink(missing_ok=True)
        self._again()

    def _numbered(self, number: int) -> Path:
        return self._file.with_name(f"{self._file.name}.{number}")


class StandardOutput:
    """For whoever keeps it: a container's runtime, journald."""

    def write(self, lines: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()

    def close(self) -> None:
        pass


class UnixSocket:
    """Somebody's stream socket, connected to anew when it was away."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def write(self, lines: bytes) -> None:
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(SOCKET_S)
            try:
                made.connect(self._path)
            except OSError:
                made.close()
                raise
            self._socket = made
        try:
            self._socket.sendall(lines)
        except OSError:
            self.close()  # a new connection begins with a whole line
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
