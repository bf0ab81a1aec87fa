"""Both sides of an edge's hand-over, the new one as a process of a few lines."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from qanat.edge.following import Leader, Line, Older, Ready
from qanat.edge.handover import Inheritance, Predecessor, Successor
from qanat.edge.presence import Held
from qanat.succession.child import VARIABLE, Channel, UpgradeFailedError
from tests.support.waiting import wait_until

PATIENCE_S = 60.0
PRELUDE = """
import os, sys, threading
from qanat.edge.following import Ready
from qanat.edge.handover import Predecessor
predecessor = Predecessor.found(os.environ)
assert predecessor and "QANAT_HANDED_OVER" not in os.environ
sockets = predecessor.sockets()
come, gone, over = [], [], threading.Event()
def went(process, ids):
    gone.append(ids)
    if ids is None:
        over.set()
def take_charge():
    predecessor.take_charge(lambda process, some: come.extend(each.connection_id for each in some), went)
"""
HELD = [Held(str(number), "tunnel", "", ()) for number in range(250)]


def start(script: str, folder: Path, *, older: Sequence[Older] = (), **sockets: socket.socket) -> Successor:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        return Successor.start(
            [sys.executable, "-c", PRELUDE + script],
            lock=lock,
            sockets={role: each.fileno() for role, each in sockets.items()},
            watched=False,
            older=older,
        )
    finally:
        os.close(lock)


def test_the_new_process_has_the_sockets_and_decides_for_both_from_when_it_is_in_charge(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    successor = start(
        """
os.write(predecessor.lock, b"ours")
assert predecessor.call("cut", number=3) == 0, "nobody follows yet"
held = predecessor.tell_ready(Ready(os.getpid(), "2.0", False))
assert len(held) == 250
take_charge()
assert predecessor.call("cut", number=3) == 4
connection, _ = sockets["https"].accept()
connection.sendall(b"new")
connection.close()
assert over.wait(60)
assert come == [str(number) for number in range(250)] + ["late"] and gone == [["0"], None], (come, gone)
assert predecessor.call("cut", number=3) == 0, "it is gone"
""",
        tmp_path,
        https=listener,
    )
    assert successor.ready(PATIENCE_S) == Ready(successor.pid, "2.0", migrates=False)
    successor.go(lambda: HELD, PATIENCE_S)
    serving = threading.Thread(target=successor.leader.serve, args=({"cut": lambda *, number: number + 1},))
    serving.start()
    successor.leader.tell("late", Held("late", "tunnel", "", ()))
    successor.leader.tell("0", None)
    with socket.create_connection(listener.getsockname(), timeout=PATIENCE_S) as asked:
        assert asked.makefile("rb").read() == b"new"
    successor.close()
    serving.join(PATIENCE_S)
    assert successor._child.wait(PATIENCE_S) == 0
    assert (tmp_path / "lock").read_bytes() == b"ours"
    listener.close()


def refuse() -> int:
    raise ValueError("not here")


def test_who_is_before_the_one_that_hands_over_follows_also_when_that_has_ended(tmp_path: Path) -> None:
    """Its calls are served by the test; what it is ended by is seen at a process that only sleeps."""
    sleeper = subprocess.Popen(["sleep", "600"])
    older = Older(Channel(socket.socket(), Line), sleeper.pid)
    successor = start(
        f"""
