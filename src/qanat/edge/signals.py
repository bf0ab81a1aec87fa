"""What an edge is told to do: by signals, and by its own threads."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from queue import Empty, SimpleQueue
from types import FrameType
from typing import NamedTuple

ENDING = (signal.SIGTERM, signal.SIGINT)
IGNORED = (signal.SIGUSR1,)
"""Its default would kill the process, and with it every request: for nobody's good."""


class Order(Enum):
    """What to do."""

    END = auto()
    """In order."""
    RELOAD = auto()
    UPGRADE = auto()
    DRAINED = auto()
    HANDED_OVER = auto()
    """A new process is in charge: end when what is open has ended."""


class Heard(NamedTuple):
    """An order. `drain_s`: how long what is open may go on; None: as the settings have it. `number`: the signal that it came by;
    0: a thread of this process told it."""

    order: Order
    drain_s: float | None = None
    number: int = 0


ORDERS = {signal.SIGHUP: Order.RELOAD, signal.SIGUSR2: Order.UPGRADE}


class Signals:
    """SIGTERM and SIGINT: the first one is an end in order, the second ends the process. SIGHUP and SIGUSR2 are passed on."""

    def __init__(self) -> None:
        self._heard: SimpleQueue[Heard] = SimpleQueue()
        self._ending = False
        self._last = 0
        self.at_second: Callable[[int], None] = lambda _number: None
        """Called with the second signal, at which this process ends."""

    def __enter__(self) -> None:
        for number in (*ENDING, *ORDERS):
            signal.signal(number, self._hear)
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        for number in (*ENDING, *IGNORED, *ORDERS):
            signal.signal(number, signal.SIG_DFL)

    @property
    def last(self) -> int:
        """The signal that ends the process; 0: none has come."""
        return self._last

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if number not in ENDING:
            self._heard.put(Heard(ORDERS[signal.Signals(number)], number=number))
            return
        if self._ending:
            # Every acknowledged write is on the disk already; nothing is lost by not saying goodbye.
            self.at_second(number)
            os._exit(128 + number)
        self._ending = True
        self._last = number
        self._heard.put(Heard(Order.END, number=number))

    def tell(self, order: Order, drain_s: float | None = None) -> None:
        """From any thread."""
        self._heard.put(Heard(order, drain_s))

    def wait(self) -> Heard:
        """Until the next order."""
        return self._heard.get()

    def unheard(self) -> list[int]:
        """The signals among the orders that nobody waited for."""
        numbers: list[int] = []
        with suppress(Empty):
            while True:
                numbers.append(self._heard.get_nowait().number)
        return [number for number in numbers if number]
