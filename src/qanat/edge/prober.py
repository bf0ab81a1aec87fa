"""Asks every origin again and again, through each node, and tells `Health`: a thread with a schedule.

How much it asks is bounded: so many probes a second in all (with more to ask, everything is asked less often), and few at
once of one tunnel, so that an origin that doesn't answer delays nobody else's probes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from queue import Empty, SimpleQueue
from random import Random
from threading import Event, Thread
from time import monotonic

import structlog
from sqlalchemy import delete

from qanat.edge.probed import Asked, read_asked
from qanat.errors import QanatError
from qanat.health.engine import ProbeAnswered
from qanat.health.health import Health, Spot
from qanat.health.probing import Probes, Question
from qanat.health.questions import Check, judge, judge_connection
from qanat.health.verdicts import Verdict
from qanat.store import Notice, NoticeKind, Store
from qanat.store.models import HealthState

AT_ONCE = 128
AT_ONCE_OF_TUNNEL = 8
TICK_S = 0.1
LOOK_S = 1.0
REREAD_S = 60.0
STALE_S = 0.5
SAVE_S = 30.0
FIRST_S = 1.0
"""A new spot is asked within this time."""
JITTER = 0.1
PUT_OFF_S = 0.5
MOST_SAVED = 10_000
HEEDED = (
    NoticeKind.ROUTES,
    NoticeKind.ZONE,
    NoticeKind.TUNNEL_DELETED,
    NoticeKind.PROBES,
    NoticeKind.CONFIGURATION,
)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Schedule:
    """What is due when. Time is given, and nothing is sent here. `per_second`: of all probes; `random` spreads them."""

    per_second: float
    random: Random = field(default_factory=Random)
    _due: list[tuple[float, Spot]] = field(default_factory=list)
    _checks: dict[Spot, Check] = field(default_factory=dict)

    def set(self, wanted: dict[Spot, Check], now: float) -> None:
        """From now on these are asked; soon the new ones, and those to be asked in another way than before."""
        self._due = [(at, spot) for at, spot in self._due if spot in wanted and wanted[spot] == self._checks.get(spot)]
        there = {spot for _, spot in self._due}
        spread = max(FIRST_S, len(wanted.keys() - there) / self.per_second)
        for spot, check in wanted.items():
            if spot not in there:
                self._due.append((now + self.random.uniform(0.0, min(spread, max(FIRST_S, check.interval_s))), spot))
        heapify(self._due)
        self._checks = wanted

    def take(self, now: float, room: Callable[[Spot], bool], most: int) -> Iterator[tuple[Spot, Check]]:
        """Up to `most` that are due, one by one: `room` is asked when those before are on their way. One without is put off."""
        while self._due and self._due[0][0] <= now and most > 0:
            _, spot = heappop(self._due)
            check = self._checks[spot]
            most -= 1  # also for those without room: a long row of them must not be walked at every tick
            if room(spot):
                heappush(self._due, (now + self.interval(check) * self.random.uniform(1 - JITTER, 1 + JITTER), spot))
                yield spot, check
            else:
                heappush(self._due, (now + PUT_OFF_S * self.random.uniform(1.0, 2.0), spot))

    def next(self) -> float | None:
        """When the next one is due; None where nobody is asked."""
        return self._due[0][0] if self._due else None

    def interval(self, check: Check) -> float:
        """As it was asked for, or longer, so that all together are no more than `per_second`."""
        return max(check.interval_s, len(self._checks) / self.per_second)


class Prober:
    """A thread from `start` to `stop`. `route_of`: which tunnel a hostname leads to now, for those that a wildcard covers."""

    def __init__(
        self,
        store: Store,
        probes: Probes,
        health: Health,
        *,
        route_of: Callable[[str], str | None],
        enabled: bool = True,
        per_second: float = 100.0,
    ) -> None:
        self._store = store
        self._probes = probes
        self._health = health
        self._route_of = route_of
        self._enabled = enabled
        self._per_second = per_second
        self._schedule = Schedule(per_second)
        self._asked: list[Asked] = []
        self._connects: set[tuple[str, str]] = set()
        self._connected: set[str] = set()
        self._answers: SimpleQueue[tuple[Spot, Check, ProbeAnswered]] = SimpleQueue()
        self._under_way: Counter[str] = Counter()
        self._asking: set[Spot] = set()
        self._allowed = 0.0
        self._is_stale = Event()
        self._is_stale.set()
        self._woken = Event()
        self._nodes: set[tuple[str, str]] = set()
        self._saved: dict[Spot, Verdict] = {}
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="qanat-prober", daemon=True)

    def start(self) -> Callable[[], None]:
        """Begins, and listens for changes of routes; returns what ends the listening."""
        self._restore()
        unsubscribe = self._store.notices.subscribe(self.hear)
        self._thread.start()
        return unsubscribe

    def stop(self) -> None:
        """Writes what is known, and ends."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def hear(self, notice: Notice) -> None:
        """What may change who is asked."""
        if notice.kind in HEEDED:
            self._is_stale.set()
            self._woken.set()

    def _run(self) -> None:
        before = monotonic()
        due = {self._look: before, self._save: before + SAVE_S, self._read: before}
        every = {self._look: LOOK_S, self._save: SAVE_S, self._read: REREAD_S}
        read_at = 0.0
        while not self._stopping.wait(TICK_S):  # what comes within it is done together
            self._woken.wait(self._idle_s(due, read_at))
            self._woken.clear()
            now = monotonic()
            if self._is_stale.is_set() and now - read_at >= STALE_S:
                due[self._read] = now
            for task, at in due.items():
                if now >= at:
                    due[task] = now + every[task]
                    if task == self._read:
                        read_at = now
                    self._quietly(task)
            self._quietly(self._take_answers)
            if self._enabled:
                self._quietly(lambda past=now - before: self._send(past))  # type: ignore[misc]
            before = now
        self._quietly(self._save)

    def _idle_s(self, due: Mapping[Callable[[], None], float], read_at: float) -> float:
        """How long there is nothing to do, unless it is woken: for an answer, a change of who is asked, or its end."""
        until = min(due.values())
        if self._is_stale.is_set():
            until = min(until, read_at + STALE_S)
        asks_at = self._schedule.next() if self._enabled else None
        return max(0.0, min(until, until if asks_at is None else asks_at) - monotonic())

    def _quietly(self, task: Callable[[], None]) -> None:
        try:
            task()
        except QanatError as error:  # the store is away: what was read last holds
            log.error("the prober waits", reason=error.message)
        except Exception:
            log.exception("the prober failed")

    def _read(self) -> None:
        self._is_stale.clear()
        connected = {tunnel_id for tunnel_id, _ in self._health.nodes()}
        with self._store.reading() as session:
            asked = read_asked(session, self._health.services, connected=connected, route_of=self._route_of)
        self._connected = connected
        self._connects = {(each.hostname, each.tunnel_id) for each in asked if each.connects}
        self._health.cannot_probe(
            {(each.hostname, each.tunnel_id): each.not_probed for each in asked if each.not_probed}
        )
        self._asked = [each for each in asked if not each.not_probed]
        self._reschedule()

    def _reschedule(self) -> None:
        self._nodes = self._health.nodes()
        nodes: dict[str, list[str]] = {}
        for tunnel_id, token_id in self._nodes:
            nodes.setdefault(tunnel_id, []).append(token_id)
        wanted = {
            (asked.hostname, asked.tunnel_id, token_id): asked.check
            for asked in self._asked
            if asked.check.enabled
            for token_id in nodes.get(asked.tunnel_id, ())
        }
        self._schedule.set(wanted, monotonic())
        known = {(asked.hostname, asked.tunnel_id) for asked in self._asked if asked.check.enabled}
        self._health.keep(spot for spot in self._health.spots() if spot[:2] in known)

    def _look(self) -> None:
        self._health.look()
        nodes = self._health.nodes()
        if nodes != self._nodes:
            self._reschedule()
        if not {tunnel_id for tunnel_id, _ in nodes} <= self._connected:
            self._is_stale.set()  # another tunnel's rules are to be known

    def _send(self, past_s: float) -> None:
        self._allowed = min(self._allowed + past_s * self._per_second, max(1.0, self._per_second * 2 * TICK_S))
        most = min(int(self._allowed), AT_ONCE - len(self._asking))
        for spot, check in self._schedule.take(monotonic(), self._has_room, most):
            self._allowed -= 1
            self._ask(spot, check)

    def _has_room(self, spot: Spot) -> bool:
        return spot not in self._asking and self._under_way[spot[1]] < AT_ONCE_OF_TUNNEL

    def _ask(self, spot: Spot, check: Check) -> None:
        hostname, tunnel_id, token_id = spot
        connects = (hostname, tunnel_id) in self._connects
        question = Question(
            tunnel_id=tunnel_id,
            token_id=token_id,
            hostname=hostname,
            path=check.path,
            method="GET" if connects else check.method,
            headers=() if connects else tuple(check.send.items()),
            timeout_s=check.timeout_s,
            is_websocket=connects,
        )
        self._asking.add(spot)
        self._under_way[tunnel_id] += 1
        try:
            self._probes.send(question, lambda answer: self._answered(spot, check, answer))
        except QanatError as error:
            self._done(spot)
            log.warning("a probe can't be sent", hostname=hostname, reason=error.message)

    def _answered(self, spot: Spot, check: Check, answer: ProbeAnswered) -> None:
        self._answers.put((spot, check, answer))
        self._woken.set()

    def _done(self, spot: Spot) -> None:
        self._asking.discard(spot)
        self._under_way[spot[1]] -= 1
        if self._under_way[spot[1]] <= 0:
            del self._under_way[spot[1]]

    def _take_answers(self) -> None:
        while True:
            try:
                spot, check, answer = self._answers.get_nowait()
            except Empty:
                return
            self._done(spot)
            # Neither says anything about the origin: there was no room, or its connections went meanwhile.
            if answer.cause not in ("probe_busy", "no_connection"):
                connects = spot[:2] in self._connects
                self._health.answered(spot, check, judge_connection(answer) if connects else judge(check, answer))

    def _restore(self) -> None:
        with self._store.reading() as session:
            rows = session.query(HealthState).limit(MOST_SAVED).all()
        known = [
            ((row.hostname, row.tunnel_id, row.token_id), Verdict(state=row.state, since=row.since, why=row.why))  # type: ignore[arg-type]
            for row in rows
            if row.state in ("healthy", "unhealthy")
        ]
        self._health.restore(known)
        self._saved = dict(known)

    def _save(self) -> None:
        now = dict(list(self._health.spots().items())[:MOST_SAVED])
        changed = [spot for spot, verdict in now.items() if not _is_same(self._saved.get(spot), verdict)]
        gone = list(self._saved.keys() - now.keys())
        if not changed and not gone:
            return
        with self._store.recording() as write:
            for spot in [*changed, *gone]:
                write.session.execute(delete(HealthState).where(_is_row(spot)))
            write.session.add_all(_rows((spot, now[spot]) for spot in changed))
        self._saved = now


def _is_same(before: Verdict | None, now: Verdict) -> bool:
    return before is not None and (before.state, before.since) == (now.state, now.since)


def _is_row(spot: Spot):  # type: ignore[no-untyped-def]  # SQLAlchemy's expression
    hostname, tunnel_id, token_id = spot
    return (
        (HealthState.hostname == hostname) & (HealthState.tunnel_id == tunnel_id) & (HealthState.token_id == token_id)
    )


def _rows(verdicts: Iterable[tuple[Spot, Verdict]]) -> Iterable[HealthState]:
    for (hostname, tunnel_id, token_id), verdict in verdicts:
        yield HealthState(
            hostname=hostname,
            tunnel_id=tunnel_id,
            token_id=token_id,
            state=verdict.state,
            why=verdict.why[:1000].replace("\x00", ""),
            since=verdict.since,
        )
