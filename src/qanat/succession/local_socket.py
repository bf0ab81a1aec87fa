"""The socket that commands on this host find a running connector or edge by: in Linux's abstract name space, so that it needs no
folder and leaves nothing behind. One question and one answer a connection, each a line of JSON; root and the process's own
user are answered."""

import contextlib
import os
import re
import socket
import struct
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from qanat import structs
from qanat.errors import QanatError

Kind = Literal["connector", "edge"]
REFUSED: Final = {"connector": "connector_refused", "edge": "edge_refused"}
ASK_S = 1.0
"""Seconds that a question may take to arrive."""
LONGEST_QUESTION = 4096
LONGEST_ANSWER = 64 * 1024

_NAME = re.compile(r" 00010000 .*@qanat-(connector|edge)-(\d+)-([0-9a-f-]{36})$")
"""A line of /proc/net/unix; with that flag it is a socket that listens."""
_CREDENTIALS = struct.Struct("3i")
"""struct ucred: process, user, group (unix(7), SO_PEERCRED)."""


class Question(Struct, frozen=True):
    """`ask`: `upgrade`, `drain` (of an edge), or `describe`. `limit_s`: how long the new process has until it could serve.
    `drain_s`: how long what is open may go on; None: as the edge's settings have it."""

    ask: str
    limit_s: float = 60.0
    drain_s: float | None = None


class Asker:
    """Who asked something, and waits."""

    def __init__(self, connection: socket.socket, question: Question) -> None:
        self._connection = connection
        self.question = question

    def answer(self, value: object) -> None:
        """Answers and hangs up; whoever has left stays unanswered."""
        with contextlib.suppress(OSError), self._connection:
            self._connection.settimeout(ASK_S)
            self._connection.sendall(msgspec.json.encode(value) + b"\n")


class LocalSocket:
    """Bound from its making on, and found once it listens. Where there is no such name space it never hears anything."""

    def __init__(self, kind: Kind, id: str) -> None:
        """`id`: a UUID that no other process has."""
        self._kind = kind
        self._listener: socket.socket | None = None
        try:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(Running(os.getpid(), id, kind).address)
            listener.setblocking(False)
            self._listener = listener
        except (OSError, AttributeError):
            pass

    @property
    def fileno(self) -> int | None:
        """For a poll; None when it hears nothing (any more)."""
        return self._listener.fileno() if self._listener else None

    def listen(self) -> None:
        """From here on this process is found."""
        if self._listener:
            self._listener.listen(8)

    def accept(self) -> Asker | None:
        """The next question; None where there is none that may be answered."""
        if self._listener is None:
            return None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return None
        try:
            user = _credentials(connection)[1]
            connection.settimeout(ASK_S)
            if user not in (0, os.geteuid()):
                refusal = f"only root and the user that the {self._kind} runs as may ask it"
                connection.sendall(msgspec.json.encode({"refused": refusal}) + b"\n")
                raise OSError
            line = connection.recv(LONGEST_QUESTION)
            return Asker(connection, structs.decode(line, Question))
        except (OSError, msgspec.DecodeError):
            connection.close()
            return None

    def close(self) -> None:
        """From here on it isn't found."""
        listener, self._listener = self._listener, None
        if listener:
            listener.close()


# ------------------------------------------------------------ who asks
class Running(Struct, frozen=True, order=True):
    """A process that is in charge on this host. `pid` is its own idea of it."""

    pid: int
    id: str
    kind: Kind = "connector"

    @property
    def address(self) -> str:
        return f"\0qanat-{self.kind}-{self.pid}-{self.id}"


def running(kind: Kind) -> list[Running]:
    """Those of this host (of this network name space), by process."""
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            names = [_NAME.search(line.rstrip("\n")) for line in file]
    except OSError:
        return []
    return sorted({Running(int(name[2]), name[3], kind) for name in names if name and name[1] == kind})


def ask(process: Running, question: Question, *, limit_s: float) -> dict[str, Any]:
    """One answer.

    Raises:
        QanatError: `connector_refused`, `edge_refused`: it doesn't answer, not within `limit_s`, or not to this user.
    """
    where, refused = f"process {process.pid}", REFUSED[process.kind]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(limit_s)
            connection.connect(process.address)
            if _credentials(connection)[0] != process.pid:
                raise QanatError(
                    refused,
                    "it runs in another PID name space, a container's",
                    where=where,
                    hint="run the command in that container",
                )
            connection.sendall(msgspec.json.encode(question) + b"\n")
            answer = b""
            while not answer.endswith(b"\n") and len(answer) < LONGEST_ANSWER:
                part = connection.recv(LONGEST_ANSWER)
                if not part:
                    break
                answer += part
        decoded = structs.decode(answer, dict[str, Any])
    except TimeoutError:
        raise QanatError(refused, f"no answer within {limit_s:g} s", where=where) from None
    except (OSError, msgspec.DecodeError) as error:
        raise QanatError(refused, f"it ended, or gave no answer: {error}", where=where) from None
    if why := decoded.get("refused"):
        raise QanatError(refused, str(why), where=where, hint="run the command with sudo")
    return decoded


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group of the other end, as this process sees them."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, group = _CREDENTIALS.unpack(found)
    return process, user, group
