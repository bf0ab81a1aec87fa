"""What stays of a process that handed over, as a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from qanat.succession import watcher
from tests.support.waiting import wait_until

PATIENCE_S = 60.0

FIRST = """
import os, signal, subprocess, sys, threading
from qanat.succession import watcher
assert watcher.adopt_orphans()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, "QANAT_HANDED_OVER": "{}"})
"""
BECOME = "watcher.become(child.pid)"
BECOME_LATE = """
child.wait()
threading.Thread(target=threading.Event().wait, daemon=True).start()
while not os.path.exists(sys.argv[2]):
    pass
def unheard():
    os.kill(os.getpid(), signal.SIGTERM)
    return [signal.SIGHUP]
watcher.become(child.pid, unheard)
"""
BECOME_AFTER_THE_END = """
child.wait()
while not os.path.exists(sys.argv[2]):
    pass
def unheard():
    yield signal.SIGTERM
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
watcher.become(child.pid, unheard)
"""
SECOND = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", {third!r}], env={{**os.environ, "QANAT_HANDED_OVER": "{{}}"}})
"""
THIRD = """
import signal, sys, pathlib
heard = []
signal.signal(signal.SIGHUP, lambda *_: heard.append("HUP"))
signal.signal(signal.SIGTERM, lambda *_: heard.append("TERM"))
pathlib.Path({file!r}).write_text("up")
while "TERM" not in heard or len(heard) < {number}:
    signal.pause()
sys.exit(7)
"""


def test_it_waits_for_the_last_in_charge_passes_signals_on_and_ends_as_that_one(tmp_path: Path) -> None:
    file = tmp_path / "up"
    third = THIRD.format(file=str(file), number=1)
    first = subprocess.Popen([sys.executable, "-c", FIRST + BECOME, SECOND.format(third=third)])
    try:
        wait_until(file.exists, "the last one", timeout_s=PATIENCE_S)
        # the one between has gone, or goes: its end is not the end
        wait_until(lambda: b"watcher.py" in Path(f"/proc/{first.pid}/cmdline").read_bytes(), "the watcher")
        first.send_signal(signal.SIGTERM)
        assert first.wait(PATIENCE_S) == 7
    finally:
        first.kill()
        first.wait()


def test_a_signal_that_comes_while_it_becomes_what_it_is_reaches_the_one_in_charge(tmp_path: Path) -> None:
    """Another thread of the process takes it; and the one that it handed over to has ended, and was waited for, before."""
    file = tmp_path / "up"
    third = THIRD.format(file=str(file), number=2)
    first = subprocess.Popen([sys.executable, "-c", FIRST + BECOME_LATE, SECOND.format(third=third), str(file)])
    try:
        # of a process that it did not start itself it hears the end, too: it is the last one's
        assert first.wait(PATIENCE_S) == 7
    finally:
        first.kill()
        first.wait()


def test_one_in_charge_that_ended_before_the_watcher_was_there_is_whom_it_ends_as(tmp_path: Path) -> None:
    """The signal that was passed on ended it, and the process between had gone before: its exit code is the one that counts."""
    file = tmp_path / "up"
    third = THIRD.format(file=str(file), number=1)
    first = subprocess.Popen(
        [sys.executable, "-c", FIRST + BECOME_AFTER_THE_END, SECOND.format(third=third), str(file)]
    )
    try:
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


# Its first thread ends, and another lives on: to the system it is a zombie that has children.
ENDING = """
import ctypes, os, subprocess, sys, threading
child = subprocess.Popen(["sleep", "600"], env={**os.environ, "QANAT_HANDED_OVER": "1"})
threading.Thread(target=child.wait).start()
print(child.pid, flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_what_is_below_a_process_that_is_ending_is_found() -> None:
    ending = subprocess.Popen([sys.executable, "-c", ENDING], stdout=subprocess.PIPE, text=True)
    assert ending.stdout is not None
    child = int(ending.stdout.readline())
    try:
        wait_until(lambda: ") Z " in Path(f"/proc/{ending.pid}/stat").read_text(), "its first thread has ended")
        assert watcher.successors() == [child]
    finally:
        os.kill(child, signal.SIGKILL)
        ending.wait(30)
        ending.stdout.close()
