"""Writes what the migrations make of an empty SQLite file to `store/migrations/newest.sql`, from which new files are made. Run it
after a new migration; a test compares."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from qanat.store import sqlite
from qanat.store.schema import NEWEST_SQL, migrate, newest_revision


def migrated() -> str:
    """The statements, in the order in which they were run."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "qanat.db"
        engine = sqlite.open_file(file, busy_timeout_s=1.0)
        try:
            migrate(engine, newest_revision())
        finally:
            engine.dispose()
        return statements(file)


def statements(file: Path) -> str:
    """What makes a database as this one is, without its rows but that of the schema's version."""
    with closing(sqlite3.connect(file)) as database:
        made = database.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        )
        version = database.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        texts = [*(sql for (sql,) in made), f"INSERT INTO alembic_version VALUES ('{version}')"]
    return "".join(f"{text};\n\n" for text in texts)


if __name__ == "__main__":
    NEWEST_SQL.write_text(migrated(), encoding="utf-8")
