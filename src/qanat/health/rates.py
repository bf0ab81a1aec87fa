"""What passed since some moment: the engine counts from its start; what it tells is remembered now and then, and subtracted."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

from qanat.health.engine import Traffic, TrafficEngine, latency_bounds

MOST_REMEMBERED = 20_000
"""Snapshots in all (about 1 KiB each)."""
MOST_OF_SERIES = 64
"""Snapshots of one series: older ones are thinned out, the longer ago the more."""
ASKED_LATELY_S = 60.0

Key = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What passed of a hostname through a tunnel (or one node of it). `failed`: 5xx, made by the edge, or cut. `p50_s`,
    `p95_s`: from the request's head to the answer's end, None without a sample. `from_`: since when this counts: the last
    look before the moment that was asked for.

    Of tries that were handed to a connection and are older than `long_s`: `begun` in that time, `hanging` those of them whose
    answer's head is still awaited, at least; `slow` had an answer that took so long."""

    requests: int = 0
    failed: int = 0
    refused: int = 0
    timed_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    p50_s: float | None = None
    p95_s: float | None = None
    begun: int = 0
    hanging: int = 0
    slow: int = 0
    from_: datetime | None = None


@dataclass(slots=True)
class _Look:
    at: float
    traffic: Traffic
    asked_at: float = 0.0
    """When somebody last reckoned from it: it is kept then."""


class Meter:
    """Remembers what passed. Any thread may look and read."""

    def __init__(
        self,
        engine: TrafficEngine,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        bounds: Sequence[float] | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._bounds = bounds if bounds is not None else latency_bounds()
        self._lock = Lock()
        self._looks: dict[Key, list[_Look]] = {}
        self._newest: dict[Key, Traffic] = {}
        self._by_place: dict[tuple[str, str], list[Key]] = {}
        self._looked_at = float("-inf")

    def look(self) -> dict[Key, Traffic]:
        """What has passed in all, remembered; by hostname, tunnel and node."""
        with self._lock:
            return self._look()

    def _look(self) -> dict[Key, Traffic]:
        at, seen = self._clock().timestamp(), {_key(each): each for each in self._engine.traffic()}
        for key in self._looks.keys() - seen.keys():
            del self._looks[key]
        for key, traffic in seen.items():
            before = self._newest.get(key)
            looks = self._looks.setdefault(key, [])
            if not looks or before is None or _moved(before, traffic):
                looks.append(_Look(at, traffic))
                if len(looks) > MOST_OF_SERIES:
                    looks[1 : MOST_OF_SERIES // 2] = _thinned(looks[1 : MOST_OF_SERIES // 2], at)
        if sum(map(len, self._looks.values())) > MOST_REMEMBERED:
            for looks in self._looks.values():
                looks[:-1] = _thinned(looks[:-1], at)
        if seen.keys() != self._newest.keys():
            self._by_place = {}
            for key in seen:
                self._by_place.setdefault(key[:2], []).append(key)
        self._newest, self._looked_at = seen, at
        return seen

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
        """Since the last look at or before `since`, up to now; `token_id` None: through all nodes. A series that began later
        counts whole. `long_s`: from which age on an open request hangs; `fresh_s`: how old "now" may be."""
        at, moment = self._clock().timestamp(), since.timestamp()
        counts, sums, starts = [0] * (len(self._bounds) + 1), [0] * 6, []
        begun = hanging = slow = 0
        with self._lock:
            if fresh_s and at - self._looked_at >= fresh_s:
                self._look()
            for traffic in self._now(hostname, tunnel_id, fresh=not fresh_s):
                if token_id not in (None, traffic.token_id):
                    continue
                looks = self._looks.get(_key(traffic), [])
                base = _last(looks, moment)
                if base is not None:
                    starts.append(base.at)
                    base.asked_at = at
                old = base.traffic if base is not None and base.traffic.requests <= traffic.requests else None
                for number, value in enumerate(_numbers(traffic)):
                    sums[number] += value - (_numbers(old)[number] if old is not None else 0)
                for number, value in enumerate(_since(traffic.total[0], old.total[0] if old is not None else [])):
                    counts[number] += value
                if long_s is None:
                    continue
                then = _last(looks, at - long_s)
                opened = (then.traffic.opened if then is not None else 0) - (old.opened if old is not None else 0)
                settled = traffic.opened - traffic.waiting
                hung = (then.traffic.opened if then is not None else 0) - settled
                begun += max(0, opened)
                hanging += max(0, min(hung, opened))
                first = _since(traffic.first_byte[0], old.first_byte[0] if old is not None else [])
                slow += sum(first[bisect_left(self._bounds, long_s) :])
        return Rates(
            requests=sums[0],
            failed=sums[1],
            refused=sums[2],
            timed_out=sums[3],
            bytes_in=sums[4],
            bytes_out=sums[5],
            p50_s=quantile(self._bounds, counts, 0.5),
            p95_s=quantile(self._bounds, counts, 0.95),
            begun=begun,
            hanging=hanging,
            slow=slow,
            from_=datetime.fromtimestamp(min(starts), UTC) if starts else None,
        )

    def _now(self, hostname: str, tunnel_id: str, *, fresh: bool) -> Sequence[Traffic]:
        if not fresh:
            return [self._newest[key] for key in self._by_place.get((hostname, tunnel_id), ())]
        return [each for each in self._engine.traffic() if (each.hostname, each.tunnel_id) == (hostname, tunnel_id)]


def _last(looks: Sequence[_Look], moment: float) -> _Look | None:
    index = bisect_right(looks, moment, key=lambda look: look.at)
    return looks[index - 1] if index else None


def _thinned(looks: Sequence[_Look], at: float) -> list[_Look]:
    """Every second one, and those that somebody reckons from."""
    return [look for index, look in enumerate(looks) if index % 2 or at - look.asked_at < ASKED_LATELY_S]


def _since(now: Sequence[int], before: Sequence[int]) -> list[int]:
    return [a - b for a, b in zip(now, before or [0] * len(now), strict=True)]


def failed(traffic: Traffic) -> int:
    """Of its requests: 5xx, made by the edge, cut."""
    return traffic.statuses[4] + traffic.edge_made + traffic.cut


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """From buckets, straight between their bounds; above the last bound that bound; None without observations."""
    wanted, below, lower = sum(counts) * share, 0, 0.0
    for count, upper in zip(counts, bounds, strict=False):
        if count and below + count >= wanted:
            return lower + (upper - lower) * (wanted - below) / count
        below, lower = below + count, upper
    return bounds[-1] if sum(counts) else None


def _numbers(traffic: Traffic) -> tuple[int, int, int, int, int, int]:
    return (
        traffic.requests,
        failed(traffic),
        traffic.refused,
        traffic.timed_out,
        traffic.bytes_in,
        traffic.bytes_out,
    )


def _moved(before: Traffic, now: Traffic) -> bool:
    def numbers(each: Traffic) -> tuple[int, int, int, int]:
        return each.requests, each.refused, each.timed_out, each.opened

    return numbers(before) != numbers(now)


def _key(traffic: Traffic) -> Key:
    return (traffic.hostname, traffic.tunnel_id, traffic.token_id)
