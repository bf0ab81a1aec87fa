"""Who watches the log, and what each of them is sent: a viewer that doesn't read loses lines, which are counted, and keeps
neither the connector nor another viewer waiting."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from qanat.connector.log import Level, Value

MOST_VIEWERS = 16
MOST_LINES = 1000
"""Held for one viewer,"""
MOST_BYTES = 256 * 1024
"""and as JSON. What several viewers want lies in memory once."""

MOST_REQUEST_LINES_PER_S = 2000
"""Made for viewers alone, so that following a busy connector leaves its processor to requests. Those above it are counted."""

EVENTS = ("cloudflared", "http", "tcp", "udp")
"""By the number in a line's field `event`."""
SHOWN: dict[Level, str] = {"debug": "debug", "info": "info", "warn": "warn", "error": "error", "fatal": "error"}
"""The levels that stock clients know; any other would be debug to them."""
RANKS = {"debug": 0, "info": 1, "warn": 2, "error": 3}


class Filters(Struct, frozen=True):
    """What a viewer wants: all events where none is named, and every line or a share of them (0 to 1)."""

    events: frozenset[str] = frozenset()
    least: int = 0
    share: float = 1.0


class Viewer:
    """One that watches. `wake` is called when there is something to `take` after there was nothing. `owner`: two of the same are
    one that came again; "" is nobody's. `ended`: another one has its place."""

    def __init__(
        self, filters: Filters, wake: Callable[[], None], chance: Callable[[], float], owner: str = ""
    ) -> None:
        self.filters = filters
        self.owner = owner
        self.ended = False
        self.wake = wake
        self._chance = chance
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._lock = threading.Lock()

    def wants(self, rank: int, event: str) -> bool:
        filters = self.filters
        if rank < filters.least or (filters.events and event not in filters.events):
            return False
        return filters.share >= 1 or self._chance() < filters.share

    def offer(self, line: bytes) -> None:
        with self._lock:
            if len(self._lines) >= MOST_LINES or self._bytes + len(line) > MOST_BYTES:
                self._dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            is_first = len(self._lines) == 1
        if is_first:
            self.wake()

    def take(self, most: int) -> tuple[list[bytes], int]:
        """The oldest lines, and how many were dropped since the last time."""
        with self._lock:
            lines = [self._lines.popleft() for _ in range(min(most, len(self._lines)))]
            self._bytes -= sum(map(len, lines))
            dropped, self._dropped = self._dropped, 0
        return lines, dropped


class Viewers:
    """All of them: the log's audience. `on_change` is told whether somebody wants every request and answer; `untold` says how
    many of them the engine never told, since the start, because they came too fast."""

    def __init__(
        self,
        on_change: Callable[[bool], None] = lambda _wanted: None,
        untold: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_change = on_change
        self._untold = untold
        self._clock = clock
        self._second = 0.0
        self._told_in_it = 0
        self._skipped = 0
        self._viewers: tuple[Viewer, ...] = ()
        self._least = len(RANKS)
        self._lock = threading.Lock()
        self.dropped = 0
        """Lines that viewers lost, since the start."""
        self.ended = False

    def untold(self) -> int:
        """Lines about requests that nobody was told of, since the start."""
        return self._untold() + self._skipped

    def spares_a_line(self) -> bool:
        """Whether one more line about a request shall be made for viewers alone. On the events' thread."""
        now = self._clock()
        if now - self._second >= 1.0:
            self._second, self._told_in_it = now, 0
        self._told_in_it += 1
        if self._told_in_it <= MOST_REQUEST_LINES_PER_S:
            return True
        self._skipped += 1
        return False

    def add(self, viewer: Viewer) -> bool:
        """False: there are so many already. One of the same owner gives its place, as with stock."""
        with self._lock:
            others = tuple(each for each in self._viewers if not viewer.owner or each.owner != viewer.owner)
            if len(others) >= MOST_VIEWERS:
                return False
            before = [each for each in self._viewers if each not in others]
            self._put((*others, viewer))
        for each in before:
            each.ended = True
            each.wake()
        return True

    def remove(self, viewer: Viewer) -> None:
        with self._lock:
            self._put(tuple(each for each in self._viewers if each is not viewer))

    def end(self) -> None:
        """Sends everybody away, after what waits: the connector stops, and would wait for them."""
        self.ended = True
        for viewer in self._viewers:
            viewer.wake()

    def change(self, viewer: Viewer, filters: Filters) -> None:
        with self._lock:
            viewer.filters = filters
            self._put(self._viewers)

    def _put(self, viewers: tuple[Viewer, ...]) -> None:
        self._viewers = viewers
        self._least = min((each.filters.least for each in viewers), default=len(RANKS))
        of_requests = {"http", "tcp", "udp"}
        self._on_change(
            any(
                not each.filters.least and (not each.filters.events or each.filters.events & of_requests)
                for each in viewers
            )
        )

    def wants(self, level: Level) -> bool:
        return RANKS[SHOWN[level]] >= self._least

    def offer(self, time: str, level: Level, message: str, fields: Mapping[str, Value]) -> None:
        number = fields.get("event", 0)
        event = EVENTS[number] if isinstance(number, int) and 0 <= number < len(EVENTS) else EVENTS[0]
        rank = RANKS[SHOWN[level]]
        wanting = [viewer for viewer in self._viewers if viewer.wants(rank, event)]
        if not wanting:
            return
        told = {name: value for name, value in fields.items() if name != "event"}
        line = encoded(time, SHOWN[level], message, event, told)
        for viewer in wanting:
            viewer.offer(line)


def encoded(time: str, level: str, message: str, event: str, fields: Mapping[str, Value]) -> bytes:
    """One line as clients read it, without its secrets."""
    from qanat.connector.redaction import redacted, redacted_value  # only somebody who watches needs it

    message, told = redacted(message), redacted_value(fields)
    return msgspec.json.encode({"time": time, "level": level, "message": message, "event": event, "fields": told})
