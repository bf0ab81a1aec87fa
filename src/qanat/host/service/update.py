"""`qanat service update`: the service goes over to the version that is installed now, and back to the one before when that isn't
ready in time. The package's own script calls it; one connector runs at a time, or two for as long as one hands over."""

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct, field

from qanat.errors import QanatError
from qanat.host.machine import Machine
from qanat.host.service import systemd
from qanat.host.service.manager import Manager
from qanat.host.service.ready import Ready, ask

PREVIOUS_TREE = "/usr/lib/qanat.previous"
"""Where the package keeps the version before, from its `preinst` on."""
LONGEST_STOP_S = 180.0
LONGEST_ANSWER_S = 30.0
"""How much longer than its limit a connector takes to say what came of it: a new process that failed is ended meanwhile."""
LOOK_S = 0.25


class Updated(Struct, frozen=True):
    """What came of it: `handed_over` without a moment in which nobody served, or started anew. `connections`: of the new one."""

    handed_over: bool
    was_ready: bool
    connections: int


class Update(Struct):
    """One update, and what it looks at and waits by."""

    machine: Machine
    manager: Manager
    limit_s: float
    successor: Callable[[int, float], str | None] = field(default_factory=lambda: start_successor)
    asked: Callable[[int | None], Ready | None] = ask
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def run(self) -> Updated:
        """Goes over to what is installed.

        Raises:
            QanatError: `service_missing`: it doesn't run; `service_update_failed`: it was not ready within `limit_s`, and the
                version before runs (again) where there is one; `host_command_failed`.
        """
        before = self.manager.state()
        if not before.running:
            raise QanatError(
                "service_missing", "it doesn't run, so that nothing has to go over", where="service update",
                hint="`qanat service install` installs it",
            )  # fmt: skip
        answer = self.asked(before.process)
        was_ready = answer is not None and answer.connections > 0
        if not self._unpin() and was_ready and before.process and self._hand_over(before.process):
            now = self._wait(before.process)
            return Updated(True, True, 0 if now is None else now.connections)
        self.manager.start(anew=True)
        now = self._wait(before.process or 0)
        if now is None and was_ready:
            raise self._taken_back()
        return Updated(False, was_ready, 0 if now is None else now.connections)

    def _hand_over(self, process: int) -> bool:
        """The running connector starts the new one, and goes on alone if that one can't register. False: it can't be asked."""
        try:
            reason = self.successor(process, self.limit_s)
        except LookupError:
            return False
        if reason is None:
            return True
        kept = self._pin()
        if kept:
            self.machine.run("systemctl", "daemon-reload")
        raise QanatError(
            "service_update_failed",
            f"the new version was not ready: {reason}; the running one goes on"
            + (", and the version before is what the next start runs" if kept else ""),
            where="service update",
            hint="mend the cause; `qanat service update` tries the new one once more",
        )

    def _taken_back(self) -> QanatError:
        text = self.manager.state().text
        message = f"the new version was not ready within {self.limit_s:g} s" + (f" ({text})" if text else "")
        if not self._pin():
            return QanatError(
                "service_update_failed", f"{message}, and there is no version before", where="service update",
                hint="`qanat doctor` looks for the reason",
            )  # fmt: skip
        failed = self.manager.state().process or 0
        self.manager.start(anew=True)
        again = "runs again" if self._wait(failed) is not None else "is started again, and is not ready either"
        return QanatError(
            "service_update_failed", f"{message}; the version before {again}", where="service update",
            hint="`qanat service update` tries the new one once more; `qanat doctor` looks for the reason",
        )  # fmt: skip

    def _wait(self, old: int, stop_s: float = LONGEST_STOP_S) -> Ready | None:
        """Until another process than `old` has a connection. The old one's end, in `stop_s`, isn't counted: what was open may
        finish."""
        end = self.clock() + stop_s
        counted = False
        while True:
            state = self.manager.state()
            if state.process and state.process != old:
                if not counted:
                    counted, end = True, self.clock() + self.limit_s
                answer = self.asked(state.process)
                if answer is not None and answer.connections > 0:
                    return answer
            if self.clock() >= end:
                return None
            self.pause(LOOK_S)

    def _pin(self) -> bool:
        program = f"{PREVIOUS_TREE}/bin/qanat"
        text = self.machine.read(systemd.UNIT)
        if self.manager.name != "systemd" or text is None or not self.machine.exists(program):
            return False
        self.machine.write(systemd.PREVIOUS, systemd.previous(program, text.decode()).encode())
        return True

    def _unpin(self) -> bool:
        gone = self.machine.remove(systemd.PREVIOUS)
        self.machine.remove(systemd.DROP_INS)
        return gone


def start_successor(process: int, limit_s: float) -> str | None:
    """Asks a running connector to hand over (`qanat service upgrade`): None when its successor is in charge, else why it isn't.

    Raises:
        LookupError: it is not one that can be asked.
    """
    from qanat.succession.local_socket import Question, running
    from qanat.succession.local_socket import ask as ask_connector

    for connector in running("connector"):
        if connector.pid == process:
            answer = ask_connector(connector, Question("upgrade", limit_s), limit_s=limit_s + LONGEST_ANSWER_S)
            return str(answer["reason"]) if answer.get("reason") else None
    raise LookupError(process)


def is_pinned(machine: Machine) -> bool:
    """Whether the service runs the version before."""
    return machine.exists(systemd.PREVIOUS)


def install_package(machine: Machine, package: Path) -> None:
    """By dpkg, whose scripts stage the update. QanatError `host_command_failed`, `file_unreadable`."""
    if not package.is_file():
        raise QanatError("file_unreadable", "there is no such file", where=str(package))
    machine.run("dpkg", "--install", str(package.absolute()))
