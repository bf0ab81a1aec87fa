"""PostgreSQL by URL: libpq's own forms, snapshots for readers, and one writer at a time across all processes."""

from pathlib import Path
from typing import Any

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, create_engine, event

from qanat.errors import QanatError

# The first key of our advisory locks ("qnat"); a database is one qanat's, so that they need no more.
LOCKS = 0x716E6174
WRITER = 1
MIGRATION = 2
MARK = "qanat"
OLDEST = 130000
CONNECT_TIMEOUT_S = 5
# A writer that was stopped half-way (SIGSTOP, a lost host) must not hold the others up for ever.
IDLE_WRITER_S = 60

COLLATE = """
DO $$
DECLARE column_ record;
BEGIN
  FOR column_ IN
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attcollation NOT IN (0, (SELECT oid FROM pg_collation WHERE collname = 'C' AND collencoding = -1))
      AND c.relname IN ({tables})
  LOOP
    EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE %s COLLATE "C"', column_.relname, column_.attname, column_.type);
  END LOOP;
END $$
"""

TABLES = """
SELECT c.relname, obj_description(c.oid, 'pg_class')
FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
"""


def open_url(url: str, *, password_file: Path | None, busy_timeout_s: float) -> Engine:
    """An engine on a PostgreSQL database. Nothing is connected yet.

    Raises:
        QanatError: `settings_invalid`: the URL is none that libpq knows.
    """
    parse(url)
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(url, password_file),
        pool_size=8,
        max_overflow=32,
        pool_pre_ping=True,  # a restarted server costs nobody a request
        hide_parameters=True,  # an exception's text goes to the log
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: psycopg.Connection[Any], _record: Any) -> None:
        connection.autocommit = True
        # What was acknowledged is on the disk, whatever the server's default says.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.execute(f"SET lock_timeout = {int(busy_timeout_s * 1000)}")
        connection.execute("SET jit = off")  # our queries are short
        connection.autocommit = False

    @event.listens_for(engine, "begin")
    def _begin(connection: SqlConnection) -> None:
        driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
        writes = connection.get_execution_options().get("qanat_writes", False)
        # Sent with BEGIN. A writer reads committed rows: its first statement waits for the lock, and what it reads
        # afterwards must be what the writer before it left, not an older snapshot.
        driver.isolation_level = IsolationLevel.READ_COMMITTED if writes else IsolationLevel.REPEATABLE_READ
        driver.read_only = not writes
        if writes:
            connection.exec_driver_sql(
                f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_WRITER_S}s'; "
                f"SELECT pg_advisory_xact_lock({LOCKS}, {WRITER})"
            )

    return engine


def connect(url: str, password_file: Path | None) -> psycopg.Connection[Any]:
    """A connection of its own. psycopg's errors, and QanatError `password_file_unreadable`."""
    more = {} if password_file is None else {"password": read_password(password_file)}
    return psycopg.connect(**{"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "qanat", **parse(url), **more})


def parse(url: str) -> dict[str, Any]:
    """libpq's parameters."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # libpq's text may quote the URL, and so the password.
        raise QanatError(
            "settings_invalid",
            "not a PostgreSQL URL such as postgresql://qanat@db.example.test/qanat",
            where="store.url",
            hint="percent-encode what is special in it; the password is best in store.password_file",
        ) from None
    return {key: value for key, value in given.items() if value is not None}


def shown(url: str) -> str:
    """The URL for people: without its password."""
    given = parse(url)
    host, port = given.get("host", "localhost"), given.get("port", "5432")
    return f"postgresql://{given.get('user', '')}@{host}:{port}/{given.get('dbname', given.get('user', ''))}"


def read_password(file: Path) -> str:
    """The file's first line. QanatError `password_file_unreadable`."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise QanatError(
            "password_file_unreadable", f"can't read {file}: {reason}", where="store.password_file"
        ) from error
    if not lines or not lines[0]:
        raise QanatError("password_file_unreadable", f"{file} is empty", where="store.password_file")
    return lines[0]


def check_database(engine: Engine, url: str) -> bool:
    """Whether it has our tables; refuses what isn't ours, with the reason, before anything is written.

    Raises:
        QanatError: `store_not_ours` or `store_unsuitable`; `where` is the URL without password.
    """
    where = shown(url)
    with engine.connect() as connection:
        version = int(str(connection.exec_driver_sql("SHOW server_version_num").scalar()))
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        schema = connection.exec_driver_sql("SELECT current_schema()").scalar()
        tables = {} if schema is None else {row[0]: row[1] for row in connection.exec_driver_sql(TABLES)}
    if version < OLDEST or encoding != "UTF8" or schema is None:
        reason = (
            f"its version is {version // 10000}, and qanat needs {OLDEST // 10000}"
            if version < OLDEST
            else f"its encoding is {encoding}, and qanat needs UTF8"
            if encoding != "UTF8"
            else "no schema in its search_path exists"
        )
        raise QanatError("store_unsuitable", f"the database can't be used: {reason}", where=where)
    if not tables:
        return False
    if tables.get("alembic_version") != MARK:
        raise QanatError(
            "store_not_ours",
            f"the database has tables of another program ({', '.join(sorted(tables)[:3])})",
            where=where,
            hint="give qanat a database, or a schema by `?options=-csearch_path%3Dqanat`, of its own",
        )
    return True


def finish_migration(connection: SqlConnection, tables: list[str]) -> None:
    """The mark, and one order of texts whatever the database's locale: that of code points, as SQLite's."""
    connection.exec_driver_sql(f"COMMENT ON TABLE alembic_version IS '{MARK}'")
    names = ", ".join(f"'{table}'" for table in tables)
    connection.exec_driver_sql(COLLATE.format(tables=names).replace("%", "%%"))
