"""How all tunnels of an account are, worst first: read once a second at most, for however many who look."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from time import monotonic

from qanat.control import public_hostnames, tunnel_overview
from qanat.dashboard.live import Live
from qanat.health.standing import WORST_FIRST, State, standing
from qanat.health.verdicts import Verdict
from qanat.store import Store

KEPT_S = 1.0
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
    """`tunnels`: worst first, of one state those that became so last first."""

    tunnels: tuple[TunnelLine, ...]
    states: dict[State, int]
    hostnames: int

    @property
    def worst(self) -> State:
        """Of all."""
        return next((state for state in WORST_FIRST if self.states[state]), "inactive")

    def line(self, tunnel_id: str) -> TunnelLine | None:
        """One tunnel's."""
        return next((each for each in self.tunnels if each.id == tunnel_id), None)


class Overviews:
    """Of each account the last one. Safe for many threads."""

    def __init__(self, store: Store, live: Live, *, probing: bool = True) -> None:
        self._store = store
        self._live = live
        self._probing = probing
        self._lock = Lock()
        self._turns: dict[str, Lock] = {}
        self._kept: dict[str, tuple[float, Overview]] = {}

    def of(self, account_id: str) -> Overview:
        """As it is now, or was less than a second ago."""
        with self._lock:
            if len(self._turns) > MOST_KEPT:
                self._turns, self._kept = {}, {}
            turn = self._turns.setdefault(account_id, Lock())
        with turn:  # who comes meanwhile gets what is being read
            kept = self._kept.get(account_id)
            if kept is not None and monotonic() - kept[0] < KEPT_S:
                return kept[1]
            found = self._read(account_id)
            self._kept[account_id] = (monotonic(), found)
            return found

    def forget(self, account_id: str) -> None:
        """Something was changed: who looks next sees it."""
        self._kept.pop(account_id, None)

    def _read(self, account_id: str) -> Overview:
        with self._store.reading() as session:
            rows = tunnel_overview.rows(session, account_id)
            hostnames = public_hostnames.numbers(session, account_id)
        verdicts: dict[str, list[tuple[str, Verdict]]] = {}
        for (name, tunnel_id, _), verdict in self._live.health.spots().items():
            verdicts.setdefault(tunnel_id, []).append((name, verdict))
        unprobed = self._live.health.unprobed()
        lines = []
        for row in rows:
            own = verdicts.get(row.id, [])
            found = standing(
                status=row.status,
                since=row.since,
                reason=row.reason,
                hostnames=hostnames.get(row.id, 0),
                verdicts=own,
                unprobed=unprobed.get(row.id, "") if self._probing else "probes are switched off",
            )
            well = {name for name, verdict in own if verdict.state == "healthy"}
            ill = tuple(sorted({name for name, verdict in own if verdict.state == "unhealthy"} - well))
            lines.append(
                TunnelLine(
                    id=row.id,
                    name=row.name,
                    state=found.state,
                    why=found.why,
                    since=found.since,
                    connections=row.connections,
                    connectors=row.connectors,
                    hostnames=hostnames.get(row.id, 0),
                    ill=ill,
                )
            )
        lines.sort(key=lambda line: line.name)
        lines.sort(key=lambda line: line.since, reverse=True)
        lines.sort(key=lambda line: WORST_FIRST.index(line.state))
        states = Counter(line.state for line in lines)
        return Overview(tuple(lines), {state: states[state] for state in WORST_FIRST}, sum(hostnames.values()))
