"""How all tunnels of an account are, worst first: looked for once a second at most, for however many who look, and made anew only
where something has changed."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from math import inf
from threading import Lock
from time import monotonic

from qanat.control import public_hostnames, tunnel_overview
from qanat.dashboard.live import Live
from qanat.health.standing import SWITCHED_OFF, WORST_FIRST, State, standing
from qanat.store import Store

KEPT_S = 1.0
READ_AGAIN_S = 15.0
"""What this process didn't write is seen so much later."""
MOST_KEPT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelLine:
    """A tunnel in a list. `hostnames`: how many lead to it; `ill`: of them, those whose origin doesn't answer."""

    id: str
    name: str
    state: State
    why: str
    since: datetime
    connections: int
    connectors: int
    hostnames: int
    ill: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """`tunnels`: worst first, of one state those that became so last first. `stamp`: another one as soon as anything about the
    account's tunnels may have changed, beyond these lines too."""

    tunnels: tuple[TunnelLine, ...]
    states: dict[State, int]
    hostnames: int
    stamp: tuple[int, int]

    _by_id: dict[str, TunnelLine] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {line.id: line for line in self.tunnels})

    @property
    def worst(self) -> State:
        """Of all."""
        return next((state for state in WORST_FIRST if self.states[state]), "inactive")

    def line(self, tunnel_id: str) -> TunnelLine | None:
        """One tunnel's."""
        return self._by_id.get(tunnel_id)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the store says, at a write of it; `number`: of the reading."""

    number: int
    written: int
    at: float
    rows: list[tunnel_overview.TunnelRow]
    hostnames: dict[str, int]


_Made = tuple[object, TunnelLine]
"""A line, and what it was made of."""


class _Account:
    """What is kept of one account."""

    def __init__(self) -> None:
        self.turn = Lock()
        self.looked_at = -inf
        self.rows: _Rows | None = None
        self.lines: dict[str, _Made] = {}
        self.overview: Overview | None = None


class Overviews:
    """Of each account the last one. Safe for many threads."""

    def __init__(self, store: Store, live: Live, *, probing: bool = True) -> None:
        self._store = store
        self._live = live
        self._probing = probing
        self._lock = Lock()
        self._readings = count(1)
        self._accounts: dict[str, _Account] = {}

    def of(self, account_id: str) -> Overview:
        """As it is now, or was less than a second ago; the same object as long as nothing has changed."""
        with self._lock:
            if len(self._accounts) > MOST_KEPT:
                self._accounts = {}
            kept = self._accounts.setdefault(account_id, _Account())
        with kept.turn:  # who comes meanwhile gets what is being read
            if kept.overview is None or monotonic() - kept.looked_at >= KEPT_S:
                kept.overview = self._look(account_id, kept)
                kept.looked_at = monotonic()
            return kept.overview

    def look_again(self, account_id: str) -> None:
        """Something was changed: who comes next sees it, and not what a look under way finds."""
        with self._lock:
            before = self._accounts.pop(account_id, None)
            if before is not None:
                anew = self._accounts[account_id] = _Account()
                anew.rows, anew.lines, anew.overview = before.rows, before.lines, before.overview

    def _look(self, account_id: str, kept: _Account) -> Overview:
        read = self._rows(account_id, kept)
        health = self._live.health
        changes, changed = health.changes()
        stamp = (read.number, changes)
        if kept.overview is not None and kept.overview.stamp == stamp:
            return kept.overview
        unprobed = health.unprobed()
        made: dict[str, _Made] = {}
        for row in read.rows:
            why = unprobed.get(row.id, "") if self._probing else SWITCHED_OFF
            of = (row, read.hostnames.get(row.id, 0), changed.get(row.id, 0), why)
            before = kept.lines.get(row.id)
            made[row.id] = before if before is not None and before[0] == of else (of, self._line(*of[:2], why))
        kept.lines = made
        lines = sorted((line for _, line in made.values()), key=lambda line: line.name)
        lines.sort(key=lambda line: line.since, reverse=True)
        lines.sort(key=lambda line: WORST_FIRST.index(line.state))
        states = Counter(line.state for line in lines)
        return Overview(
            tuple(lines), {state: states[state] for state in WORST_FIRST}, sum(read.hostnames.values()), stamp
        )

    def _rows(self, account_id: str, kept: _Account) -> _Rows:
        written, before = self._store.newest_write, kept.rows
        if before is None or before.written != written or monotonic() - before.at >= READ_AGAIN_S:
            with self._store.reading() as session:
                rows = tunnel_overview.rows(session, account_id)
                hostnames = public_hostnames.numbers(session, account_id)
            kept.rows = before = _Rows(next(self._readings), written, monotonic(), rows, hostnames)
        return before

    def _line(self, row: tunnel_overview.TunnelRow, hostnames: int, unprobed: str) -> TunnelLine:
        own = [(spot[0], verdict) for spot, verdict in self._live.health.spots_of(row.id).items()]
        found = standing(row, hostnames=hostnames, verdicts=own, unprobed=unprobed)
        well = {name for name, verdict in own if verdict.state == "healthy"}
        return TunnelLine(
            id=row.id,
            name=row.name,
            state=found.state,
            why=found.why,
            since=found.since,
            connections=row.connections,
            connectors=row.connectors,
            hostnames=hostnames,
            ill=tuple(sorted({name for name, verdict in own if verdict.state == "unhealthy"} - well)),
        )
