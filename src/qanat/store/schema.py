"""Bringing the database to this version's schema, or refusing to."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from qanat.errors import QanatError
from qanat.store import sqlite
from qanat.store.database import Store
from qanat.store.failures import told
from qanat.store.notices import NoticeBus

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
NEWEST_SQL = MIGRATIONS / "newest.sql"
"""What all migrations make of an empty SQLite file, statement by statement (scripts/schema.py)."""


def newest_revision() -> str:
    """This version's schema."""
    return max(revisions())


def revisions() -> set[str]:
    """Those that this version knows: numbers, which their files' names begin with. Most starts find the database up to date,
    and so do without Alembic, which takes a while to load."""
    return {file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py")}


def alembic_config() -> "Config":
    """Alembic's settings for the packaged migrations; `alembic -c` files aren't needed."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(engine: Engine, revision: str = "head") -> None:
    """Upgrades to `revision`. QanatError `store_newer`: a newer qanat wrote this database."""
    with _alone(engine) as connection:
        if revision == "head":
            current = current_revision(connection)
            if current == newest_revision():
                return
            if current is None and engine.dialect.name == "sqlite" and not inspect(connection).get_table_names():
                connection.rollback()
                sqlite.lay_out(connection, NEWEST_SQL.read_text(encoding="utf-8"))
                return
        from alembic import command

        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Goes back to `revision` (`base`: no tables)."""
    from alembic import command

    config = alembic_config()
    with _alone(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def current_revision(connection: Connection) -> str | None:
    """The schema's; None for an empty database. QanatError `store_newer`."""
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    connection.rollback()
    if current is not None:
        check_revision(current)
    return current


def check_revision(current: str) -> None:
    """QanatError `store_newer`: this version knows no such schema."""
    if current not in revisions():
        raise QanatError(
            "store_newer",
            f"the database's schema {current} is newer than this version of qanat knows",
            hint="start the newer version, or restore the backup from before the upgrade",
        )


def open_store(
    where: Path | str,
    *,
    busy_timeout_s: float = 5.0,
    password_file: Path | None = None,
    notices: NoticeBus | None = None,
) -> Store:
    """Checks, opens and migrates a SQLite file (Path) or a PostgreSQL database (URL); a new one gets its tables.

    Raises:
        QanatError: `store_not_ours`, `store_damaged`, `store_newer`, `store_unsuitable`, `store_unavailable`.
    """
    if isinstance(where, Path):
        return _open_file(where, busy_timeout_s=busy_timeout_s, notices=notices)
    return _open_url(where, busy_timeout_s=busy_timeout_s, password_file=password_file, notices=notices)


def is_empty(url: str, *, password_file: Path | None = None, busy_timeout_s: float = 5.0) -> bool:
    """Whether a PostgreSQL database has no tables yet. Raises as `open_store`."""
    from qanat.store import postgres

    engine = postgres.open_url(url, password_file=password_file, busy_timeout_s=busy_timeout_s)
    try:
        with told():
            return not postgres.check_database(engine, url)
    finally:
        engine.dispose()


def _open_file(file: Path, *, busy_timeout_s: float, notices: NoticeBus | None) -> Store:
    existed = sqlite.check_file(file)
    if not existed:
        file.touch(mode=0o600)
    engine = sqlite.open_file(file, busy_timeout_s=busy_timeout_s)
    try:
        with told():
            if not existed:
                sqlite.mark(engine)
            migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, file=file, notices=notices)


def _open_url(url: str, *, busy_timeout_s: float, password_file: Path | None, notices: NoticeBus | None) -> Store:
    from qanat.store import postgres  # its driver is only loaded where it is used

    engine = postgres.open_url(url, password_file=password_file, busy_timeout_s=busy_timeout_s)
    try:
        with told():
            postgres.check_database(engine, url)
            migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, notices=notices)


def is_current(where: Path | str, *, password_file: Path | None = None, busy_timeout_s: float = 5.0) -> bool:
    """Whether a database in use has this version's schema already; nothing is written. Raises as `open_store`."""
    if isinstance(where, Path):
        engine = sqlite.open_file(where, busy_timeout_s=busy_timeout_s)
    else:
        from qanat.store import postgres

        engine = postgres.open_url(where, password_file=password_file, busy_timeout_s=busy_timeout_s)
    try:
        with told(), engine.connect() as connection:
            return current_revision(connection) == newest_revision()
    finally:
        engine.dispose()


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A connection to migrate on. On PostgreSQL the edges that start together wait for each other."""
    with ExitStack() as stack:
        if engine.dialect.name == "postgresql":
            from qanat.store.postgres import LOCKS, MIGRATION

            # On a connection of its own: a migration commits between, and takes the writer's lock after this one.
            guard = stack.enter_context(engine.connect())
            guard.exec_driver_sql(f"SELECT pg_advisory_lock({LOCKS}, {MIGRATION})")
            guard.commit()
            stack.callback(guard.exec_driver_sql, f"SELECT pg_advisory_unlock({LOCKS}, {MIGRATION})")
        yield stack.enter_context(engine.execution_options(qanat_writes=True).connect())
