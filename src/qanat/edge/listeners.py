"""The sockets of an edge, by role, and where they come from: the process before this one, systemd, or made here."""

import socket
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import structlog

from qanat.edge.engine import Edge
from qanat.edge.listen import LocalSocket, listen
from qanat.settings import EdgeSettings
from qanat.systemd import given_sockets

API, LOCAL, METRICS = "control", "control_local", "metrics"
"""Roles of this side; all others are the engine's (`Edge.sockets`)."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listeners:
    """Those of this side. They outlast whatever is served on them."""

    api: socket.socket
    metrics: socket.socket | None

    @classmethod
    def open(cls, settings: EdgeSettings, given: MutableMapping[str, socket.socket]) -> "Listeners":
        """Takes those of `given` that still are what the settings ask for, and makes the others. QanatError `api_address`."""
        api = _taken(given, API, settings.control.address) or listen(settings.control.address)
        metrics = None
        if settings.metrics.address:
            metrics = _taken(given, METRICS, settings.metrics.address) or listen(settings.metrics.address)
        return cls(api, metrics)

    def close(self) -> None:
        """This process's copies."""
        self.api.close()
        if self.metrics is not None:
            self.metrics.close()


def handed_down(engine: Edge, listeners: Listeners, local: LocalSocket | None) -> dict[str, int]:
    """All of them by role, as file descriptors; those of the engine are copies, which `close_copies` closes."""
    ours = {API: listeners.api.fileno()}
    if listeners.metrics is not None:
        ours[METRICS] = listeners.metrics.fileno()
    if local is not None:
        ours[LOCAL] = local.socket.fileno()
    return {**engine.sockets(), **ours}


def close_copies(handed: Mapping[str, int]) -> None:
    """After the new process has them."""
    for role, number in handed.items():
        if role not in (API, LOCAL, METRICS):
            socket.close(number)


def of_systemd(settings: EdgeSettings, environment: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """What a socket unit gave, by role: by its name (FileDescriptorName=) where that is one, else by kind and port. What nothing
    in the settings asks for is told, and closed."""
    wanted = _wanted(settings)
    found: dict[str, socket.socket] = {}
    for name, given in given_sockets(environment):
        role = name if name in dict(wanted) else _role_of(given, wanted, found)
        if role is None or role in found:
            log.warning("a socket of systemd's is not used", name=name, address=str(given.getsockname()))
            given.close()
            continue
        found[role] = given
    return found


def _wanted(settings: EdgeSettings) -> Sequence[tuple[str, tuple[socket.SocketKind, str | None]]]:
    tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
    public, tunnel = settings.public, settings.tunnel
    return (
        ("https", (tcp, public.https)),
        ("https_udp", (udp, public.https if public.tunnels else None)),
        ("http", (tcp, public.http)),
        ("tunnel_tcp", (tcp, tunnel.address)),
        ("tunnel_udp", (udp, tunnel.address)),
        (API, (tcp, settings.control.address)),
        (METRICS, (tcp, settings.metrics.address)),
    )


def _role_of(
    given: socket.socket,
    wanted: Sequence[tuple[str, tuple[socket.SocketKind, str | None]]],
    found: Mapping[str, socket.socket],
) -> str | None:
    bound = given.getsockname()
    if given.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    for role, (kind, address) in wanted:
        if address and role not in found and given.type == kind and int(address.rpartition(":")[2]) == bound[1]:
            return role
    return None


def still_asked(
    settings: EdgeSettings, given: MutableMapping[str, socket.socket]
) -> MutableMapping[str, socket.socket]:
    """What a process before this one has served on, without the engine's sockets that are elsewhere than the settings say now,
    which are closed: with a UDP socket what leads to its older processes."""
    for role, (_, address) in _wanted(settings):
        if role in (API, METRICS) or role not in given or (address and _is_at(given[role], address)):
            continue
        for each in [name for name in given if name == role or name.startswith(f"{role}/")]:
            given.pop(each).close()
    return given


def _is_at(bound: socket.socket, address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        there = bound.getsockname()
    except OSError:
        return False
    return bool(bound.family == family and there[0] == where[0] and int(port) in (0, there[1]))


def _taken(given: MutableMapping[str, socket.socket], role: str, address: str) -> socket.socket | None:
    """None: it is another address that is asked for now."""
    taken = given.pop(role, None)
    if taken is None:
        return None
    if _is_at(taken, address):
        return taken
    taken.close()
    return None
