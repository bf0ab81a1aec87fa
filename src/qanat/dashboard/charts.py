"""What plots show: points of qanat.series as times and columns."""

from datetime import timedelta
from types import MappingProxyType

from qanat.dashboard.desk import Desk
from qanat.series import Hop, Point, Scope, read, step_for

Columns = dict[str, list[float | None]]
Plot = tuple[list[float], Columns]

SPANS = MappingProxyType(
    {"15m": "15 min", "1h": "1 hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
)
_LENGTHS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
HOPS: dict[str, Hop] = {
    "edge": "queue",
    "tunnel": "tunnel",
    "connector": "connector",
    "origin": "origin",
    "behind": "first_byte",
    "total": "total",
}
"""`edge`: from a request's head to a stream on a connection; `behind`: from there to the answer's head, and of that what was the
`tunnel`'s (there and back), the `connector`'s and the `origin`'s, where the connector tells; `total`: to the answer's end."""
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
NEWEST = timedelta(seconds=40)


def span_of(text: str) -> str:
    """One that there is."""
    return text if text in SPANS else "15m"


def plot(desk: Desk, scope: Scope, span: str) -> Plot:
    """From so long ago until now."""
    length = _LENGTHS[span[-1]] * int(span[:-1])
    now = desk.store.clock()
    step = step_for(now - length, now, now)
    with desk.store.reading() as session:
        points = read(session, scope, now - length, now, now=now, step=step)
    return _plot(points, step)


def newest(desk: Desk, scope: Scope) -> Plot:
    """The last points of the finest kind."""
    now = desk.store.clock()
    with desk.store.reading() as session:
        points = read(session, scope, now - NEWEST, now, now=now, step=10)
    return _plot(points, 10)


def _plot(points: list[Point], step: int) -> Plot:
    """Where nothing was recorded the line has a gap."""
    times: list[float] = []
    columns: Columns = {
        name: [] for name in ("requests", "errors", *(f"{hop}_{at}" for hop in HOPS for at in QUANTILES))
    }
    for point in points:
        at = point.at.timestamp()
        if times and at - times[-1] > 1.5 * step:
            times.append(times[-1] + step)
            for values in columns.values():
                values.append(None)
        times.append(at)
        columns["requests"].append(round(point.per_second, 3))
        columns["errors"].append(round(point.failed / point.seconds, 3))
        for hop, name in HOPS.items():
            for key, share in QUANTILES.items():
                value = point.latency_s(name, share)
                columns[f"{hop}_{key}"].append(None if value is None else round(value, 5))
    return times, columns
