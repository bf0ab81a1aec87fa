"""Asks the role probe on a thread of its own, and keeps what it said."""

import threading
import time
from collections.abc import Callable

import msgspec

from qanat.connector.endpoints import Answer
from qanat.connector.log import Log
from qanat.connector.role.probe import RoleProbe, Said


class RoleKeeper:
    """From `start` to `stop`. The edge asks for the answer (`answer`), as often as it likes."""

    def __init__(self, probe: RoleProbe, log: Log, *, clock: Callable[[], float] = time.time) -> None:
        self._probe = probe
        self._log = log
        self._clock = clock
        self._said = Said("unknown", "it was not asked yet")
        self._at = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="role", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def answer(self) -> Answer:
        """For the edge: what the probe said last, and when."""
        told = {"role": self._said.role, "detail": self._said.detail, "at": self._at}
        return Answer(200, "application/json", msgspec.json.encode(told) + b"\n")

    def _run(self) -> None:
        while not self._ended.is_set():
            self.ask()
            self._ended.wait(self._probe.interval_s)

    def ask(self) -> None:
        """Once. What changes is logged."""
        said = self._probe.ask()
        before, self._said, self._at = self._said, said, self._clock()
        if said.role == before.role:
            return
        line = self._log.warn if said.role == "unknown" else self._log.info
        line(f"This host's role is {said.role}", probe=self._probe.text.partition("?")[0], reason=said.detail)
