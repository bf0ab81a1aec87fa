from pathlib import Path
from typing import Any

import pytest

from qanat.edge.pressure import Pressure, level_of, share_used


class Engine:
    def __init__(self) -> None:
        self.told: list[str] = []

    def set_pressure(self, *, level: str) -> None:
        self.told.append(level)


def test_levels_are_told_once_and_end_only_well_below() -> None:
    engine: Any = Engine()
    shares = iter([0.5, 0.84, 0.86, 0.84, 0.96, 0.93, 0.91, 0.83, 0.81, 0.5])
    pressure = Pressure(engine, used=lambda _: next(shares))
    for _ in range(10):
        pressure.look()
    assert engine.told == ["shed", "refuse", "shed", "none"]


@pytest.mark.parametrize(
    ("used", "level"), [(0.0, "none"), (0.8499, "none"), (0.85, "shed"), (0.95, "refuse"), (2.0, "refuse")]
)
def test_levels(used: float, level: str) -> None:
    assert level_of(used, "none") == level


def lay(folder: Path, *, resident: int, available: int, groups: dict[str, tuple[str, int, int]]) -> tuple[Path, Path]:
    proc, cgroups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "status").write_text(f"Name:\tqanat\nVmRSS:\t   {resident} kB\n")
    (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable:  {available} kB\n")
    (proc / "self" / "cgroup").write_text("0::/system.slice/qanat.service\n")
    for name, (most, current, cache) in groups.items():
        group = cgroups / name
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(f"{most}\n")
        (group / "memory.current").write_text(f"{current}\n")
        (group / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\nactive_file 9\n")
    return proc, cgroups


def test_what_counts_is_what_the_process_could_still_get(tmp_path: Path) -> None:
    proc, cgroups = lay(tmp_path, resident=200, available=600, groups={})
    assert share_used(0, proc=proc, cgroups=cgroups) == 0.25
    assert share_used(400 * 1024, proc=proc, cgroups=cgroups) == 0.5


def test_the_narrowest_control_group_counts_and_page_cache_is_free(tmp_path: Path) -> None:
    kib = 1024
    groups = {
        "system.slice/qanat.service": ("max", 500 * kib, 0),
        "system.slice": (str(1000 * kib), 900 * kib, 50 * kib),
    }
    proc, cgroups = lay(tmp_path, resident=450, available=100_000, groups=groups)
    assert share_used(0, proc=proc, cgroups=cgroups) == pytest.approx(450 / (450 + 150))


def test_a_system_that_tells_nothing_is_never_short(tmp_path: Path) -> None:
    assert share_used(0, proc=tmp_path, cgroups=tmp_path) == 0.0
