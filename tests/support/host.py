"""A machine in a folder whose commands are recorded, and a service manager whose service comes up when it is told to."""

from pathlib import Path

from qanat.host.machine import Machine
from qanat.host.service.manager import State
from qanat.host.service.systemd import Systemd


class LiveMachine(Machine):
    """`ran` has every command; `answers` has what one prints, by its first two words."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ran: list[tuple[str, ...]] = []
        self.answers: dict[tuple[str, ...], tuple[int, str, str]] = {}
        self.programs = {"systemctl", "nft", "iptables", "ip6tables"}

    @property
    def live(self) -> bool:
        return True

    def program(self, name: str) -> str | None:
        return f"/usr/sbin/{name}" if name in self.programs else None

    def try_run(self, *argv: str, given: str | None = None) -> tuple[int, str, str]:
        self.ran.append(argv)
        for length in range(len(argv), 0, -1):
            if argv[:length] in self.answers:
                return self.answers[argv[:length]]
        return 0, "", ""


class FakeManager(Systemd):
    """systemd, but for what the service does: `becomes` are the states that it is found in, one look after another, from a start
    on; the last one lasts."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.now = State(running=False, ready=False)
        self.becomes: list[State] = [State(running=True, ready=True, process=100)]
        self.done: list[str] = []

    def start(self, *, anew: bool) -> None:
        self.done.append("restart" if anew else "start")
        self._coming = list(self.becomes)

    def stop(self) -> None:
        self.done.append("stop")
        self.now = State(running=False, ready=False)

    def forget(self) -> None:
        self.done.append("forget")

    def state(self) -> State:
        coming = getattr(self, "_coming", [])
        if coming:
            self.now = coming.pop(0)
        return self.now


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)
