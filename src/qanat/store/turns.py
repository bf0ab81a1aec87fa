"""The one writer's lock, by turns: whoever writes much, from many threads, waits behind the others' single writes."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock


class Turns:
    """A lock that is given to the waiting owners one after the other, and to the threads of one owner in their order."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken = False
        self._waiting: OrderedDict[str, deque[Event]] = OrderedDict()

    @contextmanager
    def turn(self, owner: str) -> Iterator[None]:
        """Waits for the owner's turn, and has it until the end."""
        self._take(owner)
        try:
            yield
        finally:
            self._give()

    def _take(self, owner: str) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = Event()
            self._waiting.setdefault(owner, deque()).append(mine)
        try:
            mine.wait()
        except BaseException:
            self._leave(owner, mine)
            raise

    def _give(self) -> None:
        with self._lock:
            if not self._waiting:
                self._taken = False
                return
            owner, waiting = self._waiting.popitem(last=False)
            following = waiting.popleft()
            if waiting:
                self._waiting[owner] = waiting  # behind the others
            following.set()

    def _leave(self, owner: str, mine: Event) -> None:
        """An interrupted wait: the turn that came meanwhile goes on."""
        with self._lock:
            waiting = self._waiting.get(owner, deque())
            if mine in waiting:
                waiting.remove(mine)
                if not waiting:
                    self._waiting.pop(owner, None)
                return
        self._give()
