"""How short of memory the edge is, told to the engine, which sheds public requests before the system ends the process (S29)."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

import structlog

SHED_ABOVE = 0.85
REFUSE_ABOVE = 0.95
RECOVERED = 0.03
"""So far below a level it has to come before the level ends."""

Level = Literal["none", "shed", "refuse"]

log = structlog.get_logger(__name__)


class Engine(Protocol):
    """What is told."""

    def set_pressure(self, *, level: Level) -> None:
        """See `_engine.pyi`."""


def level_of(used: float, before: Level) -> Level:
    """From the share of memory in use, and the level in force."""
    if used >= REFUSE_ABOVE - (RECOVERED if before == "refuse" else 0):
        return "refuse"
    if used >= SHED_ABOVE - (RECOVERED if before != "none" else 0):
        return "shed"
    return "none"


class Pressure:
    """Looks at the memory in use when asked to. `memory_bytes`: what may be used; 0: what the system leaves."""

    def __init__(self, engine: Engine, *, memory_bytes: int = 0, used: Callable[[int], float] | None = None) -> None:
        self._engine = engine
        self._memory_bytes = memory_bytes
        self._used = used or share_used
        self._level: Level = "none"

    def look(self) -> None:
        """Tells the engine when the level is another one."""
        used = self._used(self._memory_bytes)
        level = level_of(used, self._level)
        if level == self._level:
            return
        self._level = level
        self._engine.set_pressure(level=level)
        tell = log.info if level == "none" else log.error
        tell("memory pressure", pressure=level, used=round(used, 2), shed_above=SHED_ABOVE, refuse_above=REFUSE_ABOVE)


def share_used(memory_bytes: int, *, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float:
    """What this process uses, of that and what it could still get. 0.0 where the system doesn't tell."""
    resident = _kilobytes(proc / "self" / "status", "VmRSS")
    if resident is None:
        return 0.0
    if memory_bytes:
        return resident / memory_bytes
    left = [_kilobytes(proc / "meminfo", "MemAvailable"), *_groups_leave(proc, cgroups)]
    known = [each for each in left if each is not None]
    return resident / (resident + max(min(known), 0)) if known else 0.0


def _kilobytes(file: Path, field: str) -> int | None:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == field:
                return int(rest.split()[0]) * 1024
    return None


def _groups_leave(proc: Path, cgroups: Path) -> list[int]:
    """What each control group (v2) that this process is in leaves, its own and those around it; page cache is free to take."""
    left: list[int] = []
    with suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            if not line.startswith("0::"):
                continue
            group = cgroups / line[3:].lstrip("/")
            for folder in (group, *group.parents):
                if folder == cgroups.parent:
                    break
                with suppress(OSError, ValueError):
                    most = int((folder / "memory.max").read_text())  # "max": ValueError, no bound
                    current = int((folder / "memory.current").read_text())
                    left.append(most - current + _cache(folder / "memory.stat"))
    return left


def _cache(file: Path) -> int:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "inactive_file":
                return int(number)
    return 0
