"""Each account's share of the API: how many of its calls are worked on at once, and whose turn it is when others wait.

Endpoints run in threads that all share one interpreter. Without shares an account that calls forty times at once has all the
threads, and what takes long takes it from everybody.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from qanat.errors import RetryLaterError

WAIT_S = 30.0
MOST_WAITING = 64


class Share:
    """`most` turns at once, `each` for one key. Who waits is served key by key, each key's own in order of arrival. For one event
    loop."""

    def __init__(self, *, most: int, each: int, waiting: int = MOST_WAITING, wait_s: float = WAIT_S) -> None:
        self._most = most
        self._each = each
        self._most_waiting = waiting
        self._wait_s = wait_s
        self._running: Counter[str] = Counter()
        self._in_all = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(queue) for queue in self._waiting.values())

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """RetryLaterError `busy`: too many of the key wait already, or its turn doesn't come."""
        await self._take(key)
        try:
            yield
        finally:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
            self._in_all -= 1
            self._next()

    async def _take(self, key: str) -> None:
        queue = self._waiting.get(key)
        if queue is None and self._in_all < self._most and self._running[key] < self._each:
            self._start(key)
            return
        if queue is None:
            queue = self._waiting[key] = deque()
        if len(queue) >= self._most_waiting:
            raise self._busy()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it came at the same moment
                self._running[key] -= 1
                self._in_all -= 1
            elif turn in queue:
                queue.remove(turn)
                if not queue and self._waiting.get(key) is queue:
                    del self._waiting[key]
            self._next()
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def _start(self, key: str) -> None:
        self._running[key] += 1
        self._in_all += 1

    def _next(self) -> None:
        """Starts who may; a key that got a turn goes to the end of the row."""
        for key in list(self._waiting):
            if self._in_all >= self._most:
                return
            if self._running[key] >= self._each:
                continue
            queue = self._waiting[key]
            while queue and queue[0].done():
                queue.popleft()
            if queue:
                self._start(key)
                queue.popleft().set_result(None)
                self._waiting.move_to_end(key)
            if not queue:
                del self._waiting[key]

    @staticmethod
    def _busy() -> RetryLaterError:
        return RetryLaterError("busy", "too many calls at once: this one would have waited too long", retry_after_s=1.0)


@dataclass(frozen=True, slots=True)
class Shares:
    """`light`: all calls but those of `heavy`, which take a second of the interpreter or can be made to. `uploads`: whole
    accounts from their first byte on, as each may take 64 MiB; `imports`: what is done with them, up to some minutes.
    `strangers`: by address, whose credentials are looked up. Together fewer than the 40 threads that there are."""

    light: Share = field(default_factory=lambda: Share(most=20, each=6))
    heavy: Share = field(default_factory=lambda: Share(most=2, each=1))
    uploads: Share = field(default_factory=lambda: Share(most=4, each=1, waiting=4))
    imports: Share = field(default_factory=lambda: Share(most=2, each=1))
    strangers: Share = field(default_factory=lambda: Share(most=12, each=8))


def place_of(address: str) -> str:
    """Whom an address stands for: of IPv6 the /64, which one host has whole."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)
