"""The database: opening it safely, and the two ways in: `reading` a snapshot and `writing` one audited transaction."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.store import audit
from qanat.store.audit import Actor
from qanat.store.notices import Notice, NoticeBus

APPLICATION_ID = 0x716E6174  # "qnat", in the file's header: no other program's database is taken for ours
SQLITE_MAGIC = b"SQLite format 3\x00"

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Write:
    """One write under way: its session, and what it leaves behind when it commits."""

    session: Session
    at: datetime
    actor: Actor
    notices: list[Notice] = field(default_factory=list)
    audited: int = 0

    def audit(
        self, action: str, object_id: str, *, account_id: str | None = None, detail: Mapping[str, object] | None = None
    ) -> None:
        """The write's audit row."""
        audit.append(
            self.session,
            at=self.at,
            actor=self.actor,
            action=action,
            account_id=account_id,
            object_id=object_id,
            detail=detail or {},
        )
        self.audited += 1

    def notice(self, notice: Notice) -> None:
        """Told to the subscribers after the commit."""
        self.notices.append(notice)


class Store:
    """Rows and their history. Safe for many threads: readers see a snapshot, one writer at a time."""

    def __init__(self, engine: Engine, *, notices: NoticeBus | None = None, clock: Clock = utc_now) -> None:
        self.notices = notices or NoticeBus()
        self.clock = clock
        self._engine = engine
        self._writing_engine = engine.execution_options(qanat_writes=True)
        self._writer = Lock()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one snapshot; what is loaded stays usable after it ends."""
        with _failures_told(), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self, actor: Actor) -> Iterator[Write]:
        """One transaction with its audit rows; any exception leaves nothing behind. Notices go out after the commit."""
        with self._writing(actor) as write:
            yield write
            if not write.audited:
                raise AssertionError("a write without its audit row")
        for notice in write.notices:
            self.notices.publish(notice)

    @contextmanager
    def recording(self) -> Iterator[Write]:
        """A transaction for what merely happened (connections, last use): no audit row, notices as for any write."""
        with self._writing(audit.SYSTEM) as write:
            yield write
        for notice in write.notices:
            self.notices.publish(notice)

    @contextmanager
    def _writing(self, actor: Actor) -> Iterator[Write]:
        session = Session(self._writing_engine, expire_on_commit=False)
        with self._writer, _failures_told(), session, session.begin():
            yield Write(session=session, at=self.clock(), actor=actor)

    def close(self) -> None:
        """Closes the pooled connections; the last one folds SQLite's log into the file."""
        self._engine.dispose()


def open_engine(file: Path, *, busy_timeout_s: float = 5.0) -> Engine:
    """An engine on a SQLite file: WAL, `synchronous=FULL`, foreign keys on, transactions as we begin them."""
    engine = create_engine(f"sqlite:///{file}", pool_size=8, max_overflow=32, connect_args={"timeout": busy_timeout_s})

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={int(busy_timeout_s * 1000)}",
            "cache_size=-16000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: SqlConnection) -> None:
        writes = connection.get_execution_options().get("qanat_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def check_file(file: Path) -> bool:
    """Whether there is a database; refuses what isn't ours or is damaged, with the reason, before anything is written.

    Raises:
        QanatError: `store_not_ours` or `store_damaged`; `where` is the file.
    """
    if not file.exists():
        return False
    if file.stat().st_size == 0:
        # SQLite leaves an empty file when it was stopped before its first page; anything else would have cut it.
        if any(file.with_name(file.name + end).exists() for end in ("-wal", "-journal")):
            raise _damaged(file, "it is empty, but a journal is beside it")
        return False
    with file.open("rb") as opened:
        if opened.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
            raise QanatError(
                "store_not_ours",
                f"{file} is not a SQLite database",
                where=str(file),
                hint="move it away, or restore it from a backup",
            )
    try:
        connection = sqlite3.connect(file)
        try:
            application_id = connection.execute("PRAGMA application_id").fetchone()[0]
            if application_id != APPLICATION_ID:
                has_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                if not has_tables:
                    return False
                raise QanatError(
                    "store_not_ours",
                    f"{file} is another program's database (application_id {application_id:#x})",
                    where=str(file),
                    hint="choose another data directory",
                )
            verdict = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise _damaged(file, str(error)) from error
    if verdict != ["ok"]:
        raise _damaged(file, "; ".join(verdict))
    return True


def _damaged(file: Path, reason: str) -> QanatError:
    return QanatError(
        "store_damaged",
        f"{file} is damaged: {reason}",
        where=str(file),
        hint="restore the last backup; the damaged file was not touched",
    )


@contextmanager
def _failures_told() -> Iterator[None]:
    """The database's own failures as ours: what was acknowledged is safe, what failed left nothing."""
    try:
        yield
    except DBAPIError as error:
        if not isinstance(error.orig, sqlite3.Error) or isinstance(error.orig, sqlite3.IntegrityError):
            raise
        reason = str(error.orig)
        if "full" in reason:
            raise QanatError(
                "store_full", f"the disk is full: {reason}; nothing was written", hint="free some space and repeat"
            ) from error
        if isinstance(error.orig, sqlite3.OperationalError):
            raise QanatError(
                "store_unavailable", f"the database is not available: {reason}; nothing was written"
            ) from error
        raise
