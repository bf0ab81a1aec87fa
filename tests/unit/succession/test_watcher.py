"""What stays of a process that handed over, as a process of its own."""

import signal
import subprocess
import sys
from pathlib import Path

from qanat.succession import watcher
from tests.support.waiting import wait_until

PATIENCE_S = 60.0

FIRST = """
import os, subprocess, sys
from qanat.succession import watcher
assert watcher.adopt_orphans()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, "QANAT_HANDED_OVER": "{}"})
watcher.become(child.pid)
"""
SECOND = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", {third!r}], env={{**os.environ, "QANAT_HANDED_OVER": "{{}}"}})
"""
THIRD = """
import signal, sys, pathlib
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
pathlib.Path({file!r}).write_text("up")
signal.pause()
"""


def test_it_waits_for_the_last_in_charge_passes_signals_on_and_ends_as_that_one(tmp_path: Path) -> None:
    file = tmp_path / "up"
    third = THIRD.format(file=str(file))
    first = subprocess.Popen([sys.executable, "-c", FIRST, SECOND.format(third=third)])
    try:
        wait_until(file.exists, "the last one", timeout_s=PATIENCE_S)
        # the one between has gone, or goes: its end is not the end
        wait_until(lambda: b"watcher.py" in Path(f"/proc/{first.pid}/cmdline").read_bytes(), "the watcher")
        first.send_signal(signal.SIGTERM)
        assert first.wait(PATIENCE_S) == 7
    finally:
        first.kill()
        first.wait()


def test_a_process_without_successors_has_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert watcher.successors() == []
    finally:
        child.communicate(b"\n")
