"""What signals do to an edge."""

import os
import signal
from queue import SimpleQueue
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGINT)
IGNORED = (signal.SIGUSR1, signal.SIGUSR2)
"""Their default would kill the process, and with it every request: for nobody's good."""


class Signals:
    """SIGTERM and SIGINT: the first one is an end in order, the second ends the process. SIGHUP is passed on."""

    def __init__(self) -> None:
        self._heard: SimpleQueue[bool] = SimpleQueue()
        self._ending = False

    def __enter__(self) -> None:
        for number in (*ENDING, signal.SIGHUP):
            signal.signal(number, self._hear)
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        for number in (*ENDING, *IGNORED, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if number not in ENDING:
            self._heard.put(False)
            return
        if self._ending:
            # Every acknowledged write is on the disk already; nothing is lost by not saying goodbye.
            os._exit(128 + number)
        self._ending = True
        self._heard.put(True)

    def wait(self) -> bool:
        """Until the next signal: whether it is the end (else it was SIGHUP)."""
        return self._heard.get()
