"""Which core runs what: the data path on one, everything else on another, for figures that shared cores would blur."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ENGINE_THREADS = ("qanat-edge", "qanat-rpc")  # crates/edge/src/server.rs, crates/transport/src/rpc.rs


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, whatever its depth."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it may end while we look
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.append(child)
            waiting.append(child)
    return found


def threads(pid: int) -> dict[int, str]:
    """Ids of the threads of a process, and their names."""
    found: dict[int, str] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found[int(thread.name)] = (thread / "comm").read_text().strip()
    return found


@contextmanager
def apart(edge_pid: int) -> Iterator[int]:
    """The edge's engine, our other children and what is started within run on the first core, the edge's Python on the
    second, whose number is given. Everything may use every core again afterwards. ValueError where there is one core."""
    every = os.sched_getaffinity(0)
    first, second, *_ = sorted(every)
    inside = threads(edge_pid)
    ours = [thread for pid in descendants(os.getpid()) if pid != edge_pid for thread in threads(pid)]
    _place([*ours, *(thread for thread, name in inside.items() if name in ENGINE_THREADS)], {first})
    _place([thread for thread, name in inside.items() if name not in ENGINE_THREADS], {second})
    os.sched_setaffinity(0, {first})
    try:
        yield second
    finally:
        os.sched_setaffinity(0, every)
        _place([thread for pid in descendants(os.getpid()) for thread in threads(pid)], every)


def _place(ids: list[int], cores: set[int]) -> None:
    for thread in ids:
        with suppress(OSError):
            os.sched_setaffinity(thread, cores)
