"""The service under cloudflared's name as well, for scripts that start, stop and ask for that: made where the command itself was
called so (`qanat service shim`)."""

from qanat.host.machine import Machine
from qanat.host.service.manager import Manager
from qanat.host.service.openrc import SCRIPT as OPENRC_SCRIPT
from qanat.host.service.systemd import UNIT
from qanat.host.service.sysv import SCRIPT as SYSV_SCRIPT

_LINKS = {
    "systemd": ("/etc/systemd/system/cloudflared.service", UNIT),
    "openrc": ("/etc/init.d/cloudflared", OPENRC_SCRIPT),
    "sysv": ("/etc/init.d/cloudflared", SYSV_SCRIPT),
}


def make(machine: Machine, manager: Manager) -> bool:
    """Whether anything changed. What is there already, such as a stock cloudflared's, stays."""
    if manager.name not in _LINKS:
        return False
    place, target = _LINKS[manager.name]
    return machine.link(place, target) if is_ours(machine, place) or not machine.exists(place) else False


def remove(machine: Machine) -> list[str]:
    """What was there of it."""
    places = dict.fromkeys(place for place, _ in _LINKS.values())
    return [place for place in places if is_ours(machine, place) and machine.remove(place)]


def is_ours(machine: Machine, place: str) -> bool:
    """A link to our service."""
    path = machine.path(place)
    return path.is_symlink() and str(path.readlink()) in {target for _, target in _LINKS.values()}
