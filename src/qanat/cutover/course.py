"""One cutover under way on our own edge: look, decide (machine.py), and write one step; again and again until it is over.

All that a course remembers by itself is how long ago it began to look at the step that is on, by a clock that can't jump, and
what its probes were answered: another course, of an edge that was started anew, takes up from the row."""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import msgspec
import structlog

from qanat.control import tunnels
from qanat.cutover import cutovers, facts, records
from qanat.cutover.answers import Answer, judge
from qanat.cutover.comparison import compare
from qanat.cutover.edge import CutoverEdge
from qanat.cutover.gates import Gate, is_open, learnt, shut
from qanat.cutover.inspection import inspect
from qanat.cutover.machine import ACTIVE, MOVED, Act, Next, Situation, State, decide
from qanat.cutover.plan import Plan, representative
from qanat.cutover.rule import Verdict, Watched, watch
from qanat.cutover.watching import TargetProbes, patiences, took_s
from qanat.errors import QanatError
from qanat.store import SYSTEM, Store, Write
from qanat.store.models import Cutover
from qanat.store.reach import EVERYTHING

BASELINE = timedelta(seconds=60)
CONNECTORS_BACK_S = 15.0
"""After an edge's restart; they come within a second or two as a rule."""

log = structlog.get_logger(__name__)


