"""The process in charge decides, and those before it follow, each on a channel of its own, until what they began has ended: what
they say to each other (lines of JSON), and each one's side of it. None speaks for another one: who ends breaks no chain."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from qanat.edge.presence import Held
from qanat.succession.child import Channel
from qanat.succession.successor import Told

CALL_S = 10.0
"""An older process that doesn't answer within this time is ended: it would serve by what isn't so any more."""
HELD_AT_ONCE = 100
"""Connections in a line."""

log = structlog.get_logger(__name__)


class Ready(Struct, frozen=True):
    """The new process could serve. `migrates`: once it has brought the database to its own schema."""

    pid: int
    version: str
    migrates: bool


class Call(Struct, frozen=True):
    """Something to be done in the older process as well."""

    name: str
    given: Mapping[str, Any]


class Answer(Struct, frozen=True):
    """What came of it; `error` "" when it went well."""

    result: int
    error: str = ""


class Line(Told, frozen=True, omit_defaults=True):
    """One line of either side. `go` ends the older one's account of the connections that it has."""

    ready: Ready | None = None
    held: Sequence[Held] = ()
    gone: Sequence[str] = ()
    go: bool = False
    in_charge: bool = False
    call: Call | None = None
    answer: Answer | None = None


# ------------------------------------------------------------ the side of the process in charge
class Older:
    """A process before this one."""

    def __init__(self, channel: Channel[Line], pid: int, process: int | None = None) -> None:
        """`process`: a file descriptor of it; without one, `pid` is this process's parent."""
        self.channel = channel
        self.pid = pid
        self.held: list[Held] = []
        """The connections that it had when it let go."""
        self.gone = threading.Event()
        """It has ended."""
        self.process = process
        if process is not None:
            os.set_inheritable(process, False)
        else:
            with suppress(OSError):  # an old kernel
                self.process = os.pidfd_open(pid)
        self._calls = threading.Lock()
        self._answered = threading.Condition()
        self._answers: list[Answer] = []
        self._is_left = False

    def greet(self, limit_s: float) -> bool:
        """Waits until it has told what it has; False: it ended, or didn't within `limit_s`."""
        end = time.monotonic() + limit_s
        while line := self.channel.next(end):
            self.held += line.held
            if line.go:
                return True
        return False

    def follow(self, come: Callable[[Iterable[Held]], None], gone: Callable[[Sequence[str] | None], None]) -> None:
        """From here on `come` and `gone` hear of its connections (None: it has ended), in a thread of their own."""
        threading.Thread(target=self._read, args=(come, gone), name="qanat-older", daemon=True).start()

    def call(self, name: str, given: Mapping[str, Any], *, more: Sequence[int] = ()) -> int:
        """Has something done there, and hands over file descriptors; 0 where it is gone. One that can't do it is ended."""
        with self._calls, self._answered:
            if self.gone.is_set() or self._is_left:
                return 0
            self._answers.clear()
            self.channel.send(Line(call=Call(name, given)), more)
            self._answered.wait_for(lambda: self._answers or self.gone.is_set(), CALL_S)
            nothing = Answer(0, "" if self.gone.is_set() else f"no answer within {CALL_S:g} s")
            answer = self._answers[0] if self._answers else nothing
        if answer.error:
            log.error(
                "a process before this one can't follow, and is ended", pid=self.pid, call=name, reason=answer.error
            )
            self.end()
        return answer.result

    def end(self) -> None:
        """It must not serve on."""
        with suppress(OSError):
            if self.gone.is_set():  # what is left of it may watch over this process (succession/watcher.py)
                pass
            elif self.process is not None:
                signal.pidfd_send_signal(self.process, signal.SIGKILL)
            elif os.getppid() == self.pid:
                os.kill(self.pid, signal.SIGKILL)
        self.channel.close()

    def leave(self) -> None:
        """Another process is in charge of it: nothing that becomes of it is this one's business."""
        self._is_left = True
        self.channel.close()

    def wait(self, limit_s: float) -> None:
        """Until it has ended, at most so long."""
        with self._answered:
            self._answered.wait_for(lambda: self.gone.is_set(), limit_s)

    def _read(self, come: Callable[[Iterable[Held]], None], gone: Callable[[Sequence[str] | None], None]) -> None:
        try:
            while line := self.channel.next(None):
                if line.answer is not None:
                    with self._answered:
                        self._answers.append(line.answer)
                        self._answered.notify_all()
                if line.held:
                    come(line.held)
                if line.gone:
                    gone(line.gone)
        except msgspec.DecodeError as error:
            log.error("a process before this one talks nonsense, and is ended", pid=self.pid, reason=str(error))
            self.end()
        with self._answered:
            self.gone.set()
            self._answered.notify_all()
        if not self._is_left:
            log.info("a process before this one has ended", pid=self.pid)
            gone(None)


# ------------------------------------------------------------ the side of those before it
class Leader:
    """A process after this one, which decides what is so here as well."""

    def __init__(self, channel: Channel[Line]) -> None:
        self._channel = channel
        self._sending = threading.Lock()

    def introduce(self, held: Callable[[], Sequence[Held]]) -> None:
        """Tells it all connections of this process. Who `tell`s of changes already is heard after that."""
        with self._sending:
            all_of_them = held()
            for start in range(0, len(all_of_them), HELD_AT_ONCE):
                self._channel.send(Line(held=all_of_them[start : start + HELD_AT_ONCE]))
            self._channel.send(Line(go=True))

    def tell(self, connection_id: str, held: Held | None) -> None:
        """Of a connection that came to this process, or is gone from it."""
        self._send(Line(held=[held]) if held is not None else Line(gone=[connection_id]))

    def serve(self, calls: Mapping[str, Callable[..., int]]) -> None:
        """Does what it calls for, until it is gone."""
        with suppress(msgspec.DecodeError):
            while line := self._channel.next(None):
                if line.call is not None:
                    self._send(Line(answer=_done(calls, line.call)))

    def handed(self) -> int:
        """The file descriptor that came with its call.

        Raises:
            LookupError: none did.
        """
        return self._channel.descriptors.pop(0)

    def close(self) -> None:
        """It hears that this process is about to end."""
        self._channel.close()

    def _send(self, line: Line) -> None:
        with self._sending:
            self._channel.send(line)


def _done(calls: Mapping[str, Callable[..., int]], call: Call) -> Answer:
    try:
        return Answer(calls[call.name](**call.given))
    except Exception as error:
        log.exception("what a process after this one called for can't be done", call=call.name)
        return Answer(0, f"{type(error).__name__}: {error}")
