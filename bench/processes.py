"""Child processes of a bench run, and what /proc says about them."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

TICKS = os.sysconf("SC_CLK_TCK")
FOREIGN = ("QANAT_", "TUNNEL_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PYTHONDONTWRITEBYTECODE")


class BenchError(Exception):
    """What makes a run worthless; the message says why and what to do."""


class Child:
    """A process whose stderr is kept and timed line by line; stdout goes the same way."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.started = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        self._news = threading.Condition()
        clean = {key: value for key, value in os.environ.items() if not key.upper().startswith(FOREIGN)}
        self._child = subprocess.Popen(
            list(argv),
            env={**clean, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for stream in (self._child.stdout, self._child.stderr):
            assert stream is not None
            threading.Thread(target=self._pump, args=(stream,), daemon=True).start()

    def _pump(self, stream: IO[bytes]) -> None:
        for line in stream:
            with self._news:
                self.lines.append((time.monotonic(), line.decode("utf-8", "replace").rstrip()))
                self._news.notify_all()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._child.poll()

    def wait_for(self, pattern: str, *, timeout_s: float = 30.0) -> tuple[float, re.Match[str]]:
        """Seconds from the start to the first line that matches, and the match."""
        wanted = re.compile(pattern)
        end = time.monotonic() + timeout_s
        position = 0
        with self._news:
            while True:
                while position < len(self.lines):
                    at, line = self.lines[position]
                    if match := wanted.search(line):
                        return at - self.started, match
                    position += 1
                if time.monotonic() > end or self._child.poll() is not None:
                    tail = "\n".join(line for _, line in self.lines[-20:])
                    raise BenchError(f"{self.name} never said {pattern!r} (exit code {self._child.poll()}):\n{tail}")
                self._news.wait(0.1)

    def stop(self) -> None:
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(20.0)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def check(self) -> None:
        """BenchError when it has ended meanwhile."""
        if self._child.poll() is not None:
            tail = "\n".join(line for _, line in self.lines[-20:])
            raise BenchError(f"{self.name} has ended with {self._child.poll()}:\n{tail}")

    def cpu_s(self) -> float:
        """User plus system time so far (10 ms ticks)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mb(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise BenchError(f"{self.name} has no VmRSS")


class PeakRss:
    """Watches the RSS of children while a load runs: `with PeakRss(children) as peak: …; peak.mb[name]`."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children
        self._end = threading.Event()
        self.mb: dict[str, float] = {child.name: 0.0 for child in children}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while True:
            for child in self._children:
                self.mb[child.name] = max(self.mb[child.name], child.rss_mb())
            if self._end.wait(0.2):
                return

    def __enter__(self) -> "PeakRss":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
