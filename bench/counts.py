"""What a request costs edge and connector, counted rather than timed: `python -m bench.counts`.

Instructions and allocations are callgrind's, so that a busy machine changes them little; system calls are the kernel's own count.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.chain import Tunnel, rig
from bench.load import Target, h2load
from bench.machine import facts, said
from bench.processes import BenchError, Child

RESULTS = Path(__file__).parent / "results"
CONNECTIONS = 64
WARM_UP = 200
# A short and a long run of the same shape: what the handshakes cost is in both, so that their difference is requests.
COUNTED = (500, 2500)
NATIVE = (2000, 22_000)
SYSCALLS = (
    *("sendmsg", "sendmmsg", "sendto", "write", "writev", "recvmsg", "recvmmsg", "recvfrom", "read", "readv"),
    *("epoll_wait", "epoll_ctl", "futex", "sched_yield", "madvise", "munmap", "mmap", "brk"),
)
ALLOCATORS = re.compile(
    r"(_?mi_|_rjem_)?(malloc|calloc|zalloc|realloc|rezalloc|posix_memalign|aligned_alloc|memalign)\w*"
)
OURS = re.compile(r"_?mi_\w+")
Figures = dict[str, float]


def load(target: Target, count: int) -> None:
    """So many requests for 1 KiB over kept-alive connections, as fast as they are answered."""
    h2load(target, "/small", f"-c{CONNECTIONS}", f"-n{count}", timeout_s=600)


def difference(short: Figures, long: Figures, requests: int) -> Figures:
    """Per request."""
    return {key: round((long[key] - short.get(key, 0.0)) / requests, 3) for key in long}


class Callgrind:
    """A process that counts its instructions from when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid = 0
        self.dumps = 0

    @property
    def prefix(self) -> tuple[str, ...]:
        out = self.folder / "callgrind.out"
        # Python's threads take turns under valgrind as they would on one core; without fairness one may starve.
        flags = ("--instr-atstart=no", "--fair-sched=yes", "--compress-strings=no", "--compress-pos=no")
        return ("valgrind", "--tool=callgrind", "-q", *flags, f"--callgrind-out-file={out}")

    def control(self, *arguments: str) -> None:
        done = subprocess.run(
            ["callgrind_control", *arguments, str(self.pid)], capture_output=True, text=True, timeout=120
        )
        if done.returncode != 0 or "Error" in done.stdout + done.stderr:
            raise BenchError(f"callgrind_control {' '.join(arguments)} failed: {done.stdout}{done.stderr}")

    def measure(self, target: Target, count: int) -> Figures:
        self.control("-z")
        load(target, count)
        self.dumps += 1
        self.control("-d")
        path = self.folder / f"callgrind.out.{self.dumps}"
        for _ in range(600):  # it is written after the command has returned
            if path.exists() and "\ntotals: " in tail(path):
                counted = allocations(path)
                found = {"instructions": total(path)}
                return found if counted is None else {**found, "allocations": counted}
            time.sleep(0.1)
        raise BenchError(f"callgrind wrote no {path}")


def tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 400))
        return file.read().decode("utf-8", "replace")


def total(path: Path) -> float:
    return float(re.findall(r"^totals: (\d+)", tail(path), re.MULTILINE)[-1])


def allocations(path: Path) -> float | None:
    """Calls of an allocator from outside of it; None where the engine's has no name, for it is stripped."""
    found, caller, callee, named = 0, "", "", False
    with path.open() as file:
        for line in file:
            if line.startswith("fn="):
                caller = line[3:].strip()
            elif line.startswith("cfn="):
                callee = line[4:].strip()
                named = named or OURS.fullmatch(callee) is not None
            elif line.startswith("calls=") and ALLOCATORS.fullmatch(callee) and not ALLOCATORS.fullmatch(caller):
                found += int(line[6:].split(" ", 1)[0])
    return float(found) if named else None


