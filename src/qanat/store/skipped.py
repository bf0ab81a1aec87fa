"""Rows that can't be used right now and are left out: named and counted here, tried again by who left them out.

Nobody's row stops anybody else's: whatever works through rows of many accounts in one go leaves out what fails.
"""

import errno
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Lock
from typing import Literal

import structlog

from qanat.errors import QanatError
from qanat.store.database import Clock, utc_now
from qanat.store.failures import AWAY_CODES

log = structlog.get_logger(__name__)

Kind = Literal[
    "tunnel",
    "configuration",
    "connector_token",
    "token_expiry",
    "record",
    "hostname",
    "certificate",
    "given_certificate",
    "certificate_order",
    "quick_tunnel",
]
MAX_REASON = 300
LOGGED_EACH = 20
"""Rows of one account that are logged one by one; of more, the log tells how many there are whenever they have doubled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a row is left out. `account_id` None: it belongs to no account, or that isn't known."""

    code: str
    reason: str
    account_id: str | None = None

    @classmethod
    def of(cls, error: Exception, *, account_id: str | None = None, full: str = "row_unreadable") -> "Failure":
        """`full`: the code of an error that is none of ours."""
        if isinstance(error, QanatError):
            return cls(code=error.code, reason=_cut(str(error)), account_id=account_id)
        told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, OSError) and error.errno is not None:
            told = f"{told} ({errno.errorcode.get(error.errno, error.errno)})"
        return cls(code=full, reason=_cut(f"{type(error).__name__}: {told}"), account_id=account_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A row that is left out. `name`: a hostname, or an id; `since`: from when on."""

    kind: Kind
    name: str
    account_id: str | None
    code: str
    reason: str
    since: datetime


@dataclass(slots=True)
class LeftOut:
    """What one pass over many rows leaves out."""

    found: dict[tuple[Kind, str], Failure] = field(default_factory=dict)

    def add(self, kind: Kind, name: str, failure: Failure) -> None:
        """One row."""
        self.found[kind, name] = failure

    def names(self, kind: Kind) -> list[str]:
        """Of one kind."""
        return [name for each, name in self.found if each == kind]


class SkippedRows:
    """All that are left out now. Safe for many threads. Each is logged once, and again when its reason changes."""

    def __init__(self, *, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._lock = Lock()
        self._rows: dict[tuple[Kind, str], Skipped] = {}
        self._of_account: Counter[str | None] = Counter()

    def note(self, kind: Kind, name: str, failure: Failure) -> None:
        """A row is left out."""
        with self._lock:
            self._note(kind, name, failure)

    def clear(self, kind: Kind, name: str) -> None:
        """A row is in use, or gone."""
        with self._lock:
            self._clear(kind, name)

    def settle(self, found: LeftOut, *kinds: Kind, among: Collection[str] | None = None) -> None:
        """What a pass over all rows of these kinds (`among`: over those of these names) left out, and nothing else is."""
        with self._lock:
            names: Iterable[tuple[Kind, str]] = (
                [key for key in self._rows if key[0] in kinds]
                if among is None
                else [(kind, name) for kind in kinds for name in among]
            )
            for key in names:
                if key not in found.found:
                    self._clear(*key)
            for (kind, name), failure in found.found.items():
                self._note(kind, name, failure)

    def rows(self) -> list[Skipped]:
        """By kind and name."""
        with self._lock:
            return [self._rows[key] for key in sorted(self._rows)]

    def names(self, kind: Kind, *, most: int | None = None) -> list[str]:
        """Of one kind, those that have waited longest first."""
        with self._lock:
            return [name for each, name in self._rows if each == kind][:most]

    def find(self, wanted: Iterable[tuple[Kind, str]]) -> list[Skipped]:
        """Those of these that are left out."""
        with self._lock:
            return [self._rows[key] for key in wanted if key in self._rows]

    def counts(self) -> Mapping[str, int]:
        """How many of each kind."""
        with self._lock:
            return dict(sorted(Counter(kind for kind, _ in self._rows).items()))

    def _note(self, kind: Kind, name: str, failure: Failure) -> None:
        before = self._rows.get((kind, name))
        if before is not None:
            changed = replace(before, code=failure.code, reason=failure.reason, account_id=failure.account_id)
            if changed == before:
                return
            self._of_account[before.account_id] -= 1
            self._rows[kind, name] = changed
        else:
            self._rows[kind, name] = Skipped(
                kind=kind,
                name=name,
                account_id=failure.account_id,
                code=failure.code,
                reason=failure.reason,
                since=self._clock(),
            )
        self._of_account[failure.account_id] += 1
        count = self._of_account[failure.account_id]
        if count <= LOGGED_EACH or count & (count - 1) == 0:
            log.error(
                "a row is skipped",
                code=failure.code,
                kind=kind,
                name=name,
                account=failure.account_id,
                reason=failure.reason,
                skipped_of_account=count,
            )

    def _clear(self, kind: Kind, name: str) -> None:
        gone = self._rows.pop((kind, name), None)
        if gone is None:
            return
        self._of_account[gone.account_id] -= 1
        count = self._of_account[gone.account_id]
        if count <= 0:
            del self._of_account[gone.account_id]
        if count <= LOGGED_EACH:
            log.info("a row is skipped no longer", kind=kind, name=name, account=gone.account_id, code=gone.code)


def each_alone(kind: Kind, names: Iterable[str], act: Callable[[str], bool], skipped: SkippedRows | None = None) -> int:
    """Does something to each row; of how many it was done. What fails for one is noted, and the others follow.

    Raises:
        QanatError: the database is away (`AWAY_CODES`): that is no row's fault.
    """
    skipped = skipped or SkippedRows()
    done = 0
    for name in names:
        try:
            done += act(name)
        except Exception as error:
            if isinstance(error, QanatError) and error.code in AWAY_CODES:
                raise
            skipped.note(kind, name, Failure.of(error))
            log.debug("a row failed", kind=kind, name=name, exc_info=True)
        else:
            skipped.clear(kind, name)
    return done


def _cut(text: str) -> str:
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 1]}…"
