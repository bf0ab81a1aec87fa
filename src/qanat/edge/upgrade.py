"""The running process's side of an upgrade: starts a new process of its program, lets go of what one alone may do, and takes it
back if that one fails. Asked for by SIGUSR2 or on this host (`qanat edge upgrade`), one at a time, in a thread of its own."""

import os
import select
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import structlog
from msgspec import Struct

from qanat import __version__, structs
from qanat.edge.data_dir import DataDir
from qanat.edge.duties import Duties, Parts
from qanat.edge.following import Leader, Line
from qanat.edge.handover import Predecessor, Successor
from qanat.edge.listeners import close_copies, handed_down
from qanat.edge.presence import Key
from qanat.edge.signals import Order, Signals
from qanat.edge.steering import calls
from qanat.errors import QanatError
from qanat.store import Notice, sqlite
from qanat.succession import watcher
from qanat.succession.child import LIMIT_S, Channel, UpgradeFailedError, program
from qanat.succession.local_socket import Asker, LocalSocket
from qanat.systemd import ServiceManager

CONNECTORS_EVERY_S = 0.005
"""Between two connections that are told to go to the new process: 200 a second."""
MOVED_S = 90.0
"""For connectors that are still on their way here from a process before this one: of a connector with all its connections between
two processes none would be left to serve."""
RETURN_S = 60.0
"""Since the last upgrade, for connections that wait before they dial again: a stock connector's wait doubles with each that
comes soon after another, up to 320 s. Without them its first connection serves alone; while that changes place, too, requests
wait for it: for as long as what is open on it lasts."""
LOOK_S = 0.1
CLOSE_S = 5.0
"""How long the end of this process waits for that of one that it was starting."""
GONE_S = 1.0
"""The same, for that of one whose line is closed already."""

log = structlog.get_logger(__name__)


class Result(Struct, frozen=True):
    """What came of an upgrade. `reason` is "" when the new process, `pid`, is in charge."""

    pid: int
    version: str
    reason: str = ""


