"""`qanat service update`: to the new version, or back to the one before."""

import pytest

from qanat.errors import QanatError
from qanat.host.service.manager import State
from qanat.host.service.ready import Ready
from qanat.host.service.systemd import PREVIOUS, UNIT, unit
from qanat.host.service.update import PREVIOUS_TREE, Update, Updated, is_pinned
from qanat.host.service.wanted import read_wanted
from tests.support.host import Clock, FakeManager, LiveMachine
from tests.unit.host.conftest import TUNNEL, token_of

OLD, NEW, LATER = 100, 200, 300


class Host:
    """A machine with a running service, and what each process answers at /ready."""

    def __init__(self, machine: LiveMachine, manager: FakeManager) -> None:
        self.machine, self.manager, self.clock = machine, manager, Clock()
        self.answers: dict[int, int] = {OLD: 4}
        self.asked_to_hand_over: list[tuple[int, float]] = []
        self.successor: State | str | None = None
        manager.now = State(running=True, ready=True, process=OLD)
        wanted = read_wanted(
            [token_of(TUNNEL), "--edge", "e.example.net:7844"], program=("/usr/bin/qanat",), home="/nonexistent"
        )
        machine.write(UNIT, unit(wanted).encode())

    def keep_previous(self) -> None:
        self.machine.write(f"{PREVIOUS_TREE}/bin/qanat", b"", 0o755)

    def update(self) -> Updated:
        update = Update(
            self.machine, self.manager, 60.0, self._start_successor, self._asked, self.clock, self.clock.pause
        )  # fmt: skip
        return update.run()

    def _asked(self, process: int | None) -> Ready | None:
        up = self.answers.get(process or 0)
        return None if up is None else Ready(up, f"connector {process}", "127.0.0.1:20241")

    def _start_successor(self, process: int, limit_s: float) -> str | None:
        self.asked_to_hand_over.append((process, limit_s))
        if self.successor is None:
            raise LookupError(process)
        if isinstance(self.successor, str):
            return self.successor
        self.manager.now = self.successor
        return None


@pytest.fixture
def host(machine: LiveMachine, manager: FakeManager) -> Host:
    return Host(machine, manager)


def test_the_running_one_hands_over(host: Host) -> None:
    host.successor = State(running=True, ready=True, process=NEW)
    host.answers[NEW] = 2
    assert host.update() == Updated(True, True, 2)
    assert host.asked_to_hand_over == [(OLD, 60.0)]
    assert host.manager.done == [], "nothing is started anew, so that nothing is served by nobody"


def test_a_new_version_that_is_never_ready_leaves_the_old_one_serving(host: Host) -> None:
    host.keep_previous()
    host.successor = "error[usage]: --edge: there is no such flag"
    with pytest.raises(QanatError) as raised:
        host.update()
    assert raised.value.code == "service_update_failed"
    assert "not ready: error[usage]: --edge: there is no such flag; the running one goes on" in raised.value.message
    assert host.manager.done == []
    # and a start, such as the next boot's, runs what works
    assert (
        f"ExecStart={PREVIOUS_TREE}/bin/qanat --no-autoupdate tunnel run"
        in (host.machine.read(PREVIOUS) or b"").decode()
    )
    assert ("systemctl", "daemon-reload") in host.machine.ran


def test_the_next_update_tries_the_new_one_again(host: Host) -> None:
    host.keep_previous()
    host.successor = "no edge answered"
    with pytest.raises(QanatError):
        host.update()
    host.manager.becomes = [State(running=True, ready=False), State(running=True, ready=True, process=NEW)]
    host.answers[NEW] = 4
    assert host.update() == Updated(False, True, 4), "the one before would start itself anew"
    assert not is_pinned(host.machine)
    assert host.manager.done == ["restart"]


def test_what_was_started_anew_and_is_not_ready_is_taken_back(host: Host) -> None:
    host.keep_previous()
    host.machine.write(PREVIOUS, b"[Service]\n")
    failed = State(running=True, ready=False, process=NEW, text="not connected: unknown flag")
    host.manager.becomes = [failed]
    original = host.manager.start

    def start(*, anew: bool) -> None:
        if is_pinned(host.machine):
            host.manager.becomes = [State(running=True, ready=True, process=LATER)]
            host.answers[LATER] = 4
        original(anew=anew)

    host.manager.start = start  # type: ignore[method-assign]
    with pytest.raises(QanatError) as raised:
        host.update()
    assert "within 60 s (not connected: unknown flag); the version before runs again" in raised.value.message
    assert host.manager.done == ["restart", "restart"]
    assert is_pinned(host.machine)


def test_one_that_was_not_connected_before_is_no_reason_to_go_back(host: Host) -> None:
    host.keep_previous()
    host.answers = {OLD: 0}
    host.manager.becomes = [State(running=True, ready=False, process=NEW)]
    assert host.update() == Updated(False, False, 0)
    assert not is_pinned(host.machine)


def test_one_that_can_not_be_asked_is_started_anew(host: Host) -> None:
    host.manager.becomes = [State(running=True, ready=True, process=NEW)]
    host.answers[NEW] = 4
    assert host.update() == Updated(False, True, 4)
    assert host.manager.done == ["restart"]


def test_what_does_not_run_needs_no_update(host: Host) -> None:
    host.manager.now = State(running=False, ready=False)
    with pytest.raises(QanatError) as raised:
        host.update()
    assert raised.value.code == "service_missing"
