"""One edge on a PostgreSQL database at a time: a second one would serve from tables that nobody keeps current."""

from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import psycopg
import structlog

from qanat.errors import QanatError
from qanat.store import postgres

EDGE = 3
EVERY_S = 0.2
# The server notices that an edge's host is gone after about half a minute, and its lease is free then.
KEEPALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"

log = structlog.get_logger(__name__)


class Lease:
    """An advisory lock on a connection of its own, from `acquire` to `close`."""

    def __init__(self, url: str, password_file: Path | None) -> None:
        self._url = url
        self._password_file = password_file
        self._connection: psycopg.Connection[Any] | None = None
        self._trouble = ""

    @classmethod
    def take(cls, url: str, *, password_file: Path | None, wait_s: float) -> "Lease":
        """As `acquire`."""
        lease = cls(url, password_file)
        lease.acquire(wait_s=wait_s)
        return lease

    @property
    def is_held(self) -> bool:
        """As far as this process knows."""
        return self._connection is not None

    def acquire(self, *, wait_s: float) -> None:
        """Waits up to `wait_s` for an edge that is just ending. QanatError `store_in_use`, `store_unavailable`."""
        end, pause = monotonic() + wait_s, Event()
        try:
            while not self._try():
                if monotonic() > end:
                    raise QanatError(
                        "store_in_use",
                        "another edge runs on this PostgreSQL database",
                        where=postgres.shown(self._url),
                        hint="stop it; several edges on one database are not possible in this version",
                    )
                pause.wait(EVERY_S)
        except psycopg.Error as error:
            self.close()
            reason = "; ".join(str(error).split("\n")).strip()
            raise QanatError(
                "store_unavailable", f"the database is not available: {reason}", where=postgres.shown(self._url)
            ) from error
        except BaseException:
            self.close()
            raise

    def keep(self) -> None:
        """Called now and then: takes the lock again after the database was away."""
        try:
            if self._connection is not None:
                self._connection.execute("SELECT 1")
                return
        except psycopg.Error:
            self.close()
        trouble, reason = "", ""
        try:
            if not self._try():
                trouble = "another edge took the database meanwhile; stop one of the two"
        except (psycopg.Error, QanatError) as error:
            trouble, reason = "the database is away; traffic goes on, writes are refused", str(error).split("\n")[0]
        if trouble != self._trouble:  # told once, not once a second
            if trouble:
                log.error(trouble, reason=reason)
            else:
                log.info("the database is back")
            self._trouble = trouble

    def close(self) -> None:
        """Another edge may have the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _try(self) -> bool:
        if self._connection is None:
            connection = postgres.connect(self._url, self._password_file)
            connection.autocommit = True
            connection.execute(KEEPALIVE)
            self._connection = connection
        row = self._connection.execute(f"SELECT pg_try_advisory_lock({postgres.LOCKS}, {EDGE})").fetchone()
        if row is not None and row[0]:
            return True
        self.close()
        return False
