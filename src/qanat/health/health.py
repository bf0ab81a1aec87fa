"""How nodes are: their connections, and whether the origins behind them answer. The one place that others ask."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

import structlog

from qanat.health.engine import Traffic
from qanat.health.questions import Check, Judgment
from qanat.health.rates import Key, Meter, Rates, failed
from qanat.health.services import Services
from qanat.health.verdicts import HealthState, Met, Verdict, after, after_requests

WINDOW_S = 10.0
"""What requests met within it counts."""

log = structlog.get_logger(__name__)

Spot = tuple[str, str, str]
"""A hostname, a tunnel, a node ("" is the tunnel's own secret)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHealth:
    """How a node is. `connections`: registered, those that drain left out; `suspect`: of them, those whose peer doesn't
    acknowledge."""

    state: HealthState
    why: str
    since: datetime
    connections: int
    suspect: int

    @property
    def is_healthy(self) -> bool:
        """Connections that carry requests, and an origin that answers."""
        return self.state == "healthy" and self.connections > self.suspect


@dataclass(slots=True)
class _Link:
    tunnel_id: str
    token_id: str
    suspect: bool = False


class Health:
    """Of one running edge. Any thread may ask and tell."""

    def __init__(self, meter: Meter, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._meter = meter
        self._clock = clock
        self._began = clock()
        self._lock = Lock()
        self._verdicts: dict[str, dict[Spot, Verdict]] = {}
        self._changes = 0
        self._changed: dict[str, int] = {}
        self._links: dict[str, _Link] = {}
        self._lost_at: dict[tuple[str, str], datetime] = {}
        self._listeners: tuple[Callable[[str, str], None], ...] = ()
        self._before: dict[Key, tuple[datetime, Traffic]] = {}
        self._unprobed: dict[tuple[str, str], str] = {}
        self.services = Services()
        """How the services behind hostnames are asked; the prober reads them."""

    # asking

    def of(self, tunnel_id: str, token_id: str | None = None, hostname: str | None = None) -> NodeHealth:
        """A node (None: all of the tunnel's), for one hostname or for all: the worst of its hostnames that is known; of several
        nodes the best."""
        with self._lock:
            links = [
                link
                for link in self._links.values()
                if link.tunnel_id == tunnel_id and token_id in (None, link.token_id)
            ]
            found = [
                (spot[2], verdict)
                for spot, verdict in self._verdicts.get(tunnel_id, {}).items()
                if token_id in (None, spot[2]) and hostname in (None, spot[0])
            ]
            unprobed = [
                why for spot, why in self._unprobed.items() if spot[1] == tunnel_id and hostname in (None, spot[0])
            ]
            lost_at = self._lost_at.get((tunnel_id, token_id or ""), self._began)
        suspect = sum(link.suspect for link in links)
        if not links:
            why = "no connection is registered"
            return NodeHealth(state="unhealthy", why=why, since=lost_at, connections=0, suspect=0)
        alive = {link.token_id for link in links}
        by_node: dict[str, list[Verdict]] = {}
        for token, verdict in found:
            if token in alive:
                by_node.setdefault(token, []).append(verdict)
        unasked = unprobed[0] if unprobed else "no probe was answered yet"
        worst = [max(verdicts, key=_illness) for verdicts in by_node.values()]
        verdict = min(worst, key=_illness) if worst else Verdict(since=self._began, why=unasked)
        return NodeHealth(
            state=verdict.state, why=verdict.why, since=verdict.since, connections=len(links), suspect=suspect
        )

    def spots(self) -> dict[Spot, Verdict]:
        """Every verdict, by hostname, tunnel and node."""
        found: dict[Spot, Verdict] = {}
        with self._lock:
            for own in self._verdicts.values():
                found.update(own)
        return found

    def spots_of(self, tunnel_id: str) -> dict[Spot, Verdict]:
        """Those of one tunnel."""
        with self._lock:
            return dict(self._verdicts.get(tunnel_id, {}))

    def changes(self) -> tuple[int, dict[str, int]]:
        """A number that is another one as soon as any verdict says something else; and the same by tunnel, of those that have
        verdicts. Who keeps what it made of them sees by it whether that is still so."""
        with self._lock:
            return self._changes, dict(self._changed)

    def unprobed(self) -> dict[str, str]:
        """By tunnel, why an origin of it isn't asked."""
        with self._lock:
            return {tunnel_id: why for (_, tunnel_id), why in self._unprobed.items()}

    def nodes(self) -> set[tuple[str, str]]:
        """Tunnel and node of every connection."""
        with self._lock:
            return {(link.tunnel_id, link.token_id) for link in self._links.values()}

    def rates(
        self,
        hostname: str,
        tunnel_id: str,
        since: datetime,
        *,
        token_id: str | None = None,
        long_s: float | None = None,
        fresh_s: float = 0.0,
    ) -> Rates:
        """What passed since then (see `Meter.rates`)."""
        return self._meter.rates(hostname, tunnel_id, since, token_id=token_id, long_s=long_s, fresh_s=fresh_s)

    def note_traffic(self) -> None:
        """Remembers what has passed until now: what is asked for since this moment is exact."""
        self._meter.look()

    def changed(self, listener: Callable[[str, str], None]) -> Callable[[], None]:
        """Calls it with tunnel and node whenever that node's connections or one of its verdicts has changed; it must be quick.
        Returns what ends that."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not listener)

        return end

    # telling

    def registered(self, connection_id: str, tunnel_id: str, token_id: str) -> None:
        """A connection is there."""
        with self._lock:
            self._links[connection_id] = _Link(tunnel_id, token_id)
            self._lost_at.pop((tunnel_id, token_id), None)
        self._tell({(tunnel_id, token_id)})

    def suspected(self, connection_id: str, *, suspect: bool) -> None:
        """Its peer doesn't acknowledge, or does again."""
        with self._lock:
            link = self._links.get(connection_id)
            if link is None or link.suspect == suspect:
                return
            link.suspect = suspect
        self._tell({(link.tunnel_id, link.token_id)})

    def ended(self, connection_id: str) -> None:
        """It drains or is lost."""
        with self._lock:
            link = self._links.pop(connection_id, None)
            if link is None:
                return
            node = (link.tunnel_id, link.token_id)
            if not any((each.tunnel_id, each.token_id) == node for each in self._links.values()):
                self._lost_at[node] = self._clock()
                while len(self._lost_at) > 10_000:
                    del self._lost_at[next(iter(self._lost_at))]
        self._tell({node})

    def answered(self, spot: Spot, check: Check, judgment: Judgment) -> Verdict:
        """A probe's answer was judged."""
        now = self._clock()
        with self._lock:
            before = self._verdicts.get(spot[1], {}).get(spot, Verdict(since=now))
            verdict = after(
                before, is_good=judgment.is_good, why=judgment.why, at=now, rise=check.rise, fall=check.fall
            )
            self._put(spot, verdict)
        self._noted(spot, before, verdict)
        return verdict

    def look(self) -> None:
        """Reads what requests met; for one thread, every second or so."""
        now, seen = self._clock(), self._meter.look()
        ill: list[tuple[Spot, Met]] = []
        for key, traffic in seen.items():
            hostname, tunnel_id, token_id = key
            begun = self._before.get(key)
            if begun is None:
                self._before[key] = (now, traffic)
                continue
            at, before = begun
            if token_id is not None and hostname:
                met = Met(
                    requests=traffic.requests - before.requests,
                    failed=failed(traffic) - failed(before),
                    refused=traffic.refused - before.refused,
                    timed_out=traffic.timed_out - before.timed_out,
                )
                if met.failed or met.refused or met.timed_out:
                    ill.append(((hostname, tunnel_id, token_id), met))
            if now - at > timedelta(seconds=WINDOW_S):
                self._before[key] = (now, traffic)
        for key in self._before.keys() - seen.keys():
            del self._before[key]
        for spot, met in ill:
            self._met(spot, met, now)

    def cannot_probe(self, reasons: Mapping[tuple[str, str], str]) -> None:
        """By hostname and tunnel, why nothing is asked there; none others."""
        with self._lock:
            if self._unprobed != reasons:
                self._unprobed = dict(reasons)
                self._changes += 1

    def keep(self, spots: Iterable[Spot]) -> None:
        """Forgets all others: what is no longer probed."""
        kept: dict[str, dict[Spot, Verdict]] = {}
        with self._lock:
            for spot in spots:
                verdict = self._verdicts.get(spot[1], {}).get(spot)
                if verdict is not None:
                    kept.setdefault(spot[1], {})[spot] = verdict
            for tunnel_id, own in self._verdicts.items():
                if len(kept.get(tunnel_id, ())) != len(own):
                    self._changed.pop(tunnel_id)
                    self._note_change(tunnel_id, is_there=tunnel_id in kept)
            self._verdicts = kept

    def restore(self, verdicts: Iterable[tuple[Spot, Verdict]]) -> None:
        """What was known before a restart: shown until it is confirmed, one bad answer from anew."""
        with self._lock:
            for spot, verdict in verdicts:
                if spot not in self._verdicts.get(spot[1], {}):
                    self._put(spot, replace(verdict, good=0, bad=0))

    def _put(self, spot: Spot, verdict: Verdict) -> None:
        own = self._verdicts.setdefault(spot[1], {})
        before = own.get(spot)
        own[spot] = verdict
        if before is None or (before.state, before.since, before.why) != (verdict.state, verdict.since, verdict.why):
            self._note_change(spot[1])

    def _note_change(self, tunnel_id: str, *, is_there: bool = True) -> None:
        self._changes += 1
        if is_there:
            self._changed[tunnel_id] = self._changes

    def _met(self, spot: Spot, met: Met, now: datetime) -> None:
        with self._lock:
            before = self._verdicts.get(spot[1], {}).get(spot)
            # Without probes nothing would say that it is over.
            if before is None:
                return
            verdict = after_requests(before, met, at=now)
            self._put(spot, verdict)
        self._noted(spot, before, verdict)
        if verdict is not before:  # it is judged by what comes after this
            self._before = {key: each for key, each in self._before.items() if key != spot}

    def _noted(self, spot: Spot, before: Verdict, verdict: Verdict) -> None:
        if before.state == verdict.state:
            return
        hostname, tunnel_id, token_id = spot
        line = log.warning if verdict.state == "unhealthy" else log.info
        line(
            f"origin {verdict.state}", hostname=hostname, tunnel=tunnel_id, node=token_id or "default", why=verdict.why
        )
        self._tell({(tunnel_id, token_id)})

    def _tell(self, nodes: set[tuple[str, str]]) -> None:
        for listener in self._listeners:
            for tunnel_id, token_id in nodes:
                try:
                    listener(tunnel_id, token_id)
                except Exception:
                    log.exception("who listens to health failed", tunnel=tunnel_id)


def _illness(verdict: Verdict) -> int:
    return ("healthy", "unknown", "unhealthy").index(verdict.state)
