"""How often something may be done within a time."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from time import monotonic

from qanat.errors import RetryLaterError

MOST_KEYS = 10_000


class Pace:
    """`most` times within `within_s` for each key. For threads."""

    def __init__(self, *, most: int, within_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._within_s = within_s
        self._clock = clock
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, key: str, what: str) -> None:
        """Counts one. RetryLaterError `too_often`: it is one too many; `what` says of what."""
        with self._lock:
            now = self._clock()
            times = self._times.setdefault(key, deque())
            self._times.move_to_end(key)
            while times and now - times[0] >= self._within_s:
                times.popleft()
            if len(times) >= self._most:
                wait = self._within_s - (now - times[0])
                message = f"{what}: more than {self._most} within {self._within_s:.0f} s"
                raise RetryLaterError("too_often", message, retry_after_s=wait)
            times.append(now)
            if len(self._times) > MOST_KEYS:
                self._times.popitem(last=False)
