"""An edge hands over to a new process of its own program (docs/explanation/restart.md): what is handed down, and each one's side
of it.

Lines of JSON over a socket pair (edge/following.py). First the new one's `{"trouble": reason}` and `{"ready": {…}}`; then the old
one's `{"held": […]}` and `{"go": true}`; then the new one's `{"in_charge": true}`. From there on the new one decides, and calls
the old one for whatever has to be so in both: `{"call": {…}}`, which is answered by `{"answer": {…}}`. Meanwhile the old one
tells which connections come and go there. Whoever is gone has closed its end.

Processes before the old one, which still serve what they began, each get a channel to the new one, too: `{"held": […]}`,
`{"go": true}`, and then as above.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from qanat import structs
from qanat.edge.following import CALL_S, Leader, Line, Older, Ready
from qanat.edge.presence import Held
from qanat.errors import QanatError
from qanat.succession.child import END_S, VARIABLE, Channel, Child
from qanat.succession.successor import Begun

GO_S = 120.0
"""How long the old process takes at most to end what one process alone may do."""
GONE_S = 10.0
"""For the system to tell that a process has ended which has closed its end."""
LOOK_S = 0.02


class Elder(Struct, frozen=True):
    """A process before the one that hands over: the new one's end of a channel to it, and a file descriptor of the process itself
    (None: an old kernel has none)."""

    pid: int
    channel: int
    process: int | None


class Inheritance(Struct, frozen=True):
    """File descriptors: one end of the channel, the data directory's lock, and sockets by role. `watched`: a parent waits for
    whoever is in charge."""

    channel: int
    lock: int
    sockets: Mapping[str, int]
    watched: bool
    older: Sequence[Elder] = ()


# ------------------------------------------------------------ the new process's side
class Predecessor:
    """The process that this one shall take over from, and those before it."""

    def __init__(self, inheritance: Inheritance) -> None:
        self.watched = inheritance.watched
        self.lock = inheritance.lock
        self._sockets = {role: socket.socket(fileno=fd) for role, fd in inheritance.sockets.items()}
        for each in self._sockets.values():
            each.set_inheritable(False)
        os.set_inheritable(inheritance.lock, False)
        self._parent = Older(_channel(inheritance.channel), os.getppid())
        self._channel = self._parent.channel
        self._elders = [Older(_channel(each.channel), each.pid, each.process) for each in inheritance.older]
        self._is_gone = False
        self._is_followed = False

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

    @property
    def _all(self) -> list[Older]:
        return [self._parent, *self._elders]

    def sockets(self) -> dict[str, socket.socket]:
        """By role; they are the caller's from now on."""
        sockets, self._sockets = self._sockets, {}
        return sockets

    def tell_trouble(self, reason: str) -> None:
        """Why it can't serve."""
        self._channel.send(Line(trouble=reason[:4096]))

    def tell_ready(self, ready: Ready) -> list[Held] | None:
        """Says that this process could serve, and waits until the old one has let go, or is gone (None): it and those before it
        then have these connections."""
        self._channel.send(Line(ready=ready))
        if not self._parent.greet(GO_S + CALL_S):
            end = time.monotonic() + GONE_S
            while os.getppid() == self._parent.pid:  # it lives: then it is in charge
                if time.monotonic() > end:
                    raise QanatError("upgrade_failed", "the process before this one didn't let go")
                time.sleep(LOOK_S)
            self._is_gone = True
        for elder in self._elders:
            if not elder.greet(CALL_S):
                elder.end()  # if it lives, nobody tells it what isn't so any more
        return None if self._is_gone else [held for older in self._all for held in older.held]

    def take_charge(
        self, come: Callable[[int, Iterable[Held]], None], gone: Callable[[int, Sequence[str] | None], None]
    ) -> None:
        """From here on this process decides. `come` and `gone` hear of the connections that those before it have, by process
        (None: it has ended)."""
        for older in self._all:
            come(older.pid, older.held)
            if older is self._parent and self._is_gone:
                older.gone.set()
                gone(older.pid, None)
                continue
            older.follow(partial(come, older.pid), partial(gone, older.pid))
        self._is_followed = True
        self._channel.send(Line(in_charge=True))

    def call(self, name: str, **given: Any) -> int:
        """Has something done in each process before this one as well; the sum of their answers. Those that are gone, or don't
        follow yet, count nothing. One that can't do it is ended."""
        return sum(older.call(name, given) for older in self._all) if self._is_followed else 0

    def call_last(self, name: str) -> None:
        """Has it done in the one that this one takes over from."""
        if not self._is_gone:
            self._parent.call(name, {})

    def introduce(self, successor: "Successor") -> None:
        """Those before this process shall hear from that one, too; what is left of them is not known here."""
        for older in self._all if self._is_followed else ():
            if (end := successor.ends.pop(older.pid, None)) is not None:
                older.call("follow", {}, more=[end.fileno()])
                end.close()

    def older(self) -> list[Older]:
        """The processes before this one that still serve."""
        return [older for older in self._all if not older.gone.is_set()] if self._is_followed else []

    def leave(self) -> None:
        """The process after this one has them."""
        self._is_followed = False
        for older in self._all:
            older.leave()

    def wait(self, limit_s: float) -> None:
        """Until all of them have ended, at most so long."""
        end = time.monotonic() + limit_s
        for older in self._all if self._is_followed else ():
            older.wait(max(0.0, end - time.monotonic()))


