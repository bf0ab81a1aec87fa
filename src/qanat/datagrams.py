"""What the kernel says of this network name space's UDP sockets (proc(5)): what it dropped, since their buffers were full
(case 58)."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple


class UdpSocket(NamedTuple):
    """`bound`: address and port as the kernel writes them; `inode`: as in /proc/self/fd; `dropped`: datagrams."""

    bound: str
    inode: str
    dropped: int


def udp_sockets() -> Iterator[UdpSocket]:
    """All that are open now. OSError, ValueError, IndexError: the system doesn't tell."""
    for name in ("udp", "udp6"):
        with suppress(FileNotFoundError), open(f"/proc/self/net/{name}", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs more
            for fields in map(str.split, file.read().splitlines()[1:]):
                yield UdpSocket(fields[1], fields[9], int(fields[12]))


def dropped_at(addresses: Iterable[str]) -> int:
    """By the sockets at these addresses (`127.0.0.1:7844`, `[::]:7844`); 0 where the system doesn't tell."""
    with suppress(OSError, ValueError, IndexError):
        wanted = {_as_the_kernel_writes(address) for address in addresses}
        return sum(each.dropped for each in udp_sockets() if each.bound in wanted)
    return 0


def _as_the_kernel_writes(address: str) -> str:
    """In words of 32 bits, each in the byte order of this machine."""
    host, _, port = address.rpartition(":")
    packed = ip_address(host.strip("[]")).packed
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    return f"{''.join(f'{word:08X}' for word in words)}:{int(port):04X}"
