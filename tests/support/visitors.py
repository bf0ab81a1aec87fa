"""Visitors that ask without a pause, and go when they are told to, as browsers do: what they must never see is counted."""

import ssl
import threading
from pathlib import Path
from typing import Literal, Protocol

from tests.support.http1 import Cut, Http1Client
from tests.support.http2 import Http2Client, Reset
from tests.support.waiting import wait_until

PATIENCE_S = 60.0


class Site(Protocol):
    """Where they go: `https` is the address, `ca_file` whom they trust."""

    @property
    def https(self) -> str: ...
    @property
    def ca_file(self) -> Path: ...


class Visitor:
    """Asks on one kept-alive connection after the other, and notes what becomes of each request."""

    def __init__(self, site: Site, hostname: str, kind: Literal["h1", "h2"], *, path: str = "/") -> None:
        self._site = site
        self._path = path
        self._hostname = hostname
        self._kind = kind
        self.good = 0
        self.told = 0
        """Connections that it was told to leave."""
        self.failed: list[str] = []
        """What no visitor may see: an error page, a cut answer, a reset where no close was told, a refused connection."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        ask = self._ask_h1 if self._kind == "h1" else self._ask_h2
        while not self._end.is_set():
            try:
                ask()
            except (OSError, ssl.SSLError, AssertionError, Cut, Reset) as error:
                self.failed.append(f"{self._kind}: {error!r}")
                self._end.wait(0.05)

    def _ask_h1(self) -> None:
        with Http1Client(self._site.https, self._hostname, self._site.ca_file, timeout_s=PATIENCE_S) as client:
            asked = 0
            while not self._end.is_set():
                seen = len(client.wire.seen)
                try:
                    answer = client.get(self._path)
                except (OSError, Cut):
                    # Between two requests a server may close: without an answer's first byte a client asks again.
                    if not asked or len(client.wire.seen) > seen:
                        raise
                    self.told += 1
                    return
                asked += 1
                self._note(answer.status, answer.text)
                if (answer.value("connection") or "").lower() == "close":
                    self.told += 1
                    return

    def _ask_h2(self) -> None:
        with Http2Client(self._site.https, self._hostname, self._site.ca_file, timeout_s=PATIENCE_S) as client:
            while not self._end.is_set():
                number = client.start("GET", self._path)
                try:
                    answer = client.answer(number)
                except Reset:
                    if client.goaway is None or number <= (client.last_stream or 0):
                        raise
                    self.told += 1
                    return
                self._note(answer.status, answer.text)
                if client.goaway is not None:
                    self.told += 1
                    return

    def _note(self, status: int, text: str) -> None:
        if status == 200:
            self.good += 1
        else:
            self.failed.append(f"{self._kind}: {status} {text[:200]}")

    def wait_more(self, count: int = 20) -> None:
        """Until so many more were answered."""
        goal = self.good + count
        wait_until(
            lambda: self.good >= goal,
            f"{count} more answers (failures: {self.failed[:3]})",
            timeout_s=PATIENCE_S,
        )

    def stop(self) -> None:
        """Waits for its last answer."""
        self._end.set()
        self._thread.join(PATIENCE_S)
