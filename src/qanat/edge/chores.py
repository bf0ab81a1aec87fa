"""What an edge does now and then, in a thread of its own."""

from collections.abc import Callable
from threading import Event, Thread
from time import monotonic

import structlog

from qanat.errors import QanatError

log = structlog.get_logger(__name__)

TICK_S = 1.0


class Chores:
    """Calls each task every so many seconds; a task that fails is logged and called again."""

    def __init__(self, tasks: list[tuple[str, float, Callable[[], object]]]) -> None:
        self._tasks = tasks
        self._hurried: set[str] = set()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="qanat-chores", daemon=True)

    def start(self) -> None:
        """The first calls come after their interval."""
        self._thread.start()

    def hurry(self, *names: str) -> None:
        """Calls these at the next tick."""
        self._hurried.update(names)

    def stop(self) -> None:
        """Waits for a task that runs."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        due = {name: monotonic() + every_s for name, every_s, _ in self._tasks}
        while not self._stopping.wait(TICK_S):
            for name, every_s, task in self._tasks:
                if monotonic() < due[name] and name not in self._hurried:
                    continue
                self._hurried.discard(name)
                due[name] = monotonic() + every_s
                try:
                    task()
                except QanatError as error:  # the database is away: told in one line, once a round
                    log.error("a chore failed", chore=name, reason=error.message)
                except Exception:
                    log.exception("a chore failed", chore=name)
