"""What a service manager is told."""

import os
import threading
from pathlib import Path

import pytest

from qanat.systemd import ServiceManager
from tests.support.manager import Manager
from tests.support.waiting import wait_until


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_each_thing_is_one_datagram(kind: str, tmp_path: Path) -> None:
    manager = Manager(kind, tmp_path)  # type: ignore[arg-type]
    service = ServiceManager(manager.environment())
    service.ready()
    service.alive()  # nobody asked for it
    service.stopping()
    wait_until(lambda: len(manager.heard) == 2, "two datagrams")
    assert manager.heard == ["READY=1", "STOPPING=1"]
    manager.close()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/nowhere/at/all", "@nobody-listens"])
def test_where_nobody_listens_nothing_happens(address: str) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    service.ready()
    service.alive()
    service.stopping()
    ServiceManager({}).ready()


@pytest.mark.parametrize(
    ("given", "period_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "x"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_wants_to_hear_in_half_of_its_time(given: dict[str, str], period_s: float | None) -> None:
    assert ServiceManager({"NOTIFY_SOCKET": "@x", **given}).watchdog_period_s == period_s
    assert ServiceManager(given).watchdog_period_s is None, "there is nobody to be told"


def test_alive_is_told_as_long_as_the_look_returns(tmp_path: Path) -> None:
    manager = Manager("path", tmp_path)
    service = ServiceManager(manager.environment(watchdog_s=0.02))
    stuck = threading.Event()
    looks: list[int] = []

    def look() -> None:
        looks.append(len(manager.heard))
        if len(looks) > 3:
            stuck.wait(10.0)

    service.watch(look)
    wait_until(lambda: len(looks) == 4, "looks")
    wait_until(lambda: len(manager.heard) == 3, "keep-alives")
    assert manager.heard == ["WATCHDOG=1"] * 3
    service.close()
    stuck.set()
    manager.close()


def test_a_status_is_one_line_and_told_when_it_changes(tmp_path: Path) -> None:
    manager = Manager("path", tmp_path)
    service = ServiceManager(manager.environment())
    service.status("4 of 4 connections")
    service.status("4 of 4 connections")
    service.status("not connected:\nREADY=1")
    wait_until(lambda: len(manager.heard) == 2, "two datagrams")
    assert manager.heard == ["STATUS=4 of 4 connections", "STATUS=not connected: READY=1"]
    manager.close()


def test_a_service_has_one_main_process_through_a_handover(tmp_path: Path) -> None:
    manager = Manager("path", tmp_path)
    old = ServiceManager(manager.environment(watchdog_s=1.0))
    new = ServiceManager(manager.environment(watchdog_s=1.0), in_charge=False)
    new.status("4 of 4 connections")
    new.alive()  # the manager would take it for a stranger's
    old.hand_over(4711)
    old.stopping()  # nor is this the service's end
    old.alive()
    new.take_over()
    new.ready()
    wait_until(lambda: len(manager.heard) == 3, "three datagrams")
    assert manager.heard == ["MAINPID=4711", "STATUS=4 of 4 connections", "READY=1"]
    manager.close()
