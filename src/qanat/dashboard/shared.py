"""What is the same for everybody who may see it: made once, for as long as it stays so."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """By a key; a stamp says whether it is still so. Safe for many threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[Hashable, tuple[Hashable, T]] = OrderedDict()

    def of(self, key: Hashable, stamp: Hashable, make: Callable[[], T]) -> T:
        """What was made at this stamp, or is made now. Two who come at once may both make it: they make the same."""
        kept = self.kept(key, stamp)
        return self.keep(key, stamp, make()) if kept is None else kept

    def kept(self, key: Hashable, stamp: Hashable) -> T | None:
        """What was made at this stamp."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept[0] != stamp:
                return None
            self._kept.move_to_end(key)
            return kept[1]

    def keep(self, key: Hashable, stamp: Hashable, made: T) -> T:
        """It, in place of what was kept before; the one that was not asked for the longest goes."""
        with self._lock:
            self._kept[key] = (stamp, made)
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made
