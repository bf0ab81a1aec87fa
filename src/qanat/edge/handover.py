"""An edge hands over to a new process of its own program (docs/explanation/restart.md): what is handed down, what the two say to
each other, and each one's side of it.

Lines of JSON over a socket pair. First the new one's `{"trouble": reason}` and `{"ready": {…}}`; then the old one's
`{"held": […]}` and `{"go": true}`; then the new one's `{"in_charge": true}`. From there on the new one decides, and calls the old
one for whatever has to be so in both: `{"call": {…}}`, which is answered by `{"answer": {…}}`. Meanwhile the old one tells which
connections come and go there. Whoever is gone has closed its end.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from qanat import structs
from qanat.edge.presence import Held
from qanat.errors import QanatError
from qanat.succession.child import END_S, VARIABLE, Channel, Child
from qanat.succession.successor import Begun, Told

GO_S = 120.0
"""How long the old process takes at most to end what one process alone may do."""
GONE_S = 10.0
"""For the system to tell that a process has ended which has closed its end."""
CALL_S = 10.0
"""An old process that doesn't answer within this time is ended: it would serve by what isn't so any more."""
HELD_AT_ONCE = 100
"""Connections in a line."""
LOOK_S = 0.02

log = structlog.get_logger(__name__)


class Inheritance(Struct, frozen=True):
    """File descriptors: one end of the channel, the data directory's lock, and sockets by role. `watched`: a parent waits for
    whoever is in charge."""

    channel: int
    lock: int
    sockets: Mapping[str, int]
    watched: bool


class Ready(Struct, frozen=True):
    """The new process could serve. `migrates`: once it has brought the database to its own schema."""

    pid: int
    version: str
    migrates: bool


class Call(Struct, frozen=True):
    """Something to be done in the old process as well."""

    name: str
    given: Mapping[str, Any]


class Answer(Struct, frozen=True):
    """What came of it; `error` "" when it went well."""

    result: int
    error: str = ""


class Line(Told, frozen=True, omit_defaults=True):
    """One line of either side."""

    ready: Ready | None = None
    held: Sequence[Held] = ()
    gone: Sequence[str] = ()
    go: bool = False
    in_charge: bool = False
    call: Call | None = None
    answer: Answer | None = None


# ------------------------------------------------------------ the new process's side
class Predecessor:
    """The process that this one shall take over from."""

    def __init__(self, inheritance: Inheritance) -> None:
        self.watched = inheritance.watched
        self.lock = inheritance.lock
        self._sockets = {role: socket.socket(fileno=fd) for role, fd in inheritance.sockets.items()}
        for each in self._sockets.values():
            each.set_inheritable(False)
        os.set_inheritable(inheritance.lock, False)
        self._channel = Channel(socket.socket(fileno=inheritance.channel), Line)
        self._pid = os.getppid()
        self._calls = threading.Lock()
        self._answered = threading.Condition()
        self._answers: list[Answer] = []
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

    def sockets(self) -> dict[str, socket.socket]:
        """By role; they are the caller's from now on."""
        sockets, self._sockets = self._sockets, {}
        return sockets

    def tell_trouble(self, reason: str) -> None:
        """Why it can't serve."""
        self._channel.send(Line(trouble=reason[:4096]))

    def tell_ready(self, ready: Ready) -> list[Held] | None:
        """Says that this process could serve, and waits until the old one has let go, or is gone (None): it then has these
        connections."""
        self._channel.send(Line(ready=ready))
        held: list[Held] = []
        while line := self._channel.next(time.monotonic() + GO_S + CALL_S):
            held += line.held
            if line.go:
                return held
        end = time.monotonic() + GONE_S
        while os.getppid() == self._pid:  # it lives: then it is in charge
            if time.monotonic() > end:
                raise QanatError("upgrade_failed", "the process before this one didn't let go")
            time.sleep(LOOK_S)
        self._is_gone = True
        return None

    def take_charge(self, come: Callable[[Iterable[Held]], None], gone: Callable[[Sequence[str] | None], None]) -> None:
        """From here on this process decides. `come` and `gone` hear of the old one's connections (None: it has ended)."""
        if self._is_gone:
            gone(None)
            return
        self._channel.send(Line(in_charge=True))
        self._is_followed = True
        threading.Thread(target=self._read, args=(come, gone), name="qanat-predecessor", daemon=True).start()

    def call(self, name: str, **given: Any) -> int:
        """Has something done in the old process as well; 0 where that is gone, or doesn't follow yet. One that can't do it is
        ended."""
        if not self._is_followed:
            return 0
        with self._calls, self._answered:
            self._answers.clear()
            self._channel.send(Line(call=Call(name, given)))
            self._answered.wait_for(lambda: self._answers or self._is_gone, CALL_S)
            nothing = Answer(0, "" if self._is_gone else f"no answer within {CALL_S:g} s")
            answer = self._answers[0] if self._answers else nothing
        if answer.error:
            log.error("the process before this one can't follow, and is ended", call=name, reason=answer.error)
            self.end()
        return answer.result

    def end(self) -> None:
        """It must not serve on."""
        with suppress(OSError):
            if os.getppid() == self._pid and not self._is_gone:
                os.kill(self._pid, signal.SIGKILL)
        self._channel.close()

    def _read(self, come: Callable[[Iterable[Held]], None], gone: Callable[[Sequence[str] | None], None]) -> None:
        try:
            while line := self._channel.next(None):
                if line.answer is not None:
                    with self._answered:
                        self._answers.append(line.answer)
                        self._answered.notify()
                if line.held:
                    come(line.held)
                if line.gone:
                    gone(line.gone)
        except msgspec.DecodeError as error:
            log.error("the process before this one talks nonsense, and is ended", reason=str(error))
            self.end()
        with self._answered:
            self._is_gone = True
            self._answered.notify()
        log.info("the process before this one has ended")
        gone(None)


