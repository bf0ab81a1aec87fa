"""What a service manager is told (sd_notify(3)'s datagrams to `$NOTIFY_SOCKET`), and the sockets that it gives. Of the libraries,
sdnotify has had no release since 2017, and systemd-python and cysystemd are extensions in C that need libsystemd's headers."""

import os
import socket
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress

UNIX = getattr(socket, "AF_UNIX", None)
LONGEST_STATUS = 300  # characters
FIRST_GIVEN = 3
"""SD_LISTEN_FDS_START: the file descriptor of the first socket that is given."""


class ServiceManager:
    """Who started this process as `Type=notify`; nobody, where `$NOTIFY_SOCKET` names no socket."""

    def __init__(self, environment: Mapping[str, str] = os.environ, *, in_charge: bool = True) -> None:
        """`in_charge`: False where another process still speaks for the service: then nothing is told until `take_over`."""
        self._in_charge = in_charge
        address = environment.get("NOTIFY_SOCKET", "")
        # "@": in the abstract name space; anything else that is no path (vsock) is none of ours
        self._address = f"\0{address[1:]}" if address.startswith("@") else address if address.startswith("/") else ""
        self._period_s = _watchdog_period(environment) if self._address else None
        self._over = threading.Event()
        self._status = ""

    @property
    def watchdog_period_s(self) -> float | None:
        """How often it wants to hear from us: half of the unit's WatchdogSec; None: not at all."""
        return self._period_s

    @property
    def listens(self) -> bool:
        """Whether there is one."""
        return bool(self._address)

    def take_over(self) -> None:
        """From here on this process speaks for the service."""
        self._in_charge = True
        if self._status:
            self._tell(f"STATUS={self._status}")

    def hand_over(self, pid: int) -> None:
        """Makes `pid` the service's main process, which has to be a child of this one. This one tells nothing any more: its end
        is not the service's."""
        self._tell(f"MAINPID={pid}")
        self._in_charge = False

    def ready(self) -> None:
        """Serving."""
        self._tell("READY=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows: one line, told when it changes."""
        line = " ".join(text.split())[:LONGEST_STATUS]
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def stopping(self) -> None:
        """On the way out."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Once in `watchdog_period_s` at least; nothing without a watchdog."""
        if self._period_s is not None:
            self._tell("WATCHDOG=1")

    def watch(self, look: Callable[[], object]) -> None:
        """Starts a thread that tells we are alive as long as `look` returns; without a watchdog, none."""
        if self._period_s is not None:
            threading.Thread(target=self._watch, args=(look, self._period_s), name="watchdog", daemon=True).start()

    def close(self) -> None:
        """Ends that thread."""
        self._over.set()

    def _watch(self, look: Callable[[], object], period_s: float) -> None:
        while True:
            look()
            self.alive()
            if self._over.wait(period_s):
                return

    def _tell(self, line: str) -> None:
        if not self._in_charge or not self._address or UNIX is None:
            return
        # A manager that doesn't listen must not stop a service.
        with suppress(OSError), socket.socket(UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(line.encode(), self._address)


def given_sockets(environment: MutableMapping[str, str]) -> list[tuple[str, socket.socket]]:
    """The sockets that a socket unit listens on for this process, each with its FileDescriptorName (sd_listen_fds(3)). Takes the
    variables out of the environment: they are for no other process."""
    told = {name: environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    try:
        is_ours, number = int(told["LISTEN_PID"]) == os.getpid(), int(told["LISTEN_FDS"])
    except ValueError:
        return []
    if not is_ours:
        return []
    names = told["LISTEN_FDNAMES"].split(":") if told["LISTEN_FDNAMES"] else []
    names += [""] * (number - len(names))
    found: list[tuple[str, socket.socket]] = []
    for index in range(number):
        with suppress(OSError):  # a file or a pipe
            given = socket.socket(fileno=FIRST_GIVEN + index)
            given.set_inheritable(False)
            found.append((names[index], given))
    return found


def _watchdog_period(environment: Mapping[str, str]) -> float | None:
    try:
        whole_s = int(environment.get("WATCHDOG_USEC", "")) / 1e6
        process = int(environment.get("WATCHDOG_PID", "") or os.getpid())
    except ValueError:
        return None
    return whole_s / 2 if whole_s > 0 and process == os.getpid() else None
