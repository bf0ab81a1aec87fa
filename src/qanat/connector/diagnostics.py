"""What /diag/* and /debug/pprof/* tell (connector.md §5): for people who look for a fault, and for `tunnel diag`. Loaded with the
first such request."""

import gc
import os
import platform
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TypedDict

from qanat.connector.flag_table import FLAGS
from qanat.connector.redaction import redacted

_STOCK_KEEPS_BACK = frozenset({"token-file", "credentials-file", "credentials-contents", "origincert", "features"})
_PATHS = ("logfile", "log-directory")
MOST_TYPES = 40


class Connection(TypedDict, total=False):
    """A registered connection, as stock writes it: whatever is 0 is left out. `protocol`: 1 is QUIC, 0 HTTP/2."""

    isConnected: bool
    protocol: int
    edgeAddress: str
    index: int


def configuration(settings: Mapping[str, str]) -> dict[str, str]:
    """The flags that are set, but for secrets, and the user's id. `tunnel diag` finds the log by them."""
    told = {flag.name for flag in FLAGS if not flag.secret} - _STOCK_KEEPS_BACK
    found = {name: redacted(value) for name, value in settings.items() if name in told and value}
    for name in _PATHS:
        if name in found:
            found[name] = os.path.abspath(os.path.expanduser(settings[name]))  # noqa: PTH100, PTH111 - no symlink is followed
    return found | {"uid": str(os.getuid())}


def connection(index: int, protocol: str, edge_address: str) -> Connection:
    """One that is registered."""
    told: Connection = {"isConnected": True, "edgeAddress": edge_address}
    if protocol == "quic":
        told["protocol"] = 1
    if index:
        told["index"] = index
    return told


def system(version: str) -> dict[str, object]:
    """Memory, descriptors, disks and the system, in stock's fields; `errors` says what could not be had. KB everywhere."""
    errors: dict[str, dict[str, str]] = {}
    info: dict[str, object] = {}
    for name, collect in (
        ("memoryInformationError", _memory),
        ("fileDescriptorsInformationError", _descriptors),
        ("diskVolumeInformationError", _disks),
        ("operatingSystemInformationError", _operating_system),
    ):
        try:
            info |= collect()
        except (OSError, ValueError, KeyError, IndexError) as error:
            errors[name] = {"error": str(error), "rawInfo": ""}
    info |= {
        "cloudflaredVersion": version,
        "goVersion": f"python{platform.python_version()}",
        "goArch": _go_architecture(os.uname().machine),
    }
    return {"info": info, "errors": errors}


def _memory() -> dict[str, object]:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return {"memoryMaximum": sizes["MemTotal"], "memoryCurrent": sizes["MemTotal"] - sizes["MemAvailable"]}


def _descriptors() -> dict[str, object]:
    used, _, most = Path("/proc/sys/fs/file-nr").read_text(encoding="ascii").split()
    return {"fileDescriptorMaximum": int(most), "fileDescriptorCurrent": int(used)}


def _disks() -> dict[str, object]:
    """As `df -k` lists them: each device or file system once, if it has a size."""
    found: dict[tuple[int, str], dict[str, object]] = {}
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        name, mount = line.split(" ")[:2]
        try:
            stats = os.statvfs(mount.encode().decode("unicode_escape"))
            device = os.stat(mount).st_dev  # noqa: PTH116 - pathlib costs more
        except OSError:
            continue
        if stats.f_blocks and (device, name) not in found:
            used = (stats.f_blocks - stats.f_bfree) * stats.f_frsize // 1024
            size = stats.f_blocks * stats.f_frsize // 1024
            found[device, name] = {"name": name, "sizeMaximum": size, "sizeCurrent": used}
    return {"disk": list(found.values())}


def _operating_system() -> dict[str, object]:
    about = os.uname()
    return {
        "osSystem": about.sysname,
        "hostName": about.nodename,
        "osVersion": about.release,
        "osRelease": about.version,
        "architecture": about.machine,
    }


def _go_architecture(machine: str) -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


# ---------------------------------------------------------------- profiles of this process, as text
INDEX = """\
Profiles of this connector. It is Python and Rust, so they are text of its own and not Go's:

/debug/pprof/goroutine  every thread: its CPU time, and where its Python stands
/debug/pprof/heap       memory: the process's, the engine's and Python's objects by type
"""


def threads() -> str:
    """Every thread with its CPU time since the start; where the Python ones stand."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    lines = [f"# threads of process {os.getpid()}", f"# {time.process_time():.2f} CPU seconds since the start", ""]
    lines += [
        f"{thread:>8} {name:<16} {state} {cpu:10.2f}s  {names.get(thread, '')}".rstrip()
        for thread, name, state, cpu in sorted(_native_threads(), key=lambda each: -each[3])
    ]
    frames = sys._current_frames()
    for thread in threading.enumerate():
        lines += ["", f"{thread.name} ({thread.native_id})", *_stack(frames.get(thread.ident or 0))]
    return "\n".join(lines) + "\n"


def _native_threads() -> Iterator[tuple[int, str, str, float]]:
    ticks = os.sysconf("SC_CLK_TCK")
    for task in Path("/proc/self/task").iterdir() if Path("/proc/self/task").exists() else ():
        try:
            name, _, rest = (task / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has ended
        fields = rest.split()
        yield int(task.name), name, fields[0], (int(fields[11]) + int(fields[12])) / ticks


def _stack(frame: FrameType | None) -> list[str]:
    lines = []
    while frame is not None:
        code = frame.f_code
        lines.append(f"    {code.co_qualname} {code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back
    return lines


def memory(counters: Mapping[str, int]) -> str:
    """The process's memory by the system's account, what the engine holds, Python's objects by type."""
    lines = [f"# memory of process {os.getpid()}", "", *_system_memory(), "", "# engine"]
    lines += [f"{name} {counters[name]}" for name in sorted(counters) if "bytes" in name or "open" in name]
    by_type: Counter[str] = Counter()
    bytes_by_type: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
        by_type[kind] += 1
        bytes_by_type[kind] += sys.getsizeof(thing, 0)
    lines += [
        "",
        f"# Python: {sys.getallocatedblocks()} blocks, {sum(by_type.values())} objects that the collector knows",
    ]
    lines += [f"{size:>10} bytes {by_type[kind]:>8}  {kind}" for kind, size in bytes_by_type.most_common(MOST_TYPES)]
    return "\n".join(lines) + "\n"


def _system_memory() -> Iterable[str]:
    for name in ("/proc/self/smaps_rollup", "/proc/self/status"):
        try:
            lines = Path(name).read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            continue  # a hardened service may not read it
        return [line for line in lines if line.endswith(" kB")]
    return ["the system tells nothing"]
