"""`qanat service install` and `uninstall`: the same call again changes nothing, another token takes the old one's place, and an
uninstallation leaves nothing (case 17)."""

import os
import time
from collections.abc import Callable

from msgspec import Struct

from qanat.errors import QanatError
from qanat.host.machine import Machine
from qanat.host.service import alias
from qanat.host.service.manager import NAMES, Manager, State, manager_of
from qanat.host.service.session import comes_through_tunnel
from qanat.host.service.wanted import AUTHORITY, CONFIGURATION, CREDENTIALS, FOLDER, TOKEN, Wanted

SECRET_MODE = 0o600
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 1.0


class Installed(Struct, frozen=True):
    """What came of it. `state` is None where nothing was started: in a folder that stands for another machine."""

    manager: str
    tunnel_id: str
    changed: bool
    state: State | None = None
    told: tuple[str, ...] = ()


def install(
    machine: Machine,
    manager: Manager,
    wanted: Wanted,
    *,
    wait_s: float,
    called: str = "qanat",
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Installed:
    """Writes the service's files, starts it, and waits up to `wait_s` for its first connection. If anything can't be written, the
    secret is not left behind. `called`: by what name; the service has cloudflared's too, if that is it.

    Raises:
        QanatError: `file_unwritable`, `host_command_failed`, `service_not_permitted`.
    """
    _need_root(machine)
    manager.prepare()
    try:
        changed = _write(machine, manager, wanted)
        if called == "cloudflared":
            changed |= alias.make(machine, manager)
    except QanatError:
        machine.remove(wanted.secret_file)
        raise
    if not machine.live:
        return Installed(manager.name, wanted.tunnel_id, changed, None, wanted.told)
    state = manager.state()
    if changed or not state.running:
        manager.start(anew=state.running)
        state = manager.state()
    end, look_s = clock() + wait_s, FIRST_LOOK_S
    while state.ready is False and clock() < end:
        pause(min(look_s, max(end - clock(), 0.0)))
        look_s = min(look_s * 2, LONGEST_LOOK_S)
        state = manager.state()
    return Installed(manager.name, wanted.tunnel_id, changed, state, wanted.told)


def uninstall(machine: Machine, name: str | None = None, *, cut_session: bool = False) -> tuple[str, ...]:
    """Stops the service and removes all that `install` made, of whichever service manager; what was there. Nothing there is no
    error.

    Raises:
        QanatError: `service_session`: who asks sits behind the tunnel; `file_unwritable`, `service_not_permitted`.
    """
    _need_root(machine)
    found = [
        manager
        for manager in (manager_of(machine, each) for each in ((name,) if name else NAMES))
        if manager.installed()
    ]
    if found and machine.live and not cut_session and comes_through_tunnel(os.getpid()):
        raise QanatError(
            "service_session",
            "this session comes from the host itself, as one through its tunnel does: it would be cut off",
            where="service uninstall",
            hint="come by another way, or give --yes",
        )
    removed: list[str] = []
    for manager in found:
        if machine.live:
            manager.stop()
        removed += [path for path in manager.paths() if machine.remove(path)]
    removed += [path for path in (TOKEN, CREDENTIALS, CONFIGURATION, AUTHORITY) if machine.remove(path)]
    removed += alias.remove(machine)
    if removed:
        machine.remove(FOLDER)  # what a lockdown keeps there stays
    if machine.live:
        for manager in found:
            manager.forget()
    return tuple(removed)


def _write(machine: Machine, manager: Manager, wanted: Wanted) -> bool:
    changed = machine.write(wanted.secret_file, wanted.secret, SECRET_MODE, owner=manager.user)
    for path in {TOKEN, CREDENTIALS} - {wanted.secret_file}:
        changed |= machine.remove(path)
    files = wanted.files()
    for path in (CONFIGURATION, AUTHORITY):
        changed |= machine.write(path, files[path]) if path in files else machine.remove(path)
    for path, (content, mode) in manager.files(wanted).items():
        changed |= machine.write(path, content, mode)
    for path, target in manager.links().items():
        changed |= machine.link(path, target)
    return changed


def _need_root(machine: Machine) -> None:
    if machine.live and os.geteuid() != 0:
        raise QanatError(
            "service_not_permitted",
            "services of this machine are root's to change",
            where="service",
            hint="run it by sudo, or write into a folder by --root DIR",
        )
