"""What passed since some moment: the engine counts from its start; what it tells is remembered now and then, and subtracted."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

from qanat.health.engine import Traffic, TrafficEngine, latency_bounds

MOST_REMEMBERED = 20_000
"""Snapshots in all (about 1 KiB each)."""
MOST_OF_SERIES = 64
"""Snapshots of one series: older ones are thinned out, the longer ago the more."""

Key = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What passed of a hostname through a tunnel (or one node of it). `failed`: 5xx, made by the edge, or cut. `p50_s`,
    `p95_s`: from the request's head to the answer's end, None without a sample. `from_`: since when this counts: the last
    look before the moment that was asked for."""

    requests: int = 0
    failed: int = 0
    refused: int = 0
    timed_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    p50_s: float | None = None
    p95_s: float | None = None
    from_: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    traffic: Traffic


class Meter:
    """Remembers what passed. Any thread may read; `look` is for one."""

    def __init__(self, engine: TrafficEngine, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = engine
        self._clock = clock
        self._bounds = latency_bounds()
        self._lock = Lock()
        self._looks: dict[Key, list[_Look]] = {}
        self._newest: dict[Key, Traffic] = {}

    def look(self) -> dict[Key, Traffic]:
        """What has passed in all, remembered; by hostname, tunnel and node."""
        at, seen = self._clock().timestamp(), {_key(each): each for each in self._engine.traffic()}
        with self._lock:
            for key in self._looks.keys() - seen.keys():
                del self._looks[key]
            for key, traffic in seen.items():
                before = self._newest.get(key)
                looks = self._looks.setdefault(key, [])
                if not looks or before is None or _moved(before, traffic):
                    looks.append(_Look(at, traffic))
                    if len(looks) > MOST_OF_SERIES:
                        del looks[1 : MOST_OF_SERIES // 2 : 2]
            if sum(map(len, self._looks.values())) > MOST_REMEMBERED:
                for looks in self._looks.values():
                    del looks[:-1:2]
            self._newest = seen
        return seen

    def rates(self, hostname: str, tunnel_id: str, since: datetime, *, token_id: str | None = None) -> Rates:
        """Since the last look at or before `since`, up to now; `token_id` None: through all nodes. A series that began later
        counts whole."""
        moment = since.timestamp()
        now = [
            each
            for each in self._engine.traffic()
            if (each.hostname, each.tunnel_id) == (hostname, tunnel_id) and token_id in (None, each.token_id)
        ]
        counts, sums, starts = [0] * (len(self._bounds) + 1), [0] * 6, []
        for traffic in now:
            with self._lock:
                looks = self._looks.get(_key(traffic), [])
                index = bisect_right(looks, moment, key=lambda look: look.at)
                base = looks[index - 1] if index else None
            if base is not None:
                starts.append(base.at)
            old = base.traffic if base is not None and base.traffic.requests <= traffic.requests else None
            for number, value in enumerate(_numbers(traffic)):
                sums[number] += value - (_numbers(old)[number] if old is not None else 0)
            olds = old.total[0] if old is not None and old.total[0] else [0] * len(counts)
            for number, value in enumerate(traffic.total[0]):
                counts[number] += value - olds[number]
        return Rates(
            requests=sums[0],
            failed=sums[1],
            refused=sums[2],
            timed_out=sums[3],
            bytes_in=sums[4],
            bytes_out=sums[5],
            p50_s=quantile(self._bounds, counts, 0.5),
            p95_s=quantile(self._bounds, counts, 0.95),
            from_=datetime.fromtimestamp(min(starts), UTC) if starts else None,
        )


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
    return (before.requests, before.refused, before.timed_out) != (now.requests, now.refused, now.timed_out)


def _key(traffic: Traffic) -> Key:
    return (traffic.hostname, traffic.tunnel_id, traffic.token_id)
