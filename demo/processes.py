"""Our own two programs as child processes: what they print is kept, and shown when a step fails."""

import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence


class Child:
    """A running `qanat …`. It is stopped by `stop`, and never outlives the demo."""

    def __init__(self, name: str, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=2000)
        self._arrived = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "qanat", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        threading.Thread(target=self._read, name=f"output-{name}", daemon=True).start()

    def wait_for(self, pattern: str, *, timeout_s: float = 30.0) -> re.Match[str]:
        """The first line that matches.

        Raises:
            RuntimeError: it ended, or nothing came in time.
        """
        wanted = re.compile(pattern)

        def found() -> re.Match[str] | None:
            return next((match for line in self.lines if (match := wanted.search(line))), None)

        with self._arrived:
            self._arrived.wait_for(lambda: found() is not None or self._process.poll() is not None, timeout_s)
            match = found()
        if match is None:
            raise RuntimeError(f"{self.name} didn't say {pattern!r}")
        return match

    def stop(self, *, timeout_s: float = 30.0) -> int:
        """Asks it to end, as a service manager does; its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"{self.name} didn't end within {timeout_s:g} s of SIGTERM") from None

    def wait(self, timeout_s: float) -> int:
        """Until it has ended by itself; its exit code."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{self.name} didn't end within {timeout_s:g} s") from None

    def kill(self) -> None:
        """The end, without a word: for cleaning up."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                with self._arrived:
                    self.lines.append(line.rstrip("\n"))
                    self._arrived.notify_all()
        self._process.wait()
        with self._arrived:
            self._arrived.notify_all()
