"""The databases' own failures as ours: what was acknowledged is safe, what failed left nothing behind."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from qanat.errors import QanatError

FULL = ("53100",)
COLLIDED = ("40001", "40P01", "55P03")
DAMAGED = ("XX001", "XX002")
# Classes: connection lost, resources, shutting down, no such login, transaction of the wrong kind (a standby is read-only).
AWAY = ("08", "53", "57", "28", "25", "3D", "58")
AWAY_CODES = ("store_full", "store_unavailable", "store_damaged")
"""Of our errors those that end by themselves or by somebody's hand, so that waiting helps."""
NO_SPACE = "no space left"


@dataclass(slots=True)
class Phase:
    """How far a transaction is: once its commit was sent, a lost connection leaves the outcome open."""

    committing: bool = False


@contextmanager
def told(phase: Phase | None = None) -> Iterator[None]:
    """Raises QanatError `store_full`, `store_unavailable`, `store_damaged` or `value_unstorable` in the database's place."""
    try:
        yield
    except DBAPIError as error:
        failure = failure_of(error, committing=phase is not None and phase.committing)
        if failure is None:
            raise
        raise failure from error
    except PoolTimeoutError as error:
        raise _unavailable("too many requests wait for a connection") from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise _unstorable(str(error)) from error


def failure_of(error: DBAPIError, *, committing: bool) -> QanatError | None:
    """Our error for the driver's; None for what only a fault of ours can cause."""
    if isinstance(error, IntegrityError):
        return None
    if isinstance(error.orig, sqlite3.Error):
        return _of_sqlite(error.orig)
    return _of_postgres(error, committing=committing)


def _of_sqlite(error: sqlite3.Error) -> QanatError | None:
    reason = str(error)
    if "full" in reason:
        return _full(reason)
    if isinstance(error, sqlite3.OperationalError):
        return _unavailable(reason)
    if "malformed" in reason or "not a database" in reason:
        return QanatError(
            "store_damaged", f"the database is damaged: {reason}", hint="stop the edge and restore the last backup"
        )
    return None


def _of_postgres(error: DBAPIError, *, committing: bool) -> QanatError | None:
    state = getattr(error.orig, "sqlstate", None) or ""
    reason = "; ".join(line.strip() for line in str(error.orig).splitlines() if line.strip())
    if state in FULL or NO_SPACE in reason.lower():
        return _full(reason)
    if state in COLLIDED:
        return _unavailable(f"another write was in the way: {reason}")
    if state in DAMAGED:
        return QanatError("store_damaged", f"the database is damaged: {reason}", hint="restore the last backup")
    if isinstance(error, DataError) or state.startswith("22"):
        return _unstorable(reason)
    lost = error.connection_invalidated or (not state and isinstance(error, OperationalError | InterfaceError))
    if lost and committing:
        return QanatError(
            "store_unavailable",
            f"the database went away during the commit: {reason}; the write is there as a whole or not at all",
            hint="look before you repeat it",
        )
    if lost or state[:2] in AWAY or isinstance(error, OperationalError):
        return _unavailable(reason)
    return None


def _full(reason: str) -> QanatError:
    return QanatError(
        "store_full", f"the disk is full: {reason}; nothing was written", hint="free some space and repeat"
    )


def _unavailable(reason: str) -> QanatError:
    return QanatError("store_unavailable", f"the database is not available: {reason}; nothing was written")


def _unstorable(reason: str) -> QanatError:
    return QanatError("value_unstorable", f"a value can't be stored: {reason}")
