"""What a lockdown closes, and for whom it stays open."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

import msgspec
from msgspec import Struct

from qanat import structs
from qanat.errors import QanatError

PORTS = (80, 443)
TAILNET = ("tailscale0",)
"""The tailnet's interface. Not its range, 100.64.0.0/10: providers use it for themselves, and anybody in such a network can send
from it."""
ALWAYS_KEPT = ("lo",)
CONTAINERS = ("docker0", "br-+")
"""Docker's bridges; a `+` at the end stands for any name that goes on."""

_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}\+?")


class Lockdown(Struct, frozen=True):
    """`ports`: closed to the public, TCP and UDP. `interfaces` and `sources` (networks) keep their way in, besides loopback and
    containers of this host."""

    ports: tuple[int, ...] = PORTS
    interfaces: tuple[str, ...] = TAILNET
    sources: tuple[str, ...] = ()

    @property
    def kept_interfaces(self) -> tuple[str, ...]:
        return (*ALWAYS_KEPT, *self.interfaces, *CONTAINERS)

    def sources_of(self, version: int) -> list[str]:
        return [each for each in self.sources if ip_network(each).version == version]


def read_lockdown(ports: Iterable[int], interfaces: Iterable[str], sources: Iterable[str]) -> Lockdown:
    """Checks each value. QanatError `lockdown_bad_value`."""
    checked = Lockdown(tuple(sorted(set(ports))) or PORTS, tuple(interfaces), tuple(map(_network, sources)))
    for port in checked.ports:
        if not 0 < port < 65536:
            raise QanatError("lockdown_bad_value", f"{port} is not a port", where="--port", hint="from 1 to 65535")
    for name in checked.interfaces:
        if not _INTERFACE.fullmatch(name):
            raise QanatError(
                "lockdown_bad_value",
                f"'{name[:40]}' is not the name of an interface",
                where="--keep-interface",
                hint="write tailscale0, or wg+ for every name that begins with wg",
            )
    return checked


def noted(lockdown: Lockdown) -> str:
    """One line of JSON, for a comment."""
    return msgspec.json.encode(lockdown).decode()


def read_noted(text: str) -> Lockdown | None:
    """From the comment of a file that was written; None where there is none."""
    found = re.search(r"^# settings: (\{.*\})$", text, re.MULTILINE)
    try:
        return structs.decode(found[1], Lockdown) if found else None
    except msgspec.MsgspecError:
        return None


def _network(text: str) -> str:
    try:
        network: IPv4Network | IPv6Network = ip_network(text)
    except ValueError:
        raise QanatError(
            "lockdown_bad_value", f"'{text[:60]}' is not a network", where="--keep-source", hint="write 192.0.2.0/24"
        ) from None
    return str(network)
