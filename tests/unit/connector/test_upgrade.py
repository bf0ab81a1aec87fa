"""Upgrades beside the end of the process that they are for."""

import signal
import threading
import time

import pytest

from qanat.connector.handover import Registered, Successor
from qanat.connector.log import Log
from qanat.connector.upgrade import Place, Upgrades
from qanat.succession.child import UpgradeFailedError
from qanat.systemd import ServiceManager

PATIENCE_S = 30.0


class Starting(Successor):
    """A new process that would never register; it ends when it is killed."""

    def __init__(self) -> None:
        self.killed = threading.Event()

    def signal(self, number: int) -> None:
        if number == signal.SIGKILL:
            self.killed.set()

    def registered(self, limit_s: float) -> Registered:
        assert self.killed.wait(PATIENCE_S)
        raise UpgradeFailedError("it was killed")

    def end(self) -> None:
        """It has."""


@pytest.mark.parametrize("told", ["before the new process is there", "after"])
def test_a_process_that_ends_leaves_none_behind_that_it_was_starting(
    monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    new = Starting()
    asked, go = threading.Event(), threading.Event()

    def start(*_: object, **__: object) -> Successor:
        asked.set()
        assert go.wait(PATIENCE_S)
        return new

    monkeypatch.setattr(Successor, "start", start)
    upgrades = Upgrades(
        Log(level="panic"),
        ServiceManager({}),
        Place(watched=False, has_pidfile=True),
        listeners=list,
        wanted=None,
        tunnel=None,
        let_go=lambda: pytest.fail("nothing may be given away"),
        done=lambda: pytest.fail("nor may it be over"),
    )
    upgrades.begin(PATIENCE_S)
    assert asked.wait(PATIENCE_S)
    if told == "after":
        go.set()
        while upgrades._starting is None:
            time.sleep(0.001)
    upgrades.cancel()
    threading.Timer(0.05, go.set).start()
    upgrades.close()
    assert new.killed.is_set()
    assert not upgrades.handed_over
