"""What passed through a tunnel for a hostname since the very moment that a step of a cutover began: the rates of qanat.health
count from the last of its looks, which are seconds apart."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

from qanat.cutover.rule import Counts
from qanat.health.engine import Traffic
from qanat.health.rates import failed, quantile

KEPT = timedelta(minutes=15)
AT_MOST_EVERY = timedelta(seconds=0.2)
Key = tuple[str, str]


@dataclass(slots=True)
class Totals:
    """Of one hostname and tunnel, all nodes together. `latencies`: counts by bucket."""

    requests: int = 0
    failed: int = 0
    latencies: list[int] = field(default_factory=list)

    def add(self, row: Traffic) -> None:
        """One node's."""
        self.requests += row.requests
        self.failed += failed(row)
        counts = row.total[0]
        self.latencies = [a + b for a, b in zip(self.latencies or [0] * len(counts), counts, strict=True)]

    def since(self, before: "Totals") -> "Totals":
        """What came after. A series that began anew counts from its beginning."""
        if before.requests > self.requests:
            return self
        older = before.latencies or [0] * len(self.latencies)
        latencies = [max(0, a - b) for a, b in zip(self.latencies, older, strict=True)]
        return Totals(self.requests - before.requests, max(0, self.failed - before.failed), latencies)


class Passing:
    """Samples of the totals, taken when they are asked for and kept for a quarter of an hour. `bounds`: of the buckets."""

    def __init__(
        self, read: Callable[[], Sequence[Traffic]], bounds: Sequence[float], clock: Callable[[], datetime]
    ) -> None:
        self._read = read
        self._bounds = bounds
        self._clock = clock
        self._lock = Lock()
        self._samples: deque[tuple[datetime, dict[Key, Totals]]] = deque()

    def sample(self) -> dict[Key, Totals]:
        """The totals now, or of a moment ago."""
        now = self._clock()
        with self._lock:
            if self._samples and now - self._samples[-1][0] < AT_MOST_EVERY:
                return self._samples[-1][1]
            totals: dict[Key, Totals] = {}
            for row in self._read():
                totals.setdefault((row.hostname, row.tunnel_id), Totals()).add(row)
            self._samples.append((now, totals))
            while now - self._samples[0][0] > KEPT:
                self._samples.popleft()
            return totals

    def counts(self, *, hostname: str, tunnel_id: str, since: datetime) -> Counts:
        """Since the last sample that is no younger than `since`; since the edge's start where there is none so old."""
        now = self.sample().get((hostname, tunnel_id), Totals())
        with self._lock:
            at = bisect_right([moment for moment, _ in self._samples], since)
            before = self._samples[at - 1][1].get((hostname, tunnel_id), Totals()) if at else Totals()
        came = now.since(before)
        return Counts(requests=came.requests, failed=came.failed, p95_s=quantile(self._bounds, came.latencies, 0.95))