class Upgrades:
    """The upgrades of one edge, and what else its host's commands ask."""

    def __init__(
        self,
        parts: Parts,
        data_dir: DataDir,
        manager: ServiceManager,
        signals: Signals,
        duties: Duties,
        *,
        predecessor: Predecessor | None,
    ) -> None:
        watched = predecessor is not None and predecessor.watched  # a parent waits for whoever is in charge
        self._parts = parts
        self._data_dir = data_dir
        self._manager = manager
        self._signals = signals
        self._predecessor = predecessor
        self.duties = duties
        self._watched = watched
        self._keeps_watcher = os.getpid() == 1 or not (watched or manager.listens)
        self._busy = threading.Lock()
        self._is_canceled = False
        self._is_closed = False
        self._starting: Successor | None = None
        self._successor: Successor | None = None
        self._leaders: list[Leader] = []
        self._leading = threading.Lock()
        self._drain_s: float | None = None
        self._drainer: Asker | None = None
        self._ear = LocalSocket("edge", str(uuid.uuid4()))
        self._wake, self._waker = os.pipe()
        self._listener: threading.Thread | None = None

    @property
    def successor(self) -> Successor | None:
        """The process that is in charge."""
        return self._successor

    def listen(self) -> None:
        """From here on this process is found by commands of its host."""
        self._ear.listen()
        self._listener = threading.Thread(target=self._answer, name="qanat-orders", daemon=True)
        self._listener.start()

    def begin(self, limit_s: float = LIMIT_S, drain_s: float | None = None, asker: Asker | None = None) -> None:
        """Starts one; `asker` hears what came of it. Returns at once."""
        if self._successor or self._is_canceled or not self._busy.acquire(blocking=False):
            reason = "this process has handed over already" if self._successor else "an upgrade is under way"
            reason = "this process is ending" if self._is_canceled else reason
            log.warning("not upgrading", reason=reason)
            if asker:
                asker.answer(Result(0, "", reason))
            return
        threading.Thread(target=self._run, args=(limit_s, drain_s, asker), name="qanat-upgrade", daemon=True).start()

    def cancel(self) -> None:
        """This process is told to end: so is one that it is starting, or is about to."""
        self._is_canceled = True
        if self._starting and not self._successor:
            self._starting.signal(signal.SIGKILL)

    def pass_on(self, number: int) -> None:
        """A signal for the process in charge, where whoever sent it knows this one only."""
        if self._successor and self._keeps_watcher:
            watcher.pass_on(number)

    def close(self) -> None:
        """This process ends: one that it is still starting must not be left alone, or it would take over."""
        self._is_canceled = self._is_closed = True
        if self._starting and not self._successor:
            self._starting.signal(signal.SIGKILL)
        self._busy.acquire(timeout=CLOSE_S)
        self._close_ear()
        with self._leading:
            for leader in self._leaders:
                leader.close()

    def tell_drained(self, left: int) -> None:
        """To whoever asked for the end: how many requests were still open at its time."""
        if self._drainer:
            self._drainer.answer({"left": left})

    def become_watcher(self) -> None:
        """The last thing that a process does which handed over: nothing, or to stay and wait for the new one, where whoever
        started it waits for it. Signals that nobody waited for are passed on."""
        if self._successor and self._keeps_watcher:
            watcher.become(self._successor.pid, self._signals.unheard)

    def failure(self) -> int:
        """The exit status of a process that handed over: the failure of the one that it handed over to, where that has ended
        before it. So whoever waits for the first of them hears of it."""
        if self._successor is None:
            return 0
        return self._successor.failure(0.0 if self._leaders else GONE_S)

    def describe(self) -> dict[str, Any]:
        """What a command of this host may know."""
        counters = self._parts.engine.counters()
        return {
            "data_dir": str(self._data_dir.path),
            "version": __version__,
            "draining": self._is_canceled,
            "requests": counters["requests_open"],
            "clients": counters["connections_open"],
            "connectors": counters["tunnel_connections_open"],
        }

    # ------------------------------------------------------------ a thread of its own
    def _run(self, limit_s: float, drain_s: float | None, asker: Asker | None) -> None:
        result = Result(0, "", "it was interrupted")
        try:
            result = self._hand_over(limit_s, drain_s)
        except UpgradeFailedError as error:
            result = Result(0, "", str(error))
        except Exception as error:
            log.exception("an upgrade failed")
            result = Result(0, "", f"{type(error).__name__}: {error}")
        finally:
            self._starting = None
            if asker:
                asker.answer(result)
            self._busy.release()
        if result.reason:
            log.error("the upgrade failed: this process goes on", reason=result.reason)
        elif self._successor:
            with self._leading:
                self._leaders.append(self._successor.leader)
            self._serve(self._successor.leader)

    def _serve(self, leader: Leader) -> None:
        """Does what it calls for, until it is gone."""
        leader.serve({**self._calls(), "follow": lambda: self._follow(leader.handed())})
        self._parts.presence.leave(leader.tell)
        leader.close()
        with self._leading:
            self._leaders.remove(leader)
            is_last = not self._leaders
        if is_last and not self._is_closed:
            log.info("no process after this one is left")
            self._signals.tell(Order.HANDED_OVER, self._drain_s)
            if self._watched or self._keeps_watcher:
                self._signals.tell(Order.END)  # nobody starts an edge anew before this process has ended

    def _follow(self, descriptor: int) -> int:
        """A process after the one that took over from this one shall decide here."""
        leader = Leader(Channel(socket.socket(fileno=descriptor), Line))
        with self._leading:
            self._leaders.append(leader)

        def serve() -> None:
            self._parts.presence.observe(leader.tell)
            leader.introduce(self._parts.presence.held)
            self._serve(leader)

        threading.Thread(target=serve, name="qanat-leader", daemon=True).start()
        return 0

    def _hand_over(self, limit_s: float, drain_s: float | None) -> Result:
        self._wait_for_connectors()
        command = program()
        log.info("upgrading: the program is started anew", program=command[0])
        handed = handed_down(self._parts.engine, self._parts.listeners, self._parts.local)
        try:
            successor = Successor.start(
                command,
                lock=self._data_dir.lock_file,
                sockets=handed,
                watched=self._watched or self._keeps_watcher,
                older=self._predecessor.older() if self._predecessor is not None else (),
            )
        finally:
            close_copies(handed)
        self._starting = successor
        try:
            if self._is_canceled:
                raise UpgradeFailedError("this process is ending")
            ready = successor.ready(limit_s)
            if self._is_canceled:
                raise UpgradeFailedError("this process is ending")
        except BaseException:
            successor.end()
            raise
        let_go = _LetGo(self._parts, self._data_dir, migrates=ready.migrates)
        try:
            let_go.begin(self.duties)
            if self._predecessor is not None:
                self._predecessor.introduce(successor)
            self._parts.presence.observe(successor.leader.tell)
            successor.go(self._parts.presence.held, limit_s)
        except BaseException:
            successor.end()
            self._parts.presence.leave(successor.leader.tell)
            if not self._is_canceled:
                self.duties = let_go.take_back()
            raise
        self._drain_s = drain_s
        if self._keeps_watcher:
            watcher.adopt_orphans()
        self._manager.hand_over(successor.pid)
        self._successor = successor
        self._signals.at_second = self.pass_on
        if self._predecessor is not None:
            self._predecessor.leave()
        if self._parts.local is not None:
            self._parts.local.leave()
        self._close_ear()
        log.info("the new process is in charge", pid=successor.pid, new_version=ready.version)
        return Result(successor.pid, ready.version)

    def _wait_for_connectors(self) -> None:
        """Until those have come that an upgrade before this one has sent here, or long enough. Of a node whose first connection
        is here that needn't be where nothing is open: then nothing keeps that one from changing place."""
        end, pause = monotonic() + MOVED_S, threading.Event()
        presence, seen_idle = self._parts.presence, set[Key]()
        while monotonic() < end and not self._is_canceled:
            missing = presence.missing(RETURN_S) - seen_idle
            seen_idle |= {node for node in missing if not self._open_requests(node)}
            if not presence.elsewhere and missing <= seen_idle:
                return
            pause.wait(LOOK_S)

    def _open_requests(self, node: Key) -> int:
        tunnel_id, token_id = node
        return self._parts.engine.open_requests(tunnel_id=tunnel_id, token_id=token_id)

    def _calls(self) -> Mapping[str, Callable[..., int]]:
        """What the processes after this one may have done here."""
        running, feed = self._parts.engine, self._parts.feed

        def hear(*, notice: object) -> int:
            feed.hear(structs.convert(notice, Notice))
            return 0

        def stop_accepting_connectors() -> int:
            running.stop_accepting(tunnels_only=True)
            return 0

        def send_connectors_away() -> int:
            running.send_connectors_away(connectors_every_s=CONNECTORS_EVERY_S)
            return 0

        def drain() -> int:
            running.stop_accepting(tunnels_only=False)
            self._signals.tell(Order.HANDED_OVER, self._drain_s)
            return 0

        def end(*, grace_s: float) -> int:
            self._signals.tell(Order.END, grace_s)
            return 0

        of_handover = (hear, stop_accepting_connectors, send_connectors_away, drain, end)
        return {**calls(running), **{each.__name__: each for each in of_handover}}

    # ------------------------------------------------------------ commands of this host
    def _answer(self) -> None:
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        if self._ear.fileno is None:
            return
        poller.register(self._ear.fileno, select.POLLIN)
        while True:
            for ready, _ in poller.poll():
                if ready == self._wake:
                    return
                asker = self._ear.accept()
                if asker is not None:
                    self._take(asker)

    def _take(self, asker: Asker) -> None:
        question = asker.question
        if question.ask == "upgrade":
            self.begin(question.limit_s, question.drain_s, asker)
        elif question.ask != "drain":
            asker.answer(self.describe())
        elif self._is_canceled or self._busy.locked():
            asker.answer({"refused": "it is ending already" if self._is_canceled else "an upgrade is under way"})
        else:
            self._drainer = asker
            self._is_canceled = True
            self._signals.tell(Order.END, question.drain_s)

    def _close_ear(self) -> None:
        os.write(self._waker, b".")
        if self._listener is not None and self._listener is not threading.current_thread():
            self._listener.join(CLOSE_S)
        self._ear.close()


