"""Visitors at a steady rate, from the first minute to the last, and what each of their requests came to."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from demo.application import SEQUENCE, SERVED_BY
from demo.visitor import Visitor


@dataclass(frozen=True)
class Asked:
    """One request. `host` None: no application answered it; `status` 0: nobody did."""

    sequence: int
    sent_at: float
    answered_at: float
    status: int
    host: str | None
    failure: str = ""

    @property
    def failed(self) -> bool:
        return self.status != 200 or self.host is None


@dataclass
class Crowd:
    """`clients` that keep their connections, half of them over HTTP/2; each asks every `every_s` seconds."""

    visitor: Visitor
    clients: int = 3
    every_s: float = 0.03
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number % 2 == 1,), name=f"visitor-{number}", daemon=True)
            for number in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def since(self, moment: float) -> list[Asked]:
        """Those that were sent after it and are over."""
        return [each for each in list(self.asked) if each.sent_at >= moment]

    def _ask(self, http2: bool) -> None:
        client = self.visitor.client(http2=http2)
        while not self._over.is_set():
            sequence = next(self._numbers)
            sent_at = time.monotonic()
            try:
                answer = self.visitor.get("/", client=client, headers={SEQUENCE: str(sequence)})
                asked = Asked(sequence, sent_at, time.monotonic(), answer.status_code, answer.headers.get(SERVED_BY))
            except httpx.HTTPError as error:
                asked = Asked(sequence, sent_at, time.monotonic(), 0, None, repr(error))
                client.close()
                client = self.visitor.client(http2=http2)
            self.asked.append(asked)
            self._over.wait(max(0.0, sent_at + self.every_s - time.monotonic()))
        client.close()


def by_host(asked: Sequence[Asked]) -> str:
    """Who served how many, in words."""
    served = Counter(each.host for each in asked if not each.failed)
    failed = sum(each.failed for each in asked)
    told = [f"{count} by {host}" for host, count in served.most_common()]
    return ", ".join([*told, *([f"{failed} failed"] if failed else [])]) or "none"


def longest_gap_s(asked: Sequence[Asked]) -> float:
    """The longest time without an answer of an application."""
    times = sorted(each.answered_at for each in asked if not each.failed)
    return max((after - before for before, after in itertools.pairwise(times)), default=0.0)
