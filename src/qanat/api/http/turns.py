"""Work that is done for one at a time, and for few in all: others wait a little for their turn, then are told to come again."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from qanat.errors import RetryLaterError

WAIT_S = 5.0


class Turns:
    """`most` at once, of each key one. For threads."""

    def __init__(self, *, most: int, wait_s: float = WAIT_S) -> None:
        self._most = most
        self._wait_s = wait_s
        self._running: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """RetryLaterError `busy`: none within the time."""
        until = monotonic() + self._wait_s
        with self._changed:
            while self._running[key] or self._running.total() >= self._most:
                left = until - monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise RetryLaterError("busy", "this is being worked out for others already", retry_after_s=1.0)
            self._running[key] += 1
        try:
            yield
        finally:
            with self._changed:
                self._running[key] -= 1
                self._running += Counter()  # forgets those at rest
                self._changed.notify_all()
