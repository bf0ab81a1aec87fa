"""Edges as children of one process that has their code loaded (template.py): 0.2 s of CPU for a start, where a new interpreter
takes 1.2 s before it does anything. To its test a `Forked` is what a Popen is."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import IO

REPOSITORY = Path(__file__).parent.parent.parent


class Template:
    """The process that forks. It ends with this one."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.template", str(theirs.fileno())],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._asking = Lock()
        self._news = Condition()
        self._made: list[int] = []
        self._ended: dict[int, int] = {}
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while data := self._channel.recv(4096):
            told = json.loads(data)
            with self._news:
                if "pid" in told:
                    self._made.append(told["pid"])
                    self._ended.pop(told["pid"], None)
                else:
                    self._ended[told["ended"]] = told["status"]
                self._news.notify_all()

    def fork(self, argv: Sequence[str], env: Mapping[str, str], files: Sequence[int]) -> int:
        """The pid of `python -m qanat` with these arguments, environment and standard files."""
        asked = json.dumps({"argv": list(argv), "env": dict(env), "cwd": str(Path.cwd())}).encode()
        with self._asking:
            socket.send_fds(self._channel, [asked], files)
            with self._news:
                assert self._news.wait_for(lambda: self._made, 60.0), "the template forks no more"
                return self._made.pop()

    def status(self, pid: int, timeout_s: float | None = 0.0) -> int | None:
        """How a child ended, as Popen has it; None while it runs."""
        with self._news:
            self._news.wait_for(lambda: pid in self._ended, timeout_s)
            return self._ended.get(pid)


@cache
def template() -> Template:
    return Template()


class Forked:
    """One edge."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._template = template()
        out, err = os.pipe(), os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            self.pid = self._template.fork(argv, env, [nothing, out[1], err[1]])
        finally:
            for each in (nothing, out[1], err[1]):
                os.close(each)
        self.stdout: IO[bytes] | None = os.fdopen(out[0], "rb")
        self.stderr: IO[bytes] | None = os.fdopen(err[0], "rb")
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            self._status = self._template.status(self.pid)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        if self._status is None:
            self._status = self._template.status(self.pid, timeout)
        if self._status is None:
            raise subprocess.TimeoutExpired("qanat", timeout or 0.0)
        return self._status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
