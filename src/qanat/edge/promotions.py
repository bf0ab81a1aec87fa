"""Runs promotions (nodes/promotion.py): holds and drains by the engine, and writes each step. One thread a promotion, of which a
tunnel has one at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from time import monotonic
from typing import Protocol

import structlog

from qanat.errors import QanatError
from qanat.nodes import mode, promotion
from qanat.nodes.readiness import Facts
from qanat.store import SYSTEM, Notice, NoticeKind, Store
from qanat.store.models import Promotion

LOOK_S = 0.01
"""Between two looks at what is still open."""
MARGIN_S = 0.3
"""Before the engine lets go what it holds, a promotion must have flipped: so long may that take."""
RETRY_S = 0.1
AWAY = ("store_full", "store_unavailable", "store_damaged")

log = structlog.get_logger(__name__)


class Steering(Protocol):
    """Of the engine, what a promotion needs (`_engine.pyi`)."""

    def hold(
        self, *, name: str, hostnames: Sequence[str], tunnel_ids: Sequence[str], timeout_s: float, most: int
    ) -> None:
        """New requests wait."""

    def release(self, *, name: str) -> int:
        """They go on; how many waited."""

    def open_requests(self, *, tunnel_id: str, token_id: str | None = None) -> int:
        """WebSockets included."""

    def open_websockets(self, *, tunnel_id: str, token_id: str | None = None) -> int:
        """Of these."""

    def cut(self, *, tunnel_id: str, token_id: str | None, only_websockets: bool) -> int:
        """Ends what is open."""


class _UndoneError(Exception):
    """Why it is."""


@dataclass(slots=True)
class _Run:
    """A promotion under way."""

    row: Promotion
    woken: Event = field(default_factory=Event)
    is_held: bool = False


class Promotions:
    """Hears of promotions that are wanted, by the store's notices. `put`: hands the engine a tunnel's row as it is now.
    `facts`: how a node is."""

    def __init__(
        self,
        store: Store,
        engine: Steering,
        *,
        put: Callable[[str], None],
        facts: Callable[[str, str], Facts],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._engine = engine
        self._put = put
        self._facts = facts
        self._clock = clock
        self._lock = Lock()
        self._runs: dict[str, _Run] = {}
        self._stopping = False
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Listens from now on."""
        self._unsubscribe = self._store.notices.subscribe(self.hear)

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """What hasn't flipped is undone; what has is finished."""
        self._unsubscribe()
        with self._lock:
            self._stopping = True
            runs = list(self._runs.values())
        for run in runs:
            run.woken.set()
        end = self._clock() + timeout_s
        while self._runs and self._clock() < end:
            Event().wait(LOOK_S)

    def settled(self, *, timeout_s: float) -> bool:
        """Waits until none is under way."""
        end = self._clock() + timeout_s
        while self._runs and self._clock() < end:
            Event().wait(LOOK_S)
        return not self._runs

    def hear(self, notice: Notice) -> None:
        """A promotion was wanted, or something of one has changed."""
        if notice.kind is not NoticeKind.PROMOTION or notice.tunnel_id is None:
            return
        with self._store.reading() as session:
            row = mode.under_way(session, notice.tunnel_id)
        if row is None:
            return
        with self._lock:
            run = self._runs.get(row.id)
        if run is not None:
            run.woken.set()
        elif row.state == "wanted":
            self._begin(row)

    def settle(self) -> None:
        """Now and then: what is under way and run by nobody, since the store was away when it should have been written."""
        with self._store.reading() as session:
            ids = promotion.unfinished(session)
        for promotion_id in ids:
            with self._lock:
                is_run = promotion_id in self._runs
            if is_run:
                continue
            with self._store.reading() as session:
                row = session.get(Promotion, promotion_id)
            if row is not None and row.state == "wanted":
                self._begin(row)
            elif row is not None:
                self._recover(row, "it was interrupted")
                self._put(row.tunnel_id)

    def _recover(self, row: Promotion, reason: str) -> None:
        with self._store.writing(SYSTEM) as write:
            promotion.recover(write, write.session.get_one(Promotion, row.id), reason)

    def _begin(self, row: Promotion) -> None:
        run = _Run(row)
        with self._lock:
            if row.id in self._runs or self._stopping:
                return
            self._runs[row.id] = run
        Thread(target=self._run, args=(run,), name="qanat-promotion", daemon=True).start()

    def _run(self, run: _Run) -> None:
        row = run.row
        told = {"tunnel": row.tunnel_id, "promotion": row.id, "kind": row.kind}
        log.info("promotion begins", to=row.to_token_id, reason=row.reason, **told)
        try:
            if row.kind == "planned":
                self._planned(run)
            else:
                self._at_once(run)
        except _UndoneError as undone:
            self._undo(run, str(undone))
            log.warning("promotion undone", reason=str(undone), **told)
        except QanatError as error:
            # what could not be written is settled when it can
            self._undo(run, str(error))
            log.error("promotion interrupted", reason=str(error), **told)
        except Exception:
            self._let_go(run)
            log.exception("a promotion failed", **told)
        else:
            log.info("promotion done", **told)
        finally:
            with self._lock:
                self._runs.pop(row.id, None)

    def _planned(self, run: _Run) -> None:
        row = run.row
        end = self._clock() + row.hold_s
        last = end - min(MARGIN_S, row.hold_s / 4)
        run.is_held = True
        self._engine.hold(
            name=row.id, hostnames=(), tunnel_ids=(row.tunnel_id,), timeout_s=row.hold_s, most=row.most_held
        )
        self._step(run, "held")
        self._step(run, "draining")
        self._drain(run, min(last, self._clock() + row.drain_s))
        if row.has_before:
            self._step(run, "before")
            error = self._paused(run, "before", last)
            if error:
                raise _UndoneError(f"the command before the flip: {error}")
        self._check_reached(row)
        self._flip(run, last)
        cut = self._take_effect(row)
        if row.has_after:
            self._step(run, "after")
            self._paused(run, "after", last)
        self._finish(run, self._let_go(run), cut)

    def _at_once(self, run: _Run) -> None:
        self._flip(run, self._clock() + promotion.LONGEST_HOLD_S)
        self._finish(run, 0, self._take_effect(run.row))

    def _drain(self, run: _Run, until: float) -> None:
        """Until nothing is open on the old node but WebSockets, which have no end of their own, or the time is over."""
        row = run.row
        while self._clock() < until:
            open_now = self._engine.open_requests(tunnel_id=row.tunnel_id, token_id=row.from_token_id)
            sockets = self._engine.open_websockets(tunnel_id=row.tunnel_id, token_id=row.from_token_id)
            if open_now <= sockets:
                return
            self._check_wanted(run)
            run.woken.wait(LOOK_S)
            run.woken.clear()

    def _paused(self, run: _Run, state: str, until: float) -> str:
        """What came of the caller's commands; "" when they went well."""
        while (left := until - self._clock()) > 0:
            self._check_wanted(run, undo=state == "before")
            if run.row.step_done == state:
                return run.row.step_error
            run.woken.wait(left)
            run.woken.clear()
        error = f"nothing was heard of it within the {run.row.hold_s:g} s for which requests are held"
        if state == "after":
            with self._store.recording() as write:
                row = write.session.get_one(Promotion, run.row.id)
                row.step_error = row.step_error or error
        return error

    def _check_wanted(self, run: _Run, *, undo: bool = True) -> None:
        with self._store.reading() as session:
            run.row = session.get_one(Promotion, run.row.id)
        if undo and run.row.undo_reason:
            raise _UndoneError(run.row.undo_reason)
        if undo and self._stopping:
            raise _UndoneError("the edge stops")

    def _check_reached(self, row: Promotion) -> None:
        if not self._facts(row.tunnel_id, row.to_token_id).usable:
            raise _UndoneError("the node that was to be promoted is not reached any more")

    def _step(self, run: _Run, to: promotion.State) -> None:
        self._check_wanted(run, undo=to in promotion.BEFORE_FLIP)
        with self._store.recording() as write:
            promotion.step(write, write.session.get_one(Promotion, run.row.id), to)

    def _flip(self, run: _Run, last: float) -> None:
        """Tried again while the store is away, as long as what is held is held."""
        while True:
            if self._clock() > last:
                raise _UndoneError(
                    f"it did not come to the flip within the {run.row.hold_s:g} s for which requests are held"
                )
            try:
                self._check_wanted(run)
                if run.row.state == "flipped":
                    return
                with self._store.writing(SYSTEM) as write:
                    promotion.flip(write, write.session.get_one(Promotion, run.row.id))
                return
            except QanatError as error:
                if error.code not in AWAY:
                    raise _UndoneError(str(error)) from error
                run.woken.wait(RETRY_S)

    def _take_effect(self, row: Promotion) -> int:
        """The engine has the new active before anybody is told that it is; how much was cut that was still open on the
        old one."""
        while True:
            try:
                self._put(row.tunnel_id)
                break
            except QanatError as error:
                if error.code not in AWAY or self._stopping:
                    raise
                Event().wait(RETRY_S)
        if row.from_token_id is None:
            return 0
        return self._engine.cut(tunnel_id=row.tunnel_id, token_id=row.from_token_id, only_websockets=False)

    def _finish(self, run: _Run, held: int, cut: int) -> None:
        with self._store.writing(SYSTEM) as write:
            row = write.session.get_one(Promotion, run.row.id)
            promotion.finish(write, row, f"{held} requests had waited, {cut} were cut", held=held, cut=cut)

    def _let_go(self, run: _Run) -> int:
        if not run.is_held:
            return 0
        run.is_held = False
        return self._engine.release(name=run.row.id)

    def _undo(self, run: _Run, reason: str) -> None:
        held = self._let_go(run)
        try:
            with self._store.writing(SYSTEM) as write:
                row = write.session.get_one(Promotion, run.row.id)
                if row.state in promotion.BEFORE_FLIP:
                    promotion.undo(write, row, reason, held=held)
                else:
                    promotion.recover(write, row, reason)
        except QanatError as error:
            log.error("a promotion's end can't be written yet", promotion=run.row.id, reason=error.message)


def recover(store: Store) -> int:
    """At the start, before anything is served: what an earlier run left unfinished is undone or finished; how many."""
    with store.reading() as session:
        ids = promotion.unfinished(session)
    for promotion_id in ids:
        with store.writing(SYSTEM) as write:
            promotion.recover(write, write.session.get_one(Promotion, promotion_id), "the edge was started anew")
    return len(ids)