class _LetGo:
    """What one process alone may do, given away: and taken back."""

    def __init__(self, parts: Parts, data_dir: DataDir, *, migrates: bool) -> None:
        self._parts = parts
        self._migrates = migrates
        self._data_dir = data_dir
        self._database = data_dir.database if parts.state.store.file is not None else None
        self._copy: Path | None = None

    def begin(self, duties: Duties) -> None:
        """Ends it here. Before a migration SQLite's file is copied."""
        duties.leave(also_records=self._migrates)
        if self._migrates and self._database is not None:
            copy = self._database.with_name(f"{self._database.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
            sqlite.copy(self._database, copy)
            self._copy = copy
            log.info("the database was copied before its migration", copy=str(copy))

    def take_back(self) -> Duties:
        """Begins it here anew, when the other process is gone; with the database as it was. Where that is another's by now,
        nothing is begun, and requests are served from the tables that are there."""
        store, duties = self._parts.state.store, Duties(self._parts)
        if self._copy is not None and self._database is not None:
            store.close()
            for journal in sqlite.JOURNALS:
                self._database.with_name(self._database.name + journal).unlink(missing_ok=True)
            self._copy.replace(self._database)
            log.warning("the database is put back as it was before its migration")
        try:
            self._be_sole_owner()
        except QanatError as error:
            if error.code in ("store_newer", "store_in_use"):
                log.error("requests are served on, without the control API", reason=error.message, hint=error.hint)
                return duties
            log.error("the database is away; its chores wait for it", reason=error.message)
        store.take_back()
        duties.steer()
        duties.begin()
        try:
            self._parts.feed.load()  # should the other one have written
        except QanatError as error:
            log.error("the tables can't be read again", reason=error.message)
        return duties

    def _be_sole_owner(self) -> None:
        """QanatError `store_in_use`; `store_newer`: the other process had migrated a PostgreSQL database before it failed."""
        if self._parts.state.lease is not None:
            self._parts.state.lease.acquire(wait_s=LIMIT_S)
        if self._database is None:
            self._data_dir.is_current(self._parts.settings.store)
