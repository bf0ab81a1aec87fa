"""A process under test: watched by its lines, ended by a signal, its log shown when a test fails."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.support.forked import Forked
from tests.support.waiting import PATIENCE_S

QANAT = [sys.executable, "-m", "qanat"]
PROCESSES: list["Process"] = []
"""Every process that a test started, for the failure report."""
SHARED: list["Process"] = []
"""Those that the whole session stands on: without one of them no later result means anything."""


class Process:
    """One child process. `lines` is its stderr, `out` its stdout, both line by line and complete."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        pass_fds: Sequence[int] = (),
        forked: bool = False,
    ) -> None:
        """`forked`: `argv` is `python -m qanat edge` and more, and is a fork of the process that has loaded all that."""
        self.name = name
        self.argv = list(argv)
        self.started_at = time.monotonic()
        self.lines: list[str] = []
        self.out: list[str] = []
        self.reported = 0
        self._news = threading.Condition()
        its_env = {**clean_environment(), **(env or {})}
        self._child: subprocess.Popen[bytes] | Forked
        if forked:
            self._child = Forked(self.argv[len(QANAT) :], its_env)
        else:
            self._child = subprocess.Popen(
                self.argv,
                env=its_env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=pass_fds,
            )
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._pumps = [
            threading.Thread(target=self._pump, args=(self._child.stdout, self.out), daemon=True),
            threading.Thread(target=self._pump, args=(self._child.stderr, self.lines), daemon=True),
        ]
        for pump in self._pumps:
            pump.start()
        PROCESSES.append(self)

    def _pump(self, stream: IO[bytes], into: list[str]) -> None:
        for line in stream:
            with self._news:
                into.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._child.poll()

    def mark(self) -> int:
        """Where the log (stderr) is now: give it to `wait_for` or `since` to look at later lines only."""
        return len(self.lines)

    def since(self, mark: int) -> list[str]:
        return self.lines[mark:]

    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_for(
        self, pattern: str, *, after: int = 0, timeout_s: float = PATIENCE_S, stdout: bool = False
    ) -> re.Match[str]:
        """The first match of `pattern` in a line of the log from `after` on."""
        wanted = re.compile(pattern)
        end = time.monotonic() + timeout_s
        position = after
        lines = self.out if stdout else self.lines
        with self._news:
            while True:
                while position < len(lines):
                    if match := wanted.search(lines[position]):
                        return match
                    position += 1
                left = end - time.monotonic()
                ended = self._child.poll() is not None and not any(pump.is_alive() for pump in self._pumps)
                if left <= 0 or ended:
                    state = (
                        f"exited with {self._child.poll()}" if ended else f"said nothing of the kind in {timeout_s} s"
                    )
                    raise AssertionError(f"{self.name} {state}: {pattern!r}\n" + "\n".join(self.lines[after:][-40:]))
                self._news.wait(min(left, 0.1))

    def signal(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def wait(self, *, timeout_s: float = PATIENCE_S) -> int:
        try:
            code = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not end within {timeout_s} s\n" + "\n".join(self.lines[-40:])
            ) from None
        for pump in self._pumps:
            pump.join(2.0)
        return code

    def kill(self) -> None:
        """Ends it at once (SIGKILL)."""
        if self.running:
            self._child.kill()
        self._child.wait(PATIENCE_S)

    def stop(self, *, timeout_s: float = PATIENCE_S) -> None:
        """SIGTERM; it must end by itself with exit code 0."""
        if not self.running:
            assert self.exit_code == 0, f"{self.name} had ended with {self.exit_code}\n" + "\n".join(self.lines[-40:])
            return
        self.signal(signal.SIGTERM)
        try:
            code = self.wait(timeout_s=timeout_s)
        except AssertionError:
            self.kill()
            raise
        assert code == 0, f"{self.name} ended with {code} after SIGTERM\n" + "\n".join(self.lines[-40:])

    # ---- what /proc says
    def rss_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """User plus system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def argv_seen(self) -> str:
        """The command line as any user of this machine sees it."""
        return Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def clean_environment() -> dict[str, str]:
    """This environment without anything that would configure a process under test."""
    foreign = ("QANAT_", "TUNNEL_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_COLOR", "FORCE_COLOR")
    return {key: value for key, value in os.environ.items() if not key.upper().startswith(foreign)}


def end_all() -> None:
    """Kills what is left at the end of a session: only children that this session started."""
    for process in PROCESSES:
        if process.running:
            process.kill()
