"""The facts without which a number says nothing."""

import datetime
import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qanat
from bench.load import tool


def said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    return (done.stdout + done.stderr).strip()


@dataclass(frozen=True)
class CpuTime:
    """Jiffies of all cores since boot."""

    total: int
    idle: int
    steal: int

    @classmethod
    def now(cls) -> "CpuTime":
        fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return cls(sum(fields), fields[3] + fields[4], fields[7])

    def busy_share(self, since: "CpuTime") -> float:
        return round(1 - (self.idle - since.idle) / max(1, self.total - since.total), 3)

    def steal_share(self, since: "CpuTime") -> float:
        """How much of the cores' time the host gave to others: above some percent a run is worth little."""
        return round((self.steal - since.steal) / max(1, self.total - since.total), 3)


def busy_before(seconds: float = 2.0) -> float:
    """How busy the cores are with something else, right now."""
    start = CpuTime.now()
    time.sleep(seconds)
    return CpuTime.now().busy_share(start)


def facts(stock_binary: str | None) -> dict[str, Any]:
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    here = Path(__file__).resolve().parents[1]
    engine = next(Path(qanat.__file__).parent.glob("_engine*.so"), None)
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu.group(1) if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": int(memory.group(1)) // 1024 if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": said(tool("nginx"), "-v").rpartition("/")[2],
        "wrk": said(tool("wrk"), "-v").split(" ")[1],
        "h2load": said(tool("h2load"), "--version").rpartition("/")[2],
        "cloudflared": said(stock_binary, "--version") if stock_binary else None,
        "qanat": qanat.__version__,
        "engine_bytes": engine.stat().st_size if engine else None,
        "commit": said("git", "-C", str(here), "rev-parse", "HEAD"),
        "dirty": bool(said("git", "-C", str(here), "status", "--porcelain")),
    }
