"""What somebody has begun in a browser and has to bring back within minutes: once, and by that browser alone. In memory: who was
at it when the edge is restarted begins again."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

from qanat.auth.guesses import network_of

Value = TypeVar("Value")

LASTS_S = 300.0
MOST = 10_000
MOST_OF_NETWORK = 50


@dataclass(slots=True)
class _Kept(Generic[Value]):
    value: Value
    network: str
    ends_s: float


class Begun(Generic[Value]):
    """Safe for many threads. One network can't push out what others have begun."""

    def __init__(self, *, lasts_s: float = LASTS_S, clock: Callable[[], float] = monotonic) -> None:
        self._lasts_s = lasts_s
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[str, _Kept[Value]] = OrderedDict()
        self._networks: dict[str, OrderedDict[str, None]] = {}

    def put(self, key: str, value: Value, *, address: str) -> None:
        """In place of what was begun under this key before; `key` is the browser's secret."""
        network = network_of(address)
        with self._lock:
            self._drop(key)
            of_network = self._networks.setdefault(network, OrderedDict())
            if len(of_network) >= MOST_OF_NETWORK:
                self._drop(next(iter(of_network)))
            if len(self._kept) >= MOST:
                self._drop(next(iter(self._kept)))
            self._kept[key] = _Kept(value, network, self._clock() + self._lasts_s)
            self._networks.setdefault(network, OrderedDict())[key] = None

    def take(self, key: str) -> Value | None:
        """It is gone then; None: nothing was begun, or too long ago."""
        with self._lock:
            found = self._drop(key)
        return found.value if found is not None and self._clock() < found.ends_s else None

    def _drop(self, key: str) -> _Kept[Value] | None:
        found = self._kept.pop(key, None)
        if found is not None:
            of_network = self._networks[found.network]
            del of_network[key]
            if not of_network:
                del self._networks[found.network]
        return found
