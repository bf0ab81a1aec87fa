"""Who served what, and might it have: origins that log every request, a load that never pauses, and the rules that hold between
both whatever happens. One process, one monotonic clock.

A host serves only while it may: each request says when it was sent, so that one that was on its way when the role changed is told
from one that was sent to a host that had it no more.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise

from tests.support.http1 import Http1Client, value

SEQUENCE = "x-sequence"
SERVED_BY = "x-served-by"


@dataclass(frozen=True)
class Served:
    """A request at an origin. `sequence`: the client's number of it; `ray`: the edge's id."""

    origin: str
    sequence: int
    ray: str
    at: float


@dataclass(frozen=True)
class Asked:
    """A request at the client. `origin` None: it was not answered by one (`status` 0: not at all)."""

    sequence: int
    sent_at: float
    answered_at: float
    status: int
    origin: str | None
    failure: str = ""


class LoggingOrigin:
    """An HTTP/1.1 server that answers every request with its name, and logs it. `slow_s`: how long each takes."""

    def __init__(self, name: str, log: list[Served], *, slow_s: float = 0.0) -> None:
        self.name = name
        self.slow_s = slow_s
        self.status = 200
        self._log = log
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.is_up = True
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name=f"origin {name}", daemon=True).start()

    @property
    def service(self) -> str:
        """For an ingress rule."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Connections are refused from now on, and open ones end."""
        self.is_up = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        received = b""
        with connection, suppress(OSError):
            while self.is_up:
                while b"\r\n\r\n" not in received:
                    part = connection.recv(65536)
                    if not part:
                        return
                    received += part
                head, _, received = received.partition(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
                sequence = int(fields.get(SEQUENCE.encode(), b"-1"))
                ray = fields.get(b"cf-ray", b"").decode()
                self._log.append(Served(self.name, sequence, ray, time.monotonic()))
                if self.slow_s:
                    time.sleep(self.slow_s)
                body = self.name.encode()
                connection.sendall(
                    b"HTTP/1.1 %d X\r\n%s: %s\r\ncontent-length: %d\r\n\r\n%s"
                    % (self.status, SERVED_BY.encode(), body, len(body), body)
                )
        self._open.discard(connection)


@dataclass
class Phase:
    """From `begun_at` on the role may go to `active`; from `acknowledged_at` on nobody else has it."""

    active: str
    begun_at: float
    acknowledged_at: float | None = None


@dataclass
class Load:
    """Clients that ask one hostname without a pause, each over a kept-alive connection of its own."""

    connect: Callable[[], Http1Client]
    clients: int = 4
    pause_s: float = 0.002
    asked: list[Asked] = field(default_factory=list)
    _next: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        for number in range(self.clients):
            thread = threading.Thread(target=self._run, name=f"load {number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Every request that was begun is over then."""
        self._ending.set()
        for thread in self._threads:
            thread.join(60.0)

    def _number(self) -> int:
        with self._lock:
            return next(self._next)

    def _run(self) -> None:
        client: Http1Client | None = None
        while not self._ending.is_set():
            sequence = self._number()
            sent_at = time.monotonic()
            status, origin, failure = 0, None, ""
            try:
                client = client or self.connect()
                answer = client.get("/", [(SEQUENCE, str(sequence))])
                status, origin = answer.status, value(answer.fields, SERVED_BY)
                if (value(answer.fields, "connection") or "").lower() == "close":
                    client.close()
                    client = None
            except Exception as error:
                failure = repr(error)
                if client is not None:
                    client.close()
                client = None
            self.asked.append(Asked(sequence, sent_at, time.monotonic(), status, origin, failure))
            if self.pause_s:
                time.sleep(self.pause_s)
        if client is not None:
            client.close()

    @property
    def failed(self) -> list[Asked]:
        """Those that were not answered 200 by an origin."""
        return [each for each in list(self.asked) if each.status != 200 or each.origin is None]

    def answered_since(self, moment: float, origin: str | None = None) -> int:
        """How many that were sent after the moment were answered (by one origin)."""
        return sum(
            each.sent_at > moment and each.status == 200 and origin in (None, each.origin) for each in list(self.asked)
        )

    def longest_gap_s(self) -> float:
        """The longest time without an answered request."""
        times = sorted(each.answered_at for each in list(self.asked) if each.status == 200)
        return max((after - before for before, after in pairwise(times)), default=0.0)


class Checker:
    """The rules. `log`: what all origins wrote; `role`: who had it since when."""

    def __init__(self, active: str) -> None:
        self.log: list[Served] = []
        self.phases = [Phase(active, 0.0, 0.0)]
        self.fences: list[tuple[str, float, float | None]] = []

    def origin(self, name: str, *, slow_s: float = 0.0) -> LoggingOrigin:
        return LoggingOrigin(name, self.log, slow_s=slow_s)

    @contextmanager
    def promoting(self, to: str) -> Iterator[None]:
        """Around a call that is answered when the promotion is acknowledged."""
        phase = Phase(to, time.monotonic())
        self.phases.append(phase)
        yield
        phase.acknowledged_at = time.monotonic()

    def promoted(self, to: str, *, begun_at: float) -> None:
        """One that happened by itself, and was seen to be over just now."""
        self.phases.append(Phase(to, begun_at, time.monotonic()))

    def fenced(self, name: str) -> None:
        """Told just now that it is."""
        self.fences.append((name, time.monotonic(), None))

    def unfencing(self, name: str) -> None:
        """It may be unfenced from now on."""
        self.fences = [
            (each, since, time.monotonic() if each == name and until is None else until)
            for each, since, until in self.fences
        ]

    def may_have_served(self, sent_at: float, served_at: float) -> set[str]:
        """Whose role it was at some time between these two."""
        allowed = set()
        for phase, following in zip(self.phases, [*self.phases[1:], None], strict=False):
            ended = following.acknowledged_at if following is not None else None
            if phase.begun_at <= served_at and (ended is None or sent_at <= ended):
                allowed.add(phase.active)
        return allowed

    def violations(self, load: Load) -> list[str]:
        """What was served by somebody who had not the role (any more), or by a fenced one, or twice by two hosts."""
        sent = {each.sequence: each for each in load.asked}
        told = []
        for served in list(self.log):
            asked = sent.get(served.sequence)
            if asked is None:
                continue
            if served.origin not in self.may_have_served(asked.sent_at, served.at):
                told.append(f"{served} was sent at {asked.sent_at}; roles: {self.phases}")
            for name, since, until in self.fences:
                if served.origin == name and asked.sent_at > since and (until is None or served.at < until):
                    told.append(f"{served} was sent at {asked.sent_at} to a node that was fenced at {since}")
        return told

    def check(self, load: Load, *, failed: int = 0) -> None:
        """No violation, and at most so many requests without an answer of an origin."""
        assert not self.violations(load), self.violations(load)[:5]
        assert len(load.failed) <= failed, (len(load.failed), len(load.asked), load.failed[:5])
