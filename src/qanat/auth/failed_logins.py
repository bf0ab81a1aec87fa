"""Refused credentials in the audit log (security.md S38): a row an address and some time, however many there were, so that no
flood of them fills the database or hides anybody's rows."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Literal

from qanat.auth.guesses import network_of
from qanat.errors import QanatError
from qanat.store import Actor, Store

ACTION = "login.failed"
MAX_ADDRESSES = 1000
BURST = 60
"""Rows that may be written at once; one more comes with each minute: half a megabyte a day at most."""
ROW_EVERY = timedelta(minutes=1)
AGAIN = timedelta(minutes=1)
"""An address that has its row gets the next one after this time, and each further one after twice the time."""
AGAIN_AT_MOST = timedelta(hours=1)
NAMED = 20

Way = Literal["token", "key", "connector", "password", "second_factor", "one_time", "passkey", "oidc"]


@dataclass(slots=True)
class _Failed:
    first: datetime
    last: datetime
    address: str
    ways: Counter[Way] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.ways.total()

    def add(self, other: "_Failed") -> None:
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.ways += other.ways


@dataclass(slots=True)
class _Told:
    at: datetime
    pause: timedelta


class FailedLogins:
    """`note` never waits for the database; `flush`, called now and then, writes. Safe for many threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._waiting: dict[str, _Failed] = {}
        self._others: _Failed | None = None
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._rows = float(BURST)
        self._refilled_at = store.clock()

    def note(self, *, address: str, way: Way) -> None:
        """One refusal."""
        now = self._store.clock()
        failed = _Failed(now, now, address, Counter({way: 1}))
        with self._lock:
            self._add(network_of(address), failed)

    def flush(self, *, all_now: bool = False) -> int:
        """Writes what is due (`all_now`: whatever waits), as far as rows may be written; how many rows.

        Raises:
            QanatError: the database can't take them; they wait on.
        """
        with self._lock:
            due = self._take_due(all_now=all_now)
            others, self._others = self._others, None
            rows = self._may_write(len(due) + (others is not None))
            if not rows:
                self._put_back(due, others)
                return 0
        named = sorted(due.items(), key=lambda item: (-item[1].count, item[0]))
        alone = named if len(named) + (others is not None) <= rows else named[: rows - 1]
        together = named[len(alone) :]
        try:
            self._write(alone, together, others)
        except QanatError:
            with self._lock:
                self._put_back(due, others)
                self._rows += rows
            raise
        return rows

    def _take_due(self, *, all_now: bool) -> dict[str, _Failed]:
        now = self._store.clock()
        due = {}
        for network in list(self._waiting):
            told = self._told.get(network)
            if not all_now and told is not None and now - told.at < told.pause:
                continue
            due[network] = self._waiting.pop(network)
            pause = AGAIN if told is None or now - told.at > 2 * told.pause else min(told.pause * 2, AGAIN_AT_MOST)
            self._told[network] = _Told(now, pause)
            self._told.move_to_end(network)
            if len(self._told) > MAX_ADDRESSES:
                self._told.popitem(last=False)
        return due

    def _may_write(self, wanted: int) -> int:
        now = self._store.clock()
        self._rows = min(BURST, self._rows + max(now - self._refilled_at, timedelta()) / ROW_EVERY)
        self._refilled_at = now
        rows = min(wanted, int(self._rows))
        self._rows -= rows
        return rows

    def _add(self, network: str, failed: _Failed) -> None:
        if network in self._waiting:
            self._waiting[network].add(failed)
        elif len(self._waiting) < MAX_ADDRESSES:
            self._waiting[network] = failed
        elif self._others is None:
            self._others = failed
        else:
            self._others.add(failed)

    def _put_back(self, due: dict[str, _Failed], others: _Failed | None) -> None:
        for network, failed in due.items():
            self._add(network, failed)
            self._told.pop(network, None)
        if others is not None:
            if self._others is not None:
                others.add(self._others)
            self._others = others

    def _write(
        self, alone: list[tuple[str, _Failed]], together: list[tuple[str, _Failed]], others: _Failed | None
    ) -> None:
        with self._store.recording() as write:
            for network, failed in alone:
                whoever = Actor(kind="address", name=network, address=failed.address)
                write.audit(ACTION, "", detail=_detail(failed), actor=whoever)
            if not together and others is None:
                return
            whole = _Failed(write.at, write.at, "")
            for failed in [*(failed for _, failed in together), *([others] if others is not None else [])]:
                whole.add(failed)
            named = {network: failed.count for network, failed in together[:NAMED]}
            detail = {**_detail(whole), "addresses": named, "more": len(together) - len(named)}
            write.audit(ACTION, "", detail=detail, actor=Actor(kind="address", name="many"))


def _detail(failed: _Failed) -> dict[str, object]:
    return {
        "count": failed.count,
        "first_at": failed.first.isoformat(),
        "last_at": failed.last.isoformat(),
        "ways": dict(failed.ways),
    }
