"""Backups of SQLite: looked into, and put in the database's place while no edge runs; the one before is kept beside it."""

import errno
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qanat.errors import QanatError
from qanat.store import sqlite
from qanat.store.schema import check_revision

NAME = "qanat.db"
COMING = "qanat.db.restoring"
BACKUP = "backup-*.tmp"


@dataclass(frozen=True, slots=True)
class Found:
    """What a backup holds: its schema's revision, and how many of each."""

    revision: str
    accounts: int
    tunnels: int
    zones: int
    records: int


@dataclass(frozen=True, slots=True)
class Restored:
    """`kept`: where the database before is now, None where there was none."""

    found: Found
    kept: Path | None


def look(backup: Path) -> Found:
    """Checks a backup as a whole; nothing is written.

    Raises:
        QanatError: `backup_unreadable`, `store_not_ours`, `store_damaged`, `store_newer`.
    """
    try:
        with backup.open("rb"):
            pass
    except OSError as error:
        raise QanatError("backup_unreadable", f"can't read {backup}: {error.strerror}", where=str(backup)) from error
    if not sqlite.check_file(backup, whole=True):
        raise QanatError("store_not_ours", f"{backup} has no tables of qanat's", where=str(backup))
    try:
        with closing(sqlite3.connect(backup)) as connection:
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            accounts, tunnels, zones, records = (
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("accounts", "tunnels", "zones", "records")
            )
    except (sqlite3.Error, TypeError) as error:
        raise QanatError("store_damaged", f"{backup} lacks tables: {error}", where=str(backup)) from error
    check_revision(revision)
    return Found(revision, accounts, tunnels, zones, records)


def restore(backup: Path, folder: Path) -> Restored:
    """Checks the backup, copies it beside the database, and swaps them by two renames. The caller holds the folder's lock.

    Raises:
        QanatError: `backup_unreadable`, `store_not_ours`, `store_damaged`, `store_newer`, `store_full`; nothing was
            changed then.
    """
    look(backup)
    database, coming = folder / NAME, folder / COMING
    sqlite.remove(coming)
    try:
        shutil.copyfile(backup, coming)
        coming.chmod(0o600)
        sqlite.sync(coming)
        found = look(coming)  # what is swapped in is what was read from the disk
    except OSError as error:
        sqlite.remove(coming)
        code = "store_full" if error.errno == errno.ENOSPC else "backup_unreadable"
        raise QanatError(code, f"can't copy {backup}: {error.strerror}", where=str(backup)) from error
    except QanatError:
        sqlite.remove(coming)
        raise
    kept = None
    if database.exists():
        kept = folder / f"{NAME}.before-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        database.rename(kept)
        _move_journals(database, kept)
    coming.rename(database)
    sqlite.sync(database)
    return Restored(found, kept)


def clean(folder: Path) -> None:
    """At an edge's start: copies that a crash left half-made. A swap that was cut between its renames is finished."""
    coming = folder / COMING
    for file in folder.glob(BACKUP):
        sqlite.remove(file)
    if not coming.exists():
        return
    kept = sorted(file for file in folder.glob(f"{NAME}.before-*Z"))
    if not (folder / NAME).exists() and kept:
        _move_journals(folder / NAME, kept[-1])
        coming.rename(folder / NAME)
        sqlite.sync(folder / NAME)
    else:
        sqlite.remove(coming)


def _move_journals(database: Path, kept: Path) -> None:
    """A journal belongs to its database: beside another it would be played into that one."""
    for end in sqlite.JOURNALS:
        journal = database.with_name(database.name + end)
        if journal.exists():
            journal.rename(kept.with_name(kept.name + end))
