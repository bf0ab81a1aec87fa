"""Failed credentials: five a minute for an address or a token's beginning, then ever longer waits (security.md S33)."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from threading import Lock
from time import monotonic

from qanat.auth.tokens import parse_address

LIMIT = 5
WINDOW_S = 60.0
MAX_KEYS = 10_000
PREFIX_CHARACTERS = 12  # `qnt_` and 47 bits: two tokens don't begin alike


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float
    blocked_until_s: float


class Guesses:
    """Counts failures only: whoever comes with good credentials is never kept waiting. Safe for many threads."""

    def __init__(self, *, limit: int = LIMIT, clock: Callable[[], float] = monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = Lock()
        self._failures: OrderedDict[Hashable, _Failures] = OrderedDict()

    def wait(self, *, address: str, credentials: str) -> float | None:
        """The seconds until either may be tried again; None: now. For credentials that could be found by trying them."""
        now = self._clock()
        with self._lock:
            known = [self._failures.get(key) for key in _keys(address, credentials)]
        return max((each.blocked_until_s - now for each in known if each and each.blocked_until_s > now), default=None)

    def failed(self, *, address: str, credentials: str) -> float | None:
        """Notes a failure. None: tell it; else the seconds to wait, and nothing is told of the credentials."""
        keys = _keys(address, credentials)
        now = self._clock()
        with self._lock:
            waits = [wait for key in keys if (wait := self._note(key, now)) is not None]
        return max(waits, default=None)

    def _note(self, key: Hashable, now: float) -> float | None:
        known = self._failures.get(key)
        if known is None or now - max(known.last_s, known.blocked_until_s) > WINDOW_S:
            known = self._failures[key] = _Failures(0, now, 0.0)
            if len(self._failures) > MAX_KEYS:
                self._failures.popitem(last=False)
        self._failures.move_to_end(key)
        if now < known.blocked_until_s:
            return known.blocked_until_s - now
        known.count += 1
        known.last_s = now
        if known.count >= self._limit:
            # A minute's share is spent: the next one after its time, the ones after that in twice the time each.
            share = WINDOW_S / self._limit
            known.blocked_until_s = now + min(share * 2 ** min(known.count - self._limit, 10), WINDOW_S)
        return None


def _keys(address: str, credentials: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("address", network_of(address)), ("credentials", credentials[:PREFIX_CHARACTERS])


def network_of(address: str) -> str:
    """What counts as one address: IPv6 by its /64, which one host has alone."""
    try:
        parsed = parse_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)
