"""The service under macOS's launchd: a daemon of the machine. Stock also makes agents for users that aren't root."""

import plistlib

from qanat.host.machine import Machine
from qanat.host.service.manager import State
from qanat.host.service.wanted import Wanted

LABEL = "qanat.connector"
PLIST = f"/Library/LaunchDaemons/{LABEL}.plist"
LOG = f"/Library/Logs/{LABEL}.log"


class Launchd:
    """The service as a property list."""

    name = "launchd"
    title = "launchd"
    user: str | None = None

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def files(self, wanted: Wanted) -> dict[str, tuple[bytes, int]]:
        document = {
            "Label": LABEL,
            "ProgramArguments": [*wanted.program, *wanted.arguments(wanted.secret_file)],
            "RunAtLoad": True,
            "KeepAlive": True,
            "ThrottleInterval": 5,
            "ExitTimeOut": round(wanted.grace_period_s) + 15,
            "ProcessType": "Interactive",  # not slowed down for being in the background
            "SoftResourceLimits": {"NumberOfFiles": 65536, "Core": 0},
            "Umask": 0o077,
            "StandardOutPath": LOG,
            "StandardErrorPath": LOG,
        }
        return {PLIST: (plistlib.dumps(document), 0o644)}

    def links(self) -> dict[str, str]:
        return {}

    def paths(self) -> tuple[str, ...]:
        return (PLIST, LOG)

    def installed(self) -> bool:
        return self._machine.exists(PLIST)

    def prepare(self) -> None:
        """Nothing: it runs as who installs it."""

    def start(self, *, anew: bool) -> None:
        if anew:
            self.stop()
        self._machine.run("launchctl", "bootstrap", "system", PLIST)

    def stop(self) -> None:
        self._machine.try_run("launchctl", "bootout", f"system/{LABEL}")

    def forget(self) -> None:
        """Nothing is remembered."""

    def state(self) -> State:
        status, out, _ = self._machine.try_run("launchctl", "print", f"system/{LABEL}")
        pid = next(
            (line.partition("=")[2].strip() for line in out.splitlines() if line.strip().startswith("pid =")), ""
        )
        return State(running=status == 0 and pid.isdigit(), ready=None, process=int(pid) if pid.isdigit() else None)
