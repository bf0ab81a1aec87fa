"""Both sides of an edge's hand-over, the new one as a process of a few lines."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from qanat.edge.handover import Inheritance, Predecessor, Ready, Successor
from qanat.edge.presence import Held
from qanat.succession.child import VARIABLE, UpgradeFailedError
from tests.support.waiting import wait_until

PATIENCE_S = 60.0
PRELUDE = """
import os, sys, threading
from qanat.edge.handover import Predecessor, Ready
predecessor = Predecessor.found(os.environ)
assert predecessor and "QANAT_HANDED_OVER" not in os.environ
sockets = predecessor.sockets()
come, gone, over = [], [], threading.Event()
def went(ids):
    gone.append(ids)
    if ids is None:
        over.set()
def take_charge():
    predecessor.take_charge(lambda some: come.extend(each.connection_id for each in some), went)
"""
HELD = [Held(str(number), "tunnel", "", ()) for number in range(250)]


def start(script: str, folder: Path, **sockets: socket.socket) -> Successor:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        return Successor.start(
            [sys.executable, "-c", PRELUDE + script],
            lock=lock,
            sockets={role: each.fileno() for role, each in sockets.items()},
            watched=False,
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
assert come == ["late"] and gone == [["0"], None], (come, gone)
assert predecessor.call("cut", number=3) == 0, "it is gone"
""",
        tmp_path,
        https=listener,
    )
    assert successor.ready(PATIENCE_S) == Ready(successor.pid, "2.0", migrates=False)
    successor.go(HELD, PATIENCE_S)
    serving = threading.Thread(target=successor.serve, args=({"cut": lambda *, number: number + 1},))
    serving.start()
    successor.tell("late", Held("late", "tunnel", "", ()))
    successor.tell("0", None)
    with socket.create_connection(listener.getsockname(), timeout=PATIENCE_S) as asked:
        assert asked.makefile("rb").read() == b"new"
    successor.close()
    serving.join(PATIENCE_S)
    assert successor._child.wait(PATIENCE_S) == 0
    assert (tmp_path / "lock").read_bytes() == b"ours"
    listener.close()


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
