"""Parts of pages that are the same for everybody who may see them: made once, for as long as they stay so."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

from markupsafe import Markup

MOST_KEPT = 200

Parts = dict[str, Markup]


class Shared:
    """By whatever they depend on beside time. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[Hashable, tuple[Hashable, Parts]] = OrderedDict()

    def of(self, key: Hashable, stamp: Hashable, make: Callable[[], Parts]) -> Parts:
        """What was made at this stamp, or is made now. Two who come at once may both make it: they make the same."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept[0] == stamp:
                self._kept.move_to_end(key)
                return kept[1]
        made = make()
        with self._lock:
            self._kept[key] = (stamp, made)
            self._kept.move_to_end(key)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return made
