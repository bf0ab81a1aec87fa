"""What has passed, as a recorder would have written it."""

import math
from datetime import timedelta

from qanat.health.engine import latency_bounds
from qanat.series.frames import Entry, Frame
from qanat.series.recorder import keep
from qanat.series.scopes import key
from qanat.store import Store


def put_series(store: Store, *, account_id: str, tunnel_id: str, points: int = 90) -> None:
    """A quarter of an hour of a wave of requests, with some failures in the middle."""
    bounds, now = list(latency_bounds()), store.clock()
    with store.recording() as write:
        for number in range(points):
            requests = int(300 + 120 * math.sin(number / 12) + 25 * math.sin(number * 1.7))
            failed = 24 if 50 < number < 58 else 0
            latency = [
                [first, requests // 2, requests // 3, requests // 10, requests // 40 + number % 5, 1]
                for first in (3, 8, 9)
            ]
            entry = Entry(
                requests=requests, statuses=[0, requests - failed, 0, 0, failed], latency=latency, sums_us=[1, 1, 1]
            )
            names = (key("account", account_id), key("tunnel", tunnel_id))
            at = now - timedelta(seconds=10 * (points - number))
            keep(write.session, Frame(bounds, {}, dict.fromkeys(names, entry)), at)