class Course:
    """A cutover of this id. `now`: a clock that only rises, in seconds."""

    def __init__(
        self, store: Store, edge: CutoverEdge, cutover_id: str, *, now: Callable[[], float] = monotonic
    ) -> None:
        self._store = store
        self._edge = edge
        self._id = cutover_id
        self._now = now
        self._on: tuple[str, int] | None = None
        self._entered = now()
        self._since: datetime = store.clock()
        self._gates: list[Gate] | None = None
        self._active: str | None = None
        self._is_held = False
        self._is_quiet = False
        self._was_cut = False
        self._was_told = ""
        self._probes = TargetProbes(now)

    def tick(self) -> bool:
        """One look and what follows from it; whether the cutover is over. QanatError: the database is away, and nothing was
        done: the next look finds the same."""
        with self._store.reading() as session:
            row = session.get(Cutover, self._id)
            changed = cutovers.changed(session, row) if row is not None and row.state in ACTIVE else {}
            self._active = facts.active_node(session, row.to_tunnel_id) if row is not None else None
        if row is None or row.state not in ACTIVE:
            self._release()
            return True
        plan = cutovers.plan_of(row)
        if self._is_taking_up(row) and not changed:
            return False
        self._notice_step(row)
        seen = self._look(row, plan, changed)
        following = decide(seen)
        if following.act is Act.FINISH and plan.websockets == "cut" and not self._was_cut:
            return False
        self._do(row, plan, following, seen.verdict)
        return False

    def _is_taking_up(self, row: Cutover) -> bool:
        """Whether connectors are still to come back to an edge that was started anew, in the middle of a cutover: what failed for
        want of them says nothing of the target."""
        if self._on is not None or row.state not in MOVED:
            return False
        if self._edge.usable(row.to_tunnel_id) and (row.state != State.MOVING or self._edge.usable(row.from_tunnel_id)):
            return False
        return self._now() - self._entered < CONNECTORS_BACK_S

    def _notice_step(self, row: Cutover) -> None:
        if self._on != (row.state, row.step):
            self._on = (row.state, row.step)
            # asked now, so that what passed before doesn't count
            self._edge.note_counts()
            self._entered, self._since = self._now(), self._store.clock()
            self._probes.forget()
            self._was_told = ""

    # ------------------------------------------------------------ looking

    def _look(self, row: Cutover, plan: Plan, changed: dict[str, str]) -> Situation:
        state = State(row.state)
        elapsed_s = self._now() - self._entered
        gates = shut_by = None
        verdict = None
        if not changed:
            if state is State.CHECKING and not row.is_paused:
                self._gates, shut_by = self._ask_gates(row, plan)
                gates = not shut_by
            elif state is not State.CHECKING:
                verdict = self._watch(row, plan, elapsed_s)
        if state is State.HOLDING and self._is_held and not self._is_quiet:
            self._wait_for_quiet(row, plan, elapsed_s)
        if state is State.SETTLING and plan.websockets == "cut" and not self._was_cut and elapsed_s >= plan.drain_s:
            self._cut(row)
        return Situation(
            state=state,
            step=row.step,
            steps=plan.steps,
            hold=plan.hold,
            hold_s=plan.hold_s,
            is_paused=row.is_paused,
            is_resumed=row.is_resumed,
            is_held=self._is_held,
            elapsed_s=elapsed_s,
            gates=gates,
            shut=shut_by or "",
            verdict=verdict,
            only_reports=plan.watch == "report",
            can_return=state not in MOVED or self._edge.usable(row.from_tunnel_id) > 0,
            changed="; ".join(f"{hostname} {what}" for hostname, what in sorted(changed.items())[:5]),
        )

    def _ask_gates(self, row: Cutover, plan: Plan) -> tuple[list[Gate], str]:
        try:
            with self._store.reading() as session:
                target = tunnels.get(session, row.account_id, row.to_tunnel_id)
                places = [
                    records.find(session, row.account_id, hostname, reach=EVERYTHING) for hostname in row.hostnames
                ]
        except QanatError as error:
            if error.code not in ("tunnel_unknown", "cutover_hostname_unknown"):
                raise
            return [Gate(name="target", passed=False, says=error.message)], f"target: {error.message}"
        gates = inspect(self._store, self._edge, plan, target, places)
        return gates, "" if is_open(gates) else shut(gates)

    def _watch(self, row: Cutover, plan: Plan, elapsed_s: float) -> Verdict:
        sources = learnt(row.gates)
        patience = patiences(row.hostnames, plan.check_of, sources, took_s(row.gates))
        self._probes.look(
            patience, lambda hostname, timeout_s: self._failure(row, plan, hostname, sources.get(hostname), timeout_s)
        )
        compared = compare(self._edge, row, patience, since=self._since)
        seen = Watched(
            elapsed_s=elapsed_s,
            new=compared.new,
            old=compared.old,
            failed_probes=dict(self._probes.failed),
            is_connected=self._edge.usable(row.to_tunnel_id) > 0,
        )
        return watch(plan.rule, seen)

    def _failure(self, row: Cutover, plan: Plan, hostname: str, source: Answer | None, timeout_s: float) -> str:
        check = plan.check_of(hostname)
        answer = self._edge.ask(
            tunnel_id=row.to_tunnel_id,
            token_id=self._active,
            hostname=representative(hostname),
            check=check,
            timeout_s=timeout_s,
        )
        judged = judge(check, answer, source)
        return "" if judged.passed else judged.why

    def _wait_for_quiet(self, row: Cutover, plan: Plan, elapsed_s: float) -> None:
        left = self._edge.open_requests(row.from_tunnel_id)
        if left and elapsed_s < min(plan.drain_s, plan.hold_s / 2):
            return
        says = (
            f"new requests wait; {left} are still open on the old tunnel" if left else "new requests wait, none is open"
        )
        if self._note(row, "held", says, {"open": left}):
            self._is_quiet = True

    def _cut(self, row: Cutover) -> None:
        ended = self._edge.cut_websockets(row.from_tunnel_id)
        self._was_cut = self._note(row, "cut", f"{ended} WebSockets on the old tunnel were cut", {"cut": ended})

    # ------------------------------------------------------------ doing

    def _do(self, row: Cutover, plan: Plan, following: Next, verdict: Verdict | None) -> None:
        numbers = verdict.numbers if verdict is not None else None
        why = following.why
        match following.act:
            case Act.WAIT:
                if verdict is not None and verdict.kind == "broken" and self._was_told != why:
                    self._was_told = why  # once, although it is seen at every look
                    self._note(row, "stays", why, verdict.numbers)
            case Act.REFUSE:
                self._write(row, lambda write, now: cutovers.refuse(write, now, self._gates or [], why))
            case Act.HOLD:
                self._hold(row, plan)
            case Act.SHIFT:
                self._write(row, lambda write, now: cutovers.shift(write, now, following.step, why, numbers))
            case Act.REPOINT:
                self._write(row, lambda write, now: cutovers.repoint(write, now, why, numbers))
                self._release()
            case Act.FINISH:
                self._write(row, lambda write, now: cutovers.finish(write, now, why, numbers))
            case Act.ROLL_BACK:
                log.warning("a cutover is taken back", cutover=row.id, reason=why)
                self._write(row, lambda write, now: cutovers.roll_back(write, now, why, numbers))
                self._release()
            case Act.REPORT:
                log.warning(
                    "a record was repointed to a tunnel that is broken now", hostname=row.hostnames[0], reason=why
                )
                self._write(row, lambda write, now: cutovers.report(write, now, why, numbers))
            case Act.STOP:
                log.warning("a cutover stops: others changed its records", cutover=row.id, reason=why)
                self._write(row, lambda write, now: cutovers.stop(write, now, why))
                self._release()

    def _hold(self, row: Cutover, plan: Plan) -> None:
        if self._write(row, lambda write, now: cutovers.hold(write, now, self._gates or [])):
            self._edge.hold(name=row.id, hostnames=row.hostnames, timeout_s=plan.hold_s)
            self._is_held = True

    def _release(self) -> None:
        if self._is_held:
            self._is_held = False
            waited = self._edge.release(name=self._id)
            log.info("held requests go on", cutover=self._id, waited=waited)

    def _note(self, row: Cutover, event: str, says: str, numbers: dict[str, Any] | None = None) -> bool:
        return self._write(row, lambda write, now: cutovers.note(write, now, event, says, numbers))

    def _write(self, seen: Cutover, act: Callable[[Write, Cutover], None]) -> bool:
        """One step, if the cutover is still as it was looked at; whether it was."""
        with self._store.writing(SYSTEM) as write:
            row = cutovers.at_version(write.session, seen.id, seen.version)
            if row is None:
                write.undo()
                return False
            if row.state == State.CHECKING and self._gates is not None:
                row.gates = msgspec.to_builtins(self._gates)
                row.baseline = self._baseline(row, cutovers.plan_of(row))
            act(write, row)
        seen.version = row.version  # for a second step of the same look
        return True

    def _baseline(self, row: Cutover, plan: Plan) -> dict[str, Any]:
        since = self._store.clock() - BASELINE
        patience = patiences(row.hostnames, plan.check_of, learnt(row.gates), took_s(row.gates))
        return {
            hostname: msgspec.to_builtins(
                self._edge.counts(hostname=hostname, tunnel_id=row.from_tunnel_id, since=since, long_s=long_s)
            )
            for hostname, long_s in patience.items()
        }

    def close(self) -> None:
        """Nobody looks any more."""
        self._probes.close()
