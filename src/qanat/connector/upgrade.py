"""Upgrades of a running connector: asked for by SIGUSR2 or on its local socket, one at a time, each in a thread of its own."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from socket import socket

from msgspec import Struct

from qanat.connector.handover import Result, Successor, hand_over
from qanat.connector.log import Log
from qanat.connector.sources import OwnTunnel
from qanat.succession import watcher
from qanat.succession.child import program
from qanat.succession.local_socket import Asker
from qanat.systemd import ServiceManager

CLOSE_S = 5.0
"""How long the end of this process waits for that of one that it was starting."""


class Place(Struct, frozen=True):
    """Who waits for this process. `watched`: a parent that a predecessor left, and that waits for whoever is in charge.
    `has_pidfile`: whoever started it learns of a new process from there."""

    watched: bool
    has_pidfile: bool

    def keeps_a_watcher(self, manager: ServiceManager) -> bool:
        """Whether this process must not end with its upgrade: whoever started it would take that for the service's end."""
        if os.getpid() == 1:
            return True
        return not (self.watched or self.has_pidfile or manager.listens)


class Upgrades:
    """The upgrades of one connector. `done` is called once, when a new process is in charge; the connector drains then."""

    def __init__(
        self,
        log: Log,
        manager: ServiceManager,
        place: Place,
        *,
        listeners: Callable[[], Sequence[socket]],
        wanted: str | None,
        tunnel: OwnTunnel | None,
        let_go: Callable[[], None],
        done: Callable[[], None],
    ) -> None:
        self._log = log
        self._manager = manager
        self._watched = place.watched
        self._keeps_watcher = place.keeps_a_watcher(manager)
        self._listeners = listeners
        self._wanted = wanted
        self._tunnel = tunnel
        self._let_go_of_listeners = let_go
        self._done = done
        self._busy = threading.Lock()
        self._is_canceled = False
        self._starting: Successor | None = None
        self._successor: Successor | None = None

    @property
    def handed_over(self) -> bool:
        return self._successor is not None

    def begin(self, limit_s: float, asker: Asker | None = None) -> None:
        """Starts one; `asker` hears what came of it. Returns at once."""
        if self._successor or not self._busy.acquire(blocking=False):
            reason = "this process has handed over already" if self._successor else "an upgrade is under way"
            self._log.warn("Not upgrading", error=reason)
            if asker:
                asker.answer(Result(0, "", 0, reason))
            return
        threading.Thread(target=self._run, args=(limit_s, asker), name="upgrade", daemon=True).start()

    def cancel(self) -> None:
        """This process is told to end: so is one that it is starting, or is about to. Doesn't wait."""
        self._is_canceled = True
        if self._starting and not self._successor:
            self._starting.signal(signal.SIGTERM)

    def close(self) -> None:
        """This process ends: one that it is still starting must not be left alone, or it would take over."""
        self._is_canceled = True
        if self._starting and not self._successor:
            self._starting.signal(signal.SIGKILL)
        self._busy.acquire(timeout=CLOSE_S)

    def pass_on(self, number: int) -> None:
        """A signal for the process in charge, where whoever sent it knows this one only."""
        if self._successor and self._keeps_watcher:
            watcher.pass_on(number)

    def become_watcher(self, unheard: Callable[[], Iterable[int]]) -> None:
        """The last thing that a process does which handed over: nothing, or to stay and wait. Returns unless it stays. `unheard`:
        signals that came too late to be heeded here."""
        if self._successor and self._keeps_watcher:
            watcher.become(self._successor.pid, unheard)

    def failure(self) -> int:
        """The exit status of the process that this one handed over to, if that has failed before this one ends; else 0."""
        return self._successor.failure() if self._successor else 0

    def _run(self, limit_s: float, asker: Asker | None) -> None:
        try:
            result = self._hand_over(limit_s)
        except Exception as error:  # noqa: BLE001 - the connector goes on, and whoever asked has to hear of it
            result = Result(0, "", 0, f"{type(error).__name__}: {error}")
        finally:
            self._starting = None
            self._busy.release()
        if result.reason:
            self._log.error("The upgrade failed: this process goes on", error=result.reason)
        if asker:
            asker.answer(result)

    def _hand_over(self, limit_s: float) -> Result:
        command = program()
        self._log.info("Upgrading: starting the program anew", program=command[0])

        def start() -> Successor:
            self._starting = Successor.start(
                command,
                listeners=self._listeners(),
                wanted=self._wanted,
                watched=self._watched or self._keeps_watcher,
                tunnel=self._tunnel,
            )
            if self._is_canceled:
                self._starting.signal(signal.SIGKILL)
            return self._starting

        successor, result = hand_over(start, limit_s=limit_s, let_go=self._let_go)
        if successor:
            self._successor = successor
            self._log.info("The new process is in charge", pid=result.pid, newVersion=result.version)
            self._done()
        return result

    def _let_go(self, successor: Successor) -> None:
        if self._keeps_watcher:
            watcher.adopt_orphans()
        self._manager.hand_over(successor.pid)
        self._let_go_of_listeners()
