"""A connector hands over to a new process of its own program, on one host, without losing a request.

The running one starts the program anew, found by its path, and gives it the metrics listeners and one end of a socket pair.
The new one registers under an id of its own, as a replica would: with the same id the edge would end the old one's
connections. Then it says so, waits until the old one has let go of what only one can have (the service manager's main process,
the listeners), and goes on. Until then nothing of the old one has changed, and it goes on alone if the new one fails.

Lines of JSON over the pair: the new one's `{"trouble": reason}` and `{"registered": {…}}`, the old one's `{"go": true}`, and
before all others `{"tunnel": {…}}` where its command made the tunnel that it runs: the new one's is not to make another.
"""

import contextlib
import os
import socket
from collections.abc import Callable, MutableMapping, Sequence

import msgspec
from msgspec import Struct

from qanat import structs
from qanat.connector.sources import OwnTunnel
from qanat.succession.child import END_S, LONGEST_LINE, VARIABLE, UpgradeFailedError
from qanat.succession.successor import Begun, Told

LET_GO_S = 10.0
"""How long the new process waits for the old one to let go."""


class Inheritance(Struct, frozen=True):
    """What is handed down. `listeners`: file descriptors of the metrics listeners, `wanted`: the --metrics they were made for
    (None: it wasn't given). `watched`: a parent waits for whoever is in charge. `tells_tunnel`: a tunnel is told first."""

    channel: int
    listeners: tuple[int, ...]
    wanted: str | None
    watched: bool
    tells_tunnel: bool = False


class Registered(Struct, frozen=True):
    """The new process is registered."""

    pid: int
    version: str
    connections: int


class Line(Told, frozen=True, omit_defaults=True):
    """One line of either side."""

    tunnel: OwnTunnel | None = None
    registered: Registered | None = None
    go: bool = False


# ------------------------------------------------------------ the new process's side
class Predecessor:
    """The process that this one shall take over from. `tunnel`: the one that its command made."""

    def __init__(self, inheritance: Inheritance) -> None:
        self.watched = inheritance.watched
        self._wanted = inheritance.wanted
        self._listeners = [socket.socket(fileno=fd) for fd in inheritance.listeners]
        self._channel = socket.socket(fileno=inheritance.channel)
        os.set_inheritable(inheritance.channel, False)
        for listener in self._listeners:
            listener.set_inheritable(False)
        self.tunnel = self._told_tunnel() if inheritance.tells_tunnel else None

    @classmethod
    def found(cls, environment: MutableMapping[str, str]) -> "Predecessor | None":
        """Takes the variable out of the environment; None where there is none, or none that can be read."""
        text = environment.pop(VARIABLE, None)
        if text is None:
            return None
        environment.pop("WATCHDOG_PID", None)  # that is the predecessor
        try:
            return cls(structs.decode(text, Inheritance))
        except (OSError, msgspec.DecodeError):
            return None

    def listeners(self, wanted: str | None) -> list[socket.socket]:
        """The listeners, where they are those that --metrics asks for; else they are closed."""
        if wanted == self._wanted:
            return self._listeners
        for listener in self._listeners:
            listener.close()
        return []

    def tell_trouble(self, reason: str) -> None:
        """Why it isn't registered yet. The last one is the reason if it never is."""
        self._send(Line(trouble=reason[:4096]))

    def take_over(self, registered: Registered) -> None:
        """Says that this process is registered, and returns when the old one has let go, or is gone."""
        self._send(Line(registered=registered))
        self._channel.settimeout(LET_GO_S)
        with contextlib.suppress(OSError):
            self._channel.recv(LONGEST_LINE)
        self._channel.close()

    def _told_tunnel(self) -> OwnTunnel | None:
        text = b""
        self._channel.settimeout(LET_GO_S)
        while not text.endswith(b"\n"):  # nothing follows it before this process says that it is registered
            part = self._channel.recv(LONGEST_LINE)
            if not part:
                return None
            text += part
        self._channel.settimeout(None)
        return structs.decode(text, Line).tunnel

    def _send(self, line: Line) -> None:
        with contextlib.suppress(OSError):  # it is gone: then this process goes on by itself
            self._channel.sendall(msgspec.json.encode(line) + b"\n")


# ------------------------------------------------------------ the running process's side
class Successor(Begun[Line]):
    """A new process of the same program."""

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        listeners: Sequence[socket.socket],
        wanted: str | None,
        watched: bool,
        tunnel: OwnTunnel | None = None,
    ) -> "Successor":
        """Starts it. `watched`: this process stays its parent. `tunnel`: what this one's command made; its secret is in no
        environment.

        Raises:
            UpgradeFailedError: the program can't be run.
        """
        fds = tuple(listener.fileno() for listener in listeners)
        return cls._begin(
            command,
            Line,
            lambda channel: Inheritance(channel, fds, wanted, watched, tunnel is not None),
            fds=fds,
            watched=watched,
            first=Line(tunnel=tunnel) if tunnel is not None else None,
        )

    def registered(self, limit_s: float) -> Registered:
        """Waits until it is registered.

        Raises:
            UpgradeFailedError: it ended, or was not within `limit_s`; with its own last word, if it had any.
        """
        return self._wait(limit_s, "did not register", lambda line: line.registered)

    def let_go(self) -> None:
        """It is in charge from here on."""
        self._channel.send(Line(go=True))
        self._channel.close()

    def end(self) -> None:
        """Ends one that failed, and what is left of it."""
        self._channel.close()
        self._child.end(within_s=END_S)


class Result(Struct, frozen=True):
    """What came of an upgrade. `reason` is "" when the new process, `pid`, is in charge."""

    pid: int
    version: str
    connections: int
    reason: str = ""


def hand_over(
    start: Callable[[], Successor], *, limit_s: float, let_go: Callable[[Successor], None]
) -> tuple[Successor | None, Result]:
    """The running process's whole part: starts the new one, waits for it, and lets go; or ends it and says why.

    Args:
        start: `Successor.start` with everything it needs.
        let_go: gives away what only one process can have, before the new one is told.
    """
    successor: Successor | None = None
    try:
        successor = start()
        registered = successor.registered(limit_s)
    except UpgradeFailedError as error:
        if successor:
            successor.end()
        return None, Result(0, "", 0, str(error))
    let_go(successor)
    successor.let_go()
    return successor, Result(successor.pid, registered.version, registered.connections)
