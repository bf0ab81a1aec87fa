"""Applied, kept over a reboot, looked at and taken back."""

import os
import shlex
from typing import Protocol

from msgspec import Struct

from qanat.errors import QanatError
from qanat.host.lockdown.iptables import Iptables
from qanat.host.lockdown.nftables import Nftables
from qanat.host.lockdown.wanted import Lockdown, read_noted
from qanat.host.machine import Machine
from qanat.host.service.manager import detected
from qanat.host.service.wanted import FOLDER

NAME = "qanat-lockdown.service"
UNIT = f"/etc/systemd/system/{NAME}"
WANTS = f"/etc/systemd/system/multi-user.target.wants/{NAME}"
INCLUDED = "/etc/nftables.d/qanat-lockdown.nft"
"""What Alpine's nftables reads at boot."""

_TEMPLATE = """\
# Written by `qanat lockdown --apply`; `qanat lockdown undo` takes it away.
[Unit]
Description=qanat lockdown: no public way to ports {ports}
DefaultDependencies=no
After=local-fs.target nftables.service netfilter-persistent.service ufw.service firewalld.service
PartOf=nftables.service
Before=network-pre.target docker.service shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command}

[Install]
WantedBy=multi-user.target
"""


class Backend(Protocol):
    """One kind of packet filter. `file` is what is applied, and applied again at boot."""

    name: str
    programs: tuple[str, ...]
    file: str
    mode: int

    def text(self, lockdown: Lockdown) -> str:
        """What applying it means, as the backend's own tool reads it."""

    def at_boot(self) -> list[str]:
        """The command that applies `file`."""

    def apply(self, text: str) -> None:
        """At once. QanatError `host_command_failed`."""

    def in_force(self) -> bool:
        """Whether it is there now."""

    def undo(self) -> None:
        """Takes it away; nothing there is no error."""


class Status(Struct, frozen=True):
    """`in_force`: in the kernel now. `at_boot`: what applies it after a reboot, None for nothing."""

    backend: str
    in_force: bool
    at_boot: str | None
    lockdown: Lockdown | None


def backend_of(machine: Machine, name: str | None = None) -> Backend:
    """nftables where its tool is, else iptables, or the one that is named. QanatError `lockdown_tool_missing`."""
    backends = _backends(machine)
    if name is not None and name not in [each.name for each in backends]:
        raise QanatError(
            "lockdown_bad_value", f"'{name[:40]}' is no packet filter that qanat knows", where="--backend",
            hint="use nftables or iptables",
        )  # fmt: skip
    for backend in backends:
        if name in (None, backend.name) and (not machine.live or all(map(machine.program, backend.programs))):
            return backend
    missing = name or "nftables or iptables"
    raise QanatError(
        "lockdown_tool_missing", f"the tools of {missing} are not installed", where="lockdown",
        hint="install nftables: apt-get install nftables",
    )  # fmt: skip


def apply(machine: Machine, backend: Backend, lockdown: Lockdown) -> Status:
    """Closes the ports now and at each boot; again, and nothing is different.

    Raises:
        QanatError: `service_not_permitted`, `host_command_failed`, `file_unwritable`.
    """
    _need_root(machine)
    text = backend.text(lockdown)
    if machine.live:
        backend.apply(text)
        for other in _others(machine, backend):
            other.undo()
    for other in _backends(machine):
        if other.name != backend.name:
            machine.remove(other.file)
    machine.write(backend.file, text.encode(), backend.mode)
    kind = detected(machine)
    if kind == "systemd":
        unit = _TEMPLATE.format(ports=", ".join(map(str, lockdown.ports)), command=shlex.join(backend.at_boot()))
        machine.write(UNIT, unit.encode())
        machine.link(WANTS, UNIT)
        if machine.live:
            machine.try_run("systemctl", "daemon-reload")
            machine.try_run("systemctl", "--no-block", "restart", NAME)  # applied already; so that systemd knows of it
    elif backend.name == "nftables" and machine.exists("/etc/nftables.d"):
        machine.write(INCLUDED, text.encode())
    return status(machine, backend)


def status(machine: Machine, backend: Backend) -> Status:
    """How it is. `backend` is looked at unless the other one's file is there."""
    for other in _backends(machine):
        if other.name != backend.name and machine.exists(other.file):
            backend = other
    text = (machine.read(backend.file) or b"").decode(errors="replace")
    at_boot = next((path for path in (WANTS, INCLUDED) if text and machine.exists(path)), None)
    in_force = machine.live and backend.in_force()
    return Status(backend.name, in_force, NAME if at_boot == WANTS else at_boot, read_noted(text))


def undo(machine: Machine) -> tuple[str, ...]:
    """Opens the ports again, and forgets it: the files that are gone. Nothing there is no error.

    Raises:
        QanatError: `service_not_permitted`, `host_command_failed`, `file_unwritable`.
    """
    _need_root(machine)
    backends = _backends(machine)
    if machine.live:
        if machine.exists(UNIT):
            machine.try_run("systemctl", "stop", NAME)
        for backend in backends:
            if all(map(machine.program, backend.programs)):
                backend.undo()
    removed = [path for path in (WANTS, UNIT, INCLUDED, *(each.file for each in backends)) if machine.remove(path)]
    if removed:
        machine.remove(FOLDER)
        if machine.live and UNIT in removed:
            machine.try_run("systemctl", "daemon-reload")
    return tuple(removed)


def _backends(machine: Machine) -> tuple[Backend, ...]:
    return (Nftables(machine), Iptables(machine))


def _others(machine: Machine, backend: Backend) -> list[Backend]:
    """What was applied by another kind before."""
    return [each for each in _backends(machine) if each.name != backend.name and machine.exists(each.file)]


def _need_root(machine: Machine) -> None:
    if machine.live and os.geteuid() != 0:
        raise QanatError(
            "service_not_permitted", "the firewall of this machine is root's to change", where="lockdown",
            hint="run it by sudo",
        )  # fmt: skip