def system_calls(child: Child, target: Target, count: int) -> Figures:
    """Of all threads of a process, by name and together."""
    events = ["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in SYSCALLS)]
    argv = ["perf", "stat", "-x,", "-e", ",".join(events), "-p", str(child.pid)]
    before = child.cpu_s()
    counter = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    time.sleep(0.5)
    try:
        load(target, count)
    finally:
        counter.send_signal(2)
        told = counter.communicate(timeout=30)[1]
    rows = [line.split(",") for line in told.splitlines() if ":sys_enter" in line]
    if len(rows) != len(events) or not rows[0][0].isdigit():
        raise BenchError(f"perf counts no system calls here (it needs root and tracefs):\n{told}")
    counted = {row[2].rpartition("sys_enter")[2].lstrip("_") or "all": float(row[0]) for row in rows}
    return {**counted, "cpu_us": (child.cpu_s() - before) * 1e6}


@contextmanager
def running(folder: Path, protocol: str, valgrind: str, tool: Callgrind | None) -> Iterator[tuple[Child, Tunnel]]:
    """Edge and connector, one of them (or none) under callgrind."""
    folder.mkdir()
    edge_prefix = tool.prefix if tool and valgrind == "edge" else ()
    with rig(folder, None, protocol, edge_prefix=edge_prefix, large=1 << 20) as ready:
        ready.connector_prefix = tool.prefix if tool and valgrind == "connector" else ()
        tunnel = ready.tunnel("qanat", protocol)
        try:
            load(tunnel.target, WARM_UP)
            yield ready.edge, tunnel
            for child in (ready.edge, tunnel.connector):
                child.check()
        finally:
            tunnel.connector.stop()


def run(folder: Path, protocol: str, parts: list[str]) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    for who in [part for part in parts if part != "syscalls"]:
        print(f"bench: instructions of the {who} …", file=sys.stderr, flush=True)
        tool = Callgrind(folder / who)
        with running(folder / who, protocol, who, tool) as (edge, tunnel):
            tool.pid = edge.pid if who == "edge" else tunnel.connector.pid
            tool.control("-i", "on")
            load(tunnel.target, WARM_UP)
            short, long = (tool.measure(tunnel.target, count) for count in COUNTED)
        found[who] = difference(short, long, COUNTED[1] - COUNTED[0])
    if "syscalls" in parts:
        print("bench: system calls …", file=sys.stderr, flush=True)
        with running(folder / "native", protocol, "none", None) as (edge, tunnel):
            load(tunnel.target, NATIVE[1])
            for who, child in (("edge", edge), ("connector", tunnel.connector)):
                short, long = (system_calls(child, tunnel.target, count) for count in NATIVE)
                calls = difference(short, long, NATIVE[1] - NATIVE[0])
                found.setdefault(who, {}).update({f"{name}_calls": n for name, n in calls.items() if name != "cpu_us"})
                found[who]["cpu_us"] = calls["cpu_us"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.counts", description=__doc__)
    parser.add_argument("--protocol", choices=("quic", "http2"), default="quic")
    choices = ("edge", "connector", "syscalls")
    parser.add_argument("--only", nargs="*", choices=choices, default=choices, help="all of them, if not given")
    parser.add_argument("--keep", type=Path, help="a folder (which must not exist) for what callgrind wrote")
    parser.add_argument("--out", type=Path, help="the file to write instead of bench/results/counts[-http2].json")
    chosen = parser.parse_args()
    try:
        for name, package in (("valgrind", "valgrind"), ("perf", "linux-perf")):
            if shutil.which(name) is None:
                raise BenchError(f"{name} is not installed: apt-get install {package}")
        machine: dict[str, Any] = {**facts(None), "valgrind": said("valgrind", "--version")}
        with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name:
            folder = chosen.keep or Path(name) / "run"
            folder.mkdir(parents=True)
            for part in (folder, Path(name)):
                part.chmod(0o755)  # nginx workers may run as another user
            found = run(folder, chosen.protocol, list(chosen.only))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    text = json.dumps({"machine": machine, "protocol": chosen.protocol, "per_request": found}, indent=1) + "\n"
    print(text)
    if set(chosen.only) == set(choices) or chosen.out:
        suffix = "" if chosen.protocol == "quic" else f"-{chosen.protocol}"
        (chosen.out or RESULTS / f"counts{suffix}.json").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
