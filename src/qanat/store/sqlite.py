"""SQLite in one file: opened safely, checked before anything is written, and copied while it is in use."""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy import Connection as SqlConnection
from sqlalchemy.exc import DBAPIError

from qanat.errors import QanatError

APPLICATION_ID = 0x716E6174  # "qnat", in the file's header: no other program's database is taken for ours
SQLITE_MAGIC = b"SQLite format 3\x00"
JOURNALS = ("-wal", "-shm", "-journal")


def open_file(file: Path, *, busy_timeout_s: float) -> Engine:
    """An engine on a SQLite file: WAL, `synchronous=FULL`, foreign keys on, transactions as we begin them."""
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        pool_size=8,
        max_overflow=32,
        connect_args={"timeout": busy_timeout_s},
        hide_parameters=True,  # an exception's text goes to the log
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={int(busy_timeout_s * 1000)}",
            "cache_size=-16000",
            "case_sensitive_like=ON",  # as PostgreSQL's
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: SqlConnection) -> None:
        writes = connection.get_execution_options().get("qanat_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def check_file(file: Path, *, whole: bool = False) -> bool:
    """Whether there is a database; refuses what isn't ours or is damaged, with the reason, before anything is written.
    `whole` looks at indexes and foreign keys too.

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
            check = "integrity_check" if whole else "quick_check"
            verdict = [row[0] for row in connection.execute(f"PRAGMA {check}(5)")]
            orphans = connection.execute("PRAGMA foreign_key_check").fetchall() if whole else []
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise _damaged(file, str(error)) from error
    if verdict != ["ok"]:
        raise _damaged(file, "; ".join(verdict))
    if orphans:
        raise _damaged(file, f"{len(orphans)} rows of {orphans[0][0]} and others refer to rows that are gone")
    return True


def mark(engine: Engine) -> None:
    """Writes our id into the header of a new file."""
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        connection.commit()


def lay_out(connection: SqlConnection, statements: str) -> None:
    """Makes the tables of an empty file, all or none: a first start needs no migration, and so no Alembic."""
    driver: Any = connection.connection.driver_connection
    try:
        driver.executescript(f"BEGIN IMMEDIATE;\n{statements}\nCOMMIT;")
    except sqlite3.Error as error:
        raise DBAPIError.instance(statements, None, error, sqlite3.Error) from error


def copy(file: Path, target: Path) -> None:
    """A consistent copy (0600) of a database in use, by SQLite's backup API; readers and writers go on meanwhile.

    Raises:
        QanatError: `store_full` or `store_unavailable`; no half copy is left.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(descriptor)
    try:
        source = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        try:
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the snapshot that is copied
            copied = sqlite3.connect(target)
            try:
                source.backup(copied, pages=-1)
                # One file and no journal: what a reader on a disk that is read-only can open.
                copied.execute("PRAGMA journal_mode=DELETE")
            finally:
                copied.close()
        finally:
            source.close()
        sync(target)
    except (sqlite3.Error, OSError) as error:
        remove(target)
        if "full" in str(error) or getattr(error, "errno", None) == errno.ENOSPC:
            raise QanatError(
                "store_full", f"the disk is full: {error}; there is no copy", hint="free some space"
            ) from error
        raise QanatError("store_unavailable", f"the database can't be copied: {error}") from error


def remove(file: Path) -> None:
    """A database file with its journals."""
    for end in ("", *JOURNALS):
        file.with_name(file.name + end).unlink(missing_ok=True)


def sync(file: Path) -> None:
    """The file and its name are on the disk when this returns."""
    for path in (file, file.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _damaged(file: Path, reason: str) -> QanatError:
    return QanatError(
        "store_damaged",
        f"{file} is damaged: {reason}",
        where=str(file),
        hint="restore the last backup; the damaged file was not touched",
    )
