"""A service manager's end of sd_notify(3): a datagram socket, in a folder or in the abstract name space."""

import socket
import threading
import uuid
from pathlib import Path
from typing import Literal


class Manager:
    """Listens from the start until `close`. `heard` is what it was told, in order."""

    def __init__(self, kind: Literal["path", "abstract"], folder: Path) -> None:
        name = f"qanat-test-{uuid.uuid4().hex}"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = f"@{name}" if kind == "abstract" else str(folder / "notify.sock")
        self._sock.bind(f"\0{name}" if kind == "abstract" else self.address)
        self.heard: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while told := self._sock.recv(4096):
            self.heard.append(told.decode())

    def environment(self, *, watchdog_s: float | None = None) -> dict[str, str]:
        """What the service gets. WATCHDOG_PID is left out, as by a shell between: it is for whoever reads it."""
        watchdog = {} if watchdog_s is None else {"WATCHDOG_USEC": str(int(watchdog_s * 1e6))}
        return {"NOTIFY_SOCKET": self.address, **watchdog}

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._sock.getsockname())
        self._thread.join(5.0)
        self._sock.close()
