"""What the system says of this process, under the names of every Prometheus client library. Only what can be read."""

import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress

from qanat.datagrams import udp_sockets
from qanat.exposition import Exposition, Kind

UNLIMITED = 2.0**64


def add_process(exposition: Exposition) -> None:
    """Adds `process_*` and the number of threads."""
    for name, (kind, help, read) in _NUMBERS.items():
        with suppress(OSError, ValueError, IndexError):
            exposition.add(name, kind, help, read())


def add_dropped_datagrams(exposition: Exposition) -> None:
    """What the kernel dropped of what came for this process's UDP sockets, since their buffers were full (case 58)."""
    with suppress(OSError, ValueError, IndexError):
        exposition.add(
            "qanat_udp_datagrams_dropped_total",
            "counter",
            "Datagrams that the system dropped since a socket of this process had no room: a small net.core.rmem_max.",
            dropped_datagrams(),
        )


def dropped_datagrams() -> int:
    """Of the UDP sockets that are open now."""
    own = set()
    for entry in os.scandir("/proc/self/fd"):
        with suppress(OSError):  # closed meanwhile
            own.add(os.readlink(entry.path))  # noqa: PTH115 - pathlib costs more
    return sum(each.dropped for each in udp_sockets() if f"socket:[{each.inode}]" in own)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib costs more
        return file.read()


def _stat(field: int) -> int:
    """A field of /proc/self/stat by its number in proc(5), from 3 on."""
    return int(_read("/proc/self/stat").rpartition(")")[2].split()[field - 3])


def _open_files() -> int:
    # the size of the folder is the number of its entries since Linux 6.2
    return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))  # noqa: PTH116, PTH208


def _started_at() -> float:
    booted = next(int(line.split()[1]) for line in _read("/proc/stat").splitlines() if line.startswith("btime"))
    return booted + _stat(22) / os.sysconf("SC_CLK_TCK")


def _limit(kind: int) -> float:
    limit = resource.getrlimit(kind)[0]
    return UNLIMITED if limit == resource.RLIM_INFINITY else float(limit)


def _octets(name: str) -> int:
    """Of this host's (network name space's) IP: Linux counts none by process."""
    names, values = [line.split() for line in _read("/proc/self/net/netstat").splitlines() if line.startswith("IpExt:")]
    return int(values[names.index(name)])


_NUMBERS: dict[str, tuple[Kind, str, Callable[[], float]]] = {
    "go_threads": ("gauge", "Number of OS threads created.", lambda: _stat(20)),
    "process_cpu_seconds_total": (
        "counter",
        "Total user and system CPU time spent in seconds.",
        lambda: round(time.process_time(), 2),
    ),
    "process_max_fds": (
        "gauge",
        "Maximum number of open file descriptors.",
        lambda: _limit(resource.RLIMIT_NOFILE),
    ),
    "process_network_receive_bytes_total": (
        "counter",
        "Number of bytes received by the process over the network.",
        lambda: _octets("InOctets"),
    ),
    "process_network_transmit_bytes_total": (
        "counter",
        "Number of bytes sent by the process over the network.",
        lambda: _octets("OutOctets"),
    ),
    "process_open_fds": ("gauge", "Number of open file descriptors.", _open_files),
    "process_resident_memory_bytes": (
        "gauge",
        "Resident memory size in bytes.",
        lambda: int(_read("/proc/self/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE"),
    ),
    "process_start_time_seconds": (
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        _started_at,
    ),
    "process_virtual_memory_bytes": ("gauge", "Virtual memory size in bytes.", lambda: _stat(23)),
    "process_virtual_memory_max_bytes": (
        "gauge",
        "Maximum amount of virtual memory available in bytes.",
        lambda: _limit(resource.RLIMIT_AS),
    ),
}
