"""Both sides of a hand-over, the new one as a process of a few lines."""

import socket
import sys
from pathlib import Path

import msgspec
import pytest

from qanat.connector.handover import Inheritance, Line, Predecessor, Registered, Result, Successor, hand_over
from qanat.connector.sources import OwnTunnel
from qanat.succession.child import VARIABLE, program

PATIENCE_S = 60.0

PRELUDE = """
import os, sys
from qanat.connector.handover import Predecessor, Registered
predecessor = Predecessor.found(os.environ)
assert predecessor and "QANAT_HANDED_OVER" not in os.environ
"""


class Old:
    """What a running process does with the program `script`."""

    def __init__(self, script: str) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.let_go_of: list[int] = []
        self.command = [sys.executable, "-c", PRELUDE + script]
        self.tunnel: OwnTunnel | None = None

    def hand_over(self, *, limit_s: float = PATIENCE_S) -> tuple[Successor | None, Result]:
        def start() -> Successor:
            return Successor.start(
                self.command, listeners=[self.listener], wanted="127.0.0.1:0", watched=False, tunnel=self.tunnel
            )

        try:
            return hand_over(start, limit_s=limit_s, let_go=lambda successor: self.let_go_of.append(successor.pid))
        finally:
            self.listener.close()


def test_the_new_process_has_the_listeners_and_takes_over_when_the_old_one_has_let_go() -> None:
    old = Old(
        """
listener, = predecessor.listeners("127.0.0.1:0")
predecessor.tell_trouble("the first try failed")
predecessor.take_over(Registered(os.getpid(), "2.0", 4))
connection, _ = listener.accept()
connection.sendall(b"new")
"""
    )
    address = old.listener.getsockname()
    successor, result = old.hand_over()
    assert successor
    assert result == Result(successor.pid, "2.0", 4)
    assert old.let_go_of == [successor.pid]
    with socket.create_connection(address, timeout=PATIENCE_S) as asked:
        assert asked.makefile("rb").read() == b"new"
    assert successor._child.wait(PATIENCE_S) == 0


def test_the_tunnel_that_the_old_ones_command_made_is_told_and_is_in_no_environment() -> None:
    old = Old(
        """
assert predecessor.tunnel.values == {"credentials-contents": "secret", "ha-connections": 1}, predecessor.tunnel
assert predecessor.tunnel.quick_hostname == "a.quick.example"
assert not any("secret" in value for value in os.environ.values())
predecessor.take_over(Registered(os.getpid(), "2.0", 1))
"""
    )
    old.tunnel = OwnTunnel({"credentials-contents": "secret", "ha-connections": 1}, "a.quick.example")
    successor, result = old.hand_over()
    assert successor, result
    assert successor._child.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("sys.exit(255)", "the new process ended with 255"),
        ("predecessor.tell_trouble('--edge: no such host'); sys.exit(1)", "ended with 1: --edge: no such host"),
        ("os.write(predecessor._channel.fileno(), b'nonsense\\n')", "JSON is malformed"),
        ("os.close(predecessor._channel.detach()); sys.stdin.read(); import time; time.sleep(600)", "ended with"),
    ],
)
def test_a_new_process_that_fails_is_ended_and_nothing_is_given_away(
    script: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qanat.connector.handover.END_S", 0.2)
    old = Old(script)
    successor, result = old.hand_over()
    assert successor is None
    assert reason in result.reason or "stopped talking" in result.reason
    assert old.let_go_of == []


def test_a_new_process_has_so_long_and_its_last_trouble_is_the_reason() -> None:
    old = Old("predecessor.tell_trouble('no answer from the edge'); import time; time.sleep(600)")
    successor, result = old.hand_over(limit_s=3.0)
    assert successor is None
    assert result.reason == "the new process did not register within 3 s: no answer from the edge"


def test_a_program_that_is_gone_is_said(tmp_path: Path) -> None:
    old = Old("")
    old.command = [str(tmp_path / "gone")]
    assert old.hand_over()[1].reason == f"{tmp_path}/gone can't be run: No such file or directory"


def test_a_script_is_run_by_itself_and_a_module_by_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "qanat"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert program([str(script), "tunnel", "run"], ["/usr/bin/python3", "-I", str(script), "tunnel", "run"]) == [
        str(script),
        "tunnel",
        "run",
    ]
    original = ["/usr/bin/python3", "-m", "qanat", "tunnel", "run"]
    assert program(["/site/qanat/__main__.py", "tunnel", "run"], original) == [sys.executable, *original[1:]]


def test_listeners_of_another_address_are_not_taken() -> None:
    ours, theirs = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    inheritance = Inheritance(theirs.detach(), (listener.detach(),), "127.0.0.1:0", False)
    predecessor = Predecessor.found({VARIABLE: msgspec.json.encode(inheritance).decode()})
    assert predecessor
    assert predecessor.listeners("127.0.0.1:2000") == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    ours.close()
    predecessor.take_over(Registered(1, "", 0))  # the old one is gone: then it goes on by itself


@pytest.mark.parametrize("given", [{}, {VARIABLE: "nonsense"}, {VARIABLE: "{}"}])
def test_without_a_predecessor_it_is_a_start_like_any_other(given: dict[str, str]) -> None:
    environment = {**given, "WATCHDOG_PID": "1", "A": "b"}
    assert Predecessor.found(environment) is None
    assert VARIABLE not in environment


def test_lines_are_short() -> None:
    assert msgspec.json.encode(Line(go=True)) == b'{"go":true}'
