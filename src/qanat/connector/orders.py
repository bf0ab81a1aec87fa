"""What a running connector is told from outside, on the main thread: by signals, and by commands of this host.

The first SIGTERM or SIGINT drains, a second one ends at once, SIGHUP reads the configuration file again, SIGUSR2 hands over to a
new process (`upgrade`). What other threads have to say to this one comes by the same pipe as the signals' numbers.
"""

import os
import select
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

from qanat.connector.log import Log
from qanat.connector.upgrade import Upgrades
from qanat.succession.child import LIMIT_S
from qanat.succession.local_socket import LocalSocket

_ENDED, _HANDED_OVER = 0, 255
"""On the pipe, where no signal has these numbers."""
_STOP = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupt"}
_HANG_UP = getattr(signal, "SIGHUP", None)
_UPGRADE = getattr(signal, "SIGUSR2", None)
_HARMLESS = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""Their default would end the process. A stock connector takes no notice of the last two."""


class Orders:
    """Hears signals from its making on."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._reader, self._writer = os.pipe()
        self._is_stopping = False
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (*_STOP, *_HARMLESS):
            signal.signal(number, lambda _number, _frame: None)  # the pipe tells; this keeps the default off

    def tell_ended(self) -> None:
        """From any thread: there is nothing left to do."""
        self._tell(_ENDED)

    def tell_handed_over(self) -> None:
        """From any thread: another process is in charge."""
        self._tell(_HANDED_OVER)

    def _tell(self, number: int) -> None:
        with suppress(OSError):
            os.write(self._writer, bytes([number]))

    def follow(
        self,
        *,
        stop: Callable[[], None],
        reload: Callable[[], None],
        upgrades: Upgrades,
        ear: LocalSocket,
        describe: Callable[[], Mapping[str, object]],
    ) -> None:
        """Until it is over. `stop`: drains, and doesn't wait; `reload`: reads the configuration file again; `describe`: what a
        command of this host may know."""
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        if ear.fileno is not None:
            poller.register(ear.fileno, select.POLLIN)
        while True:
            for ready, _ in poller.poll():
                if ready != self._reader:
                    if ear.fileno is None:  # it was given up: so is what it was
                        poller.unregister(ready)
                    self._answer(upgrades, ear, describe)
                    continue
                for number in os.read(self._reader, 64):
                    if number == _ENDED:
                        return
                    if number == _HANDED_OVER:
                        self._log.info("Initiating graceful shutdown: another process is in charge ...")
                        stop()
                    elif not self._heed(signal.Signals(number), stop, reload, upgrades):
                        return

    def unheard(self) -> list[int]:
        """Signals to stop that came after the end of `follow`."""
        os.set_blocking(self._reader, False)
        try:
            return [number for number in os.read(self._reader, 64) if number in _STOP]
        except OSError:
            return []

    def _heed(
        self, number: signal.Signals, stop: Callable[[], None], reload: Callable[[], None], upgrades: Upgrades
    ) -> bool:
        """False: this was the second signal to stop."""
        if number == _HANG_UP:
            reload()
        if number == _UPGRADE and not self._is_stopping:
            upgrades.begin(LIMIT_S)
        name = _STOP.get(number)
        if name is None:
            return True
        upgrades.cancel()
        upgrades.pass_on(number)
        if self._is_stopping:
            self._log.info(f"Ending at once due to a second signal {name} ...")
            return False
        self._is_stopping = True
        self._log.info(f"Initiating graceful shutdown due to signal {name} ...")
        if not upgrades.handed_over:
            stop()
        return True

    def _answer(self, upgrades: Upgrades, ear: LocalSocket, describe: Callable[[], Mapping[str, object]]) -> None:
        asker = ear.accept()
        if asker is None:
            return
        if asker.question.ask != "upgrade":
            asker.answer(describe())
        elif self._is_stopping:
            asker.answer({"refused": "it is stopping"})
        else:
            upgrades.begin(asker.question.limit_s, asker)
