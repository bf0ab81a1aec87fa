"""What every service manager can do for the one service, and which one a machine has."""

import sys
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from qanat.errors import QanatError
from qanat.host.machine import Machine
from qanat.host.service.wanted import Wanted


class State(Struct, frozen=True):
    """How the service is. `ready`: connected; None: its manager can't tell. `text`: the connector's own words."""

    running: bool
    ready: bool | None
    text: str = ""
    process: int | None = None
    restarts: int = 0


class Manager(Protocol):
    """One kind of service manager. `user`: who the service runs as and whose the secret is; None: root's, handed over."""

    name: str
    title: str
    user: str | None

    def files(self, wanted: Wanted) -> dict[str, tuple[bytes, int]]:
        """Content and mode of each file of its own, by path."""

    def links(self) -> dict[str, str]:
        """What makes it start at boot: target by path."""

    def paths(self) -> tuple[str, ...]:
        """Everything that an uninstallation takes away, folders after what is in them."""

    def installed(self) -> bool:
        """Whether the service is there, of this kind."""

    def prepare(self) -> None:
        """What must be there before the files: a user."""

    def start(self, *, anew: bool) -> None:
        """Starts it, or `anew` what runs already. Doesn't wait until it is connected."""

    def stop(self) -> None:
        """Stops it, if it runs, and waits for its end."""

    def forget(self) -> None:
        """After the files are gone: what else the manager remembers, and the user."""

    def state(self) -> State:
        """How it is now."""


NAMES = ("systemd", "openrc", "sysv", "launchd")


def manager_of(machine: Machine, name: str | None = None) -> Manager:
    """The machine's, or the one that is named. QanatError `service_manager_unknown`."""
    from qanat.host.service.launchd import Launchd
    from qanat.host.service.openrc import OpenRC
    from qanat.host.service.systemd import Systemd
    from qanat.host.service.sysv import SysV

    managers: dict[str, Callable[[Machine], Manager]] = {
        "systemd": Systemd,
        "openrc": OpenRC,
        "sysv": SysV,
        "launchd": Launchd,
    }
    chosen = name or detected(machine)
    if chosen not in managers:
        raise QanatError(
            "service_manager_unknown",
            f"'{chosen[:40]}' is no service manager that qanat knows",
            where="--init",
            hint=f"use one of {', '.join(NAMES)}",
        )
    return managers[chosen](machine)


def detected(machine: Machine) -> str:
    """As stock: systemd where it runs, OpenRC where it is, else SysV. In a folder: where it is installed."""
    if machine.live and sys.platform == "darwin":
        return "launchd"
    if machine.live:
        if machine.exists("/run/systemd/system"):
            return "systemd"
    elif any(machine.exists(f"{folder}/systemd/systemd") for folder in ("/usr/lib", "/lib")):
        return "systemd"
    return "openrc" if machine.exists("/sbin/openrc-run") or machine.exists("/usr/sbin/openrc-run") else "sysv"