def _channel(number: int) -> Channel[Line]:
    return Channel(socket.socket(fileno=number), Line)


# ------------------------------------------------------------ the running process's side
class Successor(Begun[Line]):
    """A new process of the same program."""

    def __init__(self, child: Child, channel: Channel[Line]) -> None:
        super().__init__(child, channel)
        self.leader = Leader(channel)
        self.ends: dict[int, socket.socket] = {}
        """Of channels to it, for the processes before this one: by process."""

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        lock: int,
        sockets: Mapping[str, int],
        watched: bool,
        older: Iterable[Older] = (),
    ) -> "Successor":
        """Starts it. `watched`: this process stays its parent. `older`: the processes before this one.

        Raises:
            UpgradeFailedError: the program can't be run.
        """
        pairs = {each: socket.socketpair() for each in older}
        elders = [Elder(each.pid, theirs.fileno(), each.process) for each, (_, theirs) in pairs.items()]
        processes = [each.process for each in elders if each.process is not None]
        try:
            successor = cls._begin(
                command,
                Line,
                lambda channel: Inheritance(channel, lock, sockets, watched, elders),
                fds=(lock, *sockets.values(), *(each.channel for each in elders), *processes),
                watched=watched,
            )
        except BaseException:
            for ours, _ in pairs.values():
                ours.close()
            raise
        finally:
            for _, theirs in pairs.values():
                theirs.close()
        successor.ends = {each.pid: ours for each, (ours, _) in pairs.items()}
        return successor

    def ready(self, limit_s: float) -> Ready:
        """Waits until it could serve.

        Raises:
            UpgradeFailedError: it ended, or could not within `limit_s`; with its own last word, if it had any.
        """
        return self._wait(limit_s, "was not ready", lambda line: line.ready)

    def go(self, held: Callable[[], Sequence[Held]], limit_s: float) -> None:
        """It may do what one process alone may do; returns when it does.

        Raises:
            UpgradeFailedError: as `ready`'s.
        """
        self.leader.introduce(held)
        self._wait(limit_s, "did not take charge", lambda line: line.in_charge or None)

    def end(self) -> None:
        """Ends one that failed, at once: it is gone before it could hear that it is alone, and take over."""
        self._child.signal(signal.SIGKILL)
        self._child.wait(END_S)
        self.close()

    def close(self) -> None:
        """The new process hears that this one is about to end."""
        self.leader.close()
        for each in self.ends.values():
            each.close()