# ------------------------------------------------------------ the running process's side
class Successor(Begun[Line]):
    """A new process of the same program."""

    def __init__(self, child: Child, channel: Channel[Line]) -> None:
        super().__init__(child, channel)
        self._sending = threading.Lock()

    @classmethod
    def start(cls, command: Sequence[str], *, lock: int, sockets: Mapping[str, int], watched: bool) -> "Successor":
        """Starts it. `watched`: this process stays its parent.

        Raises:
            UpgradeFailedError: the program can't be run.
        """
        return cls._begin(
            command,
            Line,
            lambda channel: Inheritance(channel, lock, sockets, watched),
            fds=(lock, *sockets.values()),
            watched=watched,
        )

    def ready(self, limit_s: float) -> Ready:
        """Waits until it could serve.

        Raises:
            UpgradeFailedError: it ended, or could not within `limit_s`; with its own last word, if it had any.
        """
        return self._wait(limit_s, "was not ready", lambda line: line.ready)

    def go(self, held: Sequence[Held], limit_s: float) -> None:
        """It may do what one process alone may do; returns when it does.

        Raises:
            UpgradeFailedError: as `ready`'s.
        """
        for start in range(0, len(held), HELD_AT_ONCE):
            self._send(Line(held=held[start : start + HELD_AT_ONCE]))
        self._send(Line(go=True))
        self._wait(limit_s, "did not take charge", lambda line: line.in_charge or None)

    def tell(self, connection_id: str, held: Held | None) -> None:
        """Of a connection that came to this process, or is gone from it."""
        self._send(Line(held=[held]) if held is not None else Line(gone=[connection_id]))

    def serve(self, calls: Mapping[str, Callable[..., int]]) -> None:
        """Does what the new process calls for, until that is gone."""
        with suppress(msgspec.DecodeError):
            while line := self._channel.next(None):
                if line.call is not None:
                    self._send(Line(answer=_done(calls, line.call)))

    def end(self) -> None:
        """Ends one that failed, at once: it is gone before it could hear that it is alone, and take over."""
        self._child.signal(signal.SIGKILL)
        self._child.wait(END_S)
        self._channel.close()

    def close(self) -> None:
        """The new process hears that this one is about to end."""
        self._channel.close()

    def _send(self, line: Line) -> None:
        with self._sending:
            self._channel.send(line)


def _done(calls: Mapping[str, Callable[..., int]], call: Call) -> Answer:
    try:
        return Answer(calls[call.name](**call.given))
    except Exception as error:
        log.exception("what the new process called for can't be done", call=call.name)
        return Answer(0, f"{type(error).__name__}: {error}")
