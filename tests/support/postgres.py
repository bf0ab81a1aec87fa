"""A throw-away PostgreSQL server for the tests: as an unprivileged user, on a socket of its own, ended with them."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from signal import SIGINT, SIGQUIT
from typing import Any

import psycopg
from psycopg import sql

from qanat.store import open_store
from tests.support import warm
from tests.support.waiting import wait_until

START_S = 60.0
SHAPE = "SELECT " + ", ".join(
    f"(SELECT (count(*), max(xmin::text::bigint))::text FROM {catalogue})"
    for catalogue in (
        "pg_class",
        "pg_attribute",
        "pg_constraint",
        "pg_description",
        "pg_proc",
        "pg_trigger",
        "alembic_version",
    )
)
"""Another answer once anything of a schema was made, changed or dropped."""
EMPTY = """
DO $$
DECLARE name text; has_rows boolean;
BEGIN
  SET LOCAL session_replication_role = replica; -- the audit log's triggers would refuse
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO has_rows;
    IF has_rows THEN EXECUTE format('DELETE FROM %I', name); END IF;
  END LOOP;
  PERFORM setval(format('%I', sequencename)::regclass, start_value, false)
    FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL;
END $$
"""
USERS = ("postgres", "nobody")
MEMORY_BYTES = 1 << 30


class NoPostgres(Exception):
    """There is no server to start; the text says what is missing."""


@dataclass
class Postgres:
    """A running server. Each test takes a database of its own; `stop` and `start` are for tests that lose it."""

    folder: Path
    binaries: Path
    user: str | None
    _process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=count)
    _shape: tuple[Any, ...] = ()
    _idle: list[str] = field(default_factory=list)

    def url(self, database: str) -> str:
        return f"postgresql://qanat@/{database}?host={self.folder}"

    def start(self) -> None:
        """Returns when connections are taken."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "shared_buffers": "64MB",
            "max_wal_size": "256MB",
            "fsync": "off",  # no test takes the machine's power away, only the server's
            "autovacuum": "off",  # it would be in the way of copying the template
            "log_min_messages": "fatal",
        }
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            self._as_user(
                [
                    str(self.binaries / "postgres"),
                    "-D",
                    str(self.folder / "data"),
                    *(f"--{name}={value}" for name, value in settings.items()),
                ]
            ),
            stdout=log,
            stderr=log,
            cwd=self.folder,
        )
        log.close()
        wait_until(self._answers, "PostgreSQL answers", timeout_s=START_S)

    def stop(self, *, at_once: bool = False) -> None:
        """Connections are cut; `at_once` as if the machine had lost power."""
        if self._process is not None:
            self._process.send_signal(SIGQUIT if at_once else SIGINT)
            self._process.wait(START_S)
            self._process = None

    def empty_database(self) -> str:
        """The URL of a new database without tables, whose locale isn't C."""
        return self._create("template0")

    def database(self) -> str:
        """The URL of a new database with this version's tables, copied from one that was migrated once."""
        if not self._shape:
            self.execute("CREATE DATABASE migrated TEMPLATE template0")
            open_store(self.url("migrated")).close()
            (self._shape,) = self.execute(SHAPE, "migrated")
        return self._create("migrated")

    @contextmanager
    def lent(self) -> Iterator[str]:
        """The URL of such a database that is another test's afterwards, as empty, and whose connections stay open meanwhile:
        to make a database and to connect to it is more work than most tests are."""
        url = self._idle.pop() if self._idle else self.database()
        warm.keep(url)
        yield url
        if warm.at_rest(url, lambda connection: self._emptied(connection)):
            self._idle.append(url)
        else:
            warm.close(url)
            self.drop(url)

    def _emptied(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether it is as `database` made it, now that its rows are gone."""
        if connection.execute(SHAPE).fetchone() != self._shape:
            return False
        connection.execute(EMPTY)
        return True

    def copy(self, url: str) -> str:
        """The URL of a new database with all that is in this one, which nobody is connected to."""
        return self._create(_name(url))

    def drop(self, url: str) -> None:
        """Gives the room back."""
        self.execute(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """One statement, outside a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.SQL(statement))
            return cursor.fetchall() if cursor.description else []

    def _create(self, template: str) -> str:
        name = f"test{next(self._numbers)}"
        # FILE_COPY would make two checkpoints a database.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
        return self.url(name)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise NoPostgres((self.folder / "log").read_text(errors="replace")[-2000:])
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _as_user(self, command: Sequence[str]) -> list[str]:
        if self.user is None:
            return list(command)
        entry = pwd.getpwnam(self.user)
        return [
            "setpriv",
            f"--reuid={entry.pw_uid}",
            f"--regid={entry.pw_gid}",
            "--clear-groups",
            "--pdeathsig=KILL",
            *command,
        ]


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server in a temporary folder. NoPostgres where there is none to start."""
    binaries = find_binaries()
    user = None
    if os.geteuid() == 0:
        user = next((name for name in USERS if _exists(name)), None)
        if user is None or shutil.which("setpriv") is None:
            raise NoPostgres("PostgreSQL does not run as root, and there is no user postgres or nobody, or no setpriv")
    # Not below pytest's folder: the path of a socket has at most 107 bytes, and the server's user must get there.
    # In memory where that is possible: a database a test is much to write.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_BYTES
    folder = Path(tempfile.mkdtemp(prefix="qanat-pg-", dir=memory if roomy else "/tmp"))
    try:
        if user is not None:
            entry = pwd.getpwnam(user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        server = Postgres(folder, binaries, user)
        made = subprocess.run(
            server._as_user(
                [
                    str(binaries / "initdb"),
                    f"--pgdata={folder / 'data'}",
                    "--username=qanat",
                    "--auth=trust",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                ]
            ),
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        if made.returncode:
            raise NoPostgres(f"initdb failed: {made.stderr[-1000:]}")
        server.start()
        try:
            yield server
        finally:
            warm.close_all()
            server.stop(at_once=True)  # without the checkpoint, which nobody reads
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_binaries() -> Path:
    """The newest server of Debian's packages, or the one on PATH. NoPostgres."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0)
    on_path = shutil.which("initdb")
    if on_path is not None and (Path(on_path).resolve().parent / "postgres").exists():
        return Path(on_path).resolve().parent
    raise NoPostgres("there is no PostgreSQL server (Debian: apt-get install postgresql)")


def _name(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


if __name__ == "__main__":
    # For a look by hand: `python -m tests.support.postgres`.
    with running_postgres() as running:
        print(running.url("postgres"))
        sys.stdin.read()
