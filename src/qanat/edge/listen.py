"""The control API's sockets, which are there before the API: who comes while that is loaded waits, and isn't refused."""

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from qanat.defaults import API_PATH
from qanat.errors import QanatError

BACKLOG = 2048
LONGEST_PATH = 107
"""Of a Unix socket, in bytes (unix(7))."""


def listen(address: str) -> socket.socket:
    """QanatError `api_address`."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
        bound.listen(BACKLOG)
    except OSError as error:
        raise QanatError(
            "api_address",
            f"can't listen on {address}: {error.strerror or error}",
            where="control.address",
            hint="choose another by --control-address (port 0: any free one)",
        ) from error
    bound.set_inheritable(False)
    return bound


def url_of(where: socket.socket) -> str:
    """Where clients find the API that is served on a socket."""
    host, port = where.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}{API_PATH}"


def local_name(path: Path, folder: int) -> str:
    """What to dial: of a path that is too long for a socket a shorter one that only this process knows, by its open `folder`."""
    return str(path) if len(os.fsencode(path)) <= LONGEST_PATH else f"/proc/self/fd/{folder}/{path.name}"


class LocalSocket:
    """A Unix socket that listens, for this process's user alone. What an earlier run left at its path is removed. `inherited`:
    the socket of the process before this one, which listens there.

    `name`: what to dial, from this process.
    """

    def __init__(self, path: Path, inherited: socket.socket | None = None) -> None:
        self._path = path
        self._is_left = False
        self._folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.name = local_name(path, self._folder)
        if inherited is not None:
            self.socket = inherited
            return
        try:
            path.unlink(missing_ok=True)
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.bind(self.name)
            path.chmod(0o600)
            self.socket.listen(BACKLOG)
        except OSError as error:
            raise QanatError(
                "data_dir_unusable",
                f"can't listen on {path}: {error.strerror or error}",
                where="data_dir",
                hint="choose another directory by --data-dir, or make it writable",
            ) from error

    def leave(self) -> None:
        """Another process listens there: its path stays."""
        self._is_left = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self.socket.close()
        if not self._is_left:
            self._path.unlink(missing_ok=True)
        os.close(self._folder)