held = predecessor.tell_ready(Ready(os.getpid(), "2.0", False))
assert [each.connection_id for each in held] == ["young", "old"]
take_charge()
assert predecessor.call("cut", number=3) == 4 + 30
assert [older.pid for older in predecessor.older()] == [os.getppid(), {sleeper.pid}]
predecessor.call_last("done")
assert over.wait(60)
assert [older.pid for older in predecessor.older()] == [{sleeper.pid}]
assert predecessor.call("cut", number=3) == 30
predecessor.call("refuse")
predecessor.wait(60)
assert predecessor.older() == [] and predecessor.call("cut", number=3) == 0
""",
        tmp_path,
        older=[older],
    )
    successor.ready(PATIENCE_S)
    old = Leader(Channel(successor.ends.pop(sleeper.pid), Line))
    old.introduce(lambda: [Held("old", "tunnel", "", ())])
    successor.go(lambda: [Held("young", "tunnel", "", ())], PATIENCE_S)
    done = threading.Event()

    def note() -> int:
        done.set()
        return 0

    young = {"cut": lambda *, number: number + 1, "done": note}
    calls = [(successor.leader, young), (old, {"cut": lambda *, number: 10 * number, "refuse": refuse})]
    serving = [threading.Thread(target=leader.serve, args=(its,), daemon=True) for leader, its in calls]
    for each in serving:
        each.start()
    assert done.wait(PATIENCE_S)
    successor.close()
    assert successor._child.wait(PATIENCE_S) == 0
    assert sleeper.wait(PATIENCE_S) == -signal.SIGKILL, "who can't follow is ended"
    old.close()
    older.leave()


def test_who_is_told_of_no_new_process_is_ended_by_it(tmp_path: Path) -> None:
    """The one between them has died before it could."""
    sleeper = subprocess.Popen(["sleep", "600"])
    older = Older(Channel(socket.socket(), Line), sleeper.pid)
    successor = start(
        'assert predecessor.tell_ready(Ready(os.getpid(), "2.0", False)) == []',
        tmp_path,
        older=[older],
    )
    successor.ready(PATIENCE_S)
    successor.ends.pop(sleeper.pid).close()
    successor.leader.introduce(list)
    assert successor._child.wait(PATIENCE_S) == 0
    assert sleeper.wait(PATIENCE_S) == -signal.SIGKILL
    successor.close()
    older.leave()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("sys.exit(2)", "the new process ended with 2"),
        (
            "predecessor.tell_trouble('--public-https: no address'); sys.exit(1)",
            "ended with 1: --public-https: no address",
        ),
        ("os.write(predecessor._channel.fileno(), b'nonsense\\n')", "said what isn't understood"),
        (
            "predecessor.tell_trouble('a key command'); import time; time.sleep(600)",
            "not ready within 10 s: a key command",
        ),
    ],
)
def test_a_new_process_that_fails_is_told_why(script: str, reason: str, tmp_path: Path) -> None:
    successor = start(script, tmp_path)
    with pytest.raises(UpgradeFailedError) as failed:
        successor.ready(10.0 if "sleep" in script else PATIENCE_S)  # its first words need a start of Python
    assert reason in str(failed.value)
    successor.end()
    assert successor._child.wait(0.0) is not None


def test_a_process_that_lets_go_of_the_channel_and_lives_is_in_charge(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("qanat.edge.handover.GONE_S", 0.1)
    ours, theirs = socket.socketpair()
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    inheritance = Inheritance(theirs.detach(), lock, {}, watched=False)
    predecessor = Predecessor.found({VARIABLE: msgspec.json.encode(inheritance).decode()})
    assert predecessor
    ours.close()
    with pytest.raises(Exception, match="didn't let go"):
        predecessor.tell_ready(Ready(1, "", migrates=False))
    predecessor._channel.close()
    os.close(lock)


def test_a_process_whose_predecessor_has_died_goes_on_alone(tmp_path: Path) -> None:
    """Killed between the two processes' words, the data directory's lock with it."""
    told = tmp_path / "told"
    new = (
        PRELUDE
        + f"""
print("up", flush=True)
held = predecessor.tell_ready(Ready(os.getpid(), "2.0", False))
assert held is None
take_charge()
assert over.is_set()
open({str(told)!r}, "w").write("alone")
"""
    )
    old = f"""
import os, sys, time
from qanat.edge.handover import Successor
lock = os.open({str(tmp_path / "lock")!r}, os.O_RDWR | os.O_CREAT)
Successor.start([sys.executable, "-c", {new!r}], lock=lock, sockets={{}}, watched=False).ready(60)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", old], timeout=PATIENCE_S, check=False).returncode == -9
    wait_until(lambda: told.exists() and told.read_text() == "alone", "the new process", timeout_s=PATIENCE_S)


@pytest.mark.parametrize("given", [{}, {VARIABLE: "nonsense"}, {VARIABLE: "{}"}])
def test_without_a_predecessor_it_is_a_start_like_any_other(given: dict[str, str]) -> None:
    assert Predecessor.found(given) is None
    assert given == {}
