"""Connections to PostgreSQL that outlive the store that opened them. A server's process for a connection begins with nothing in
its caches, and to fill them takes longer than all that most tests do with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine

from qanat.store import postgres

_open_url = postgres.open_url
_engines: dict[str, dict[float, Engine]] = {}
"""By URL and patience: those of the databases that tests lend each other."""


def keep(url: str) -> None:
    """From now on whoever opens this database has the same connections; to close them does nothing."""
    _engines.setdefault(url, {})


def at_rest(url: str, act: Callable[[psycopg.Connection[Any]], bool]) -> bool:
    """What `act` says, on one of its connections outside a transaction; False when somebody has one still."""
    engines = _engines[url]
    if any(engine.pool.checkedout() for engine in engines.values()):  # type: ignore[attr-defined]
        return False
    engine = next(iter(engines.values()), None) or _opened(url, password_file=None, busy_timeout_s=5.0)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True
        try:
            return act(driver)
        finally:
            driver.autocommit = False


def close(url: str) -> None:
    """Closes them, and keeps no others."""
    for engine in _engines.pop(url).values():
        del engine.dispose
        engine.dispose()


def close_all() -> None:
    """Before the server ends."""
    for url in list(_engines):
        close(url)


def _opened(url: str, *, password_file: Path | None, busy_timeout_s: float) -> Engine:
    if url not in _engines or password_file is not None:
        return _open_url(url, password_file=password_file, busy_timeout_s=busy_timeout_s)
    engines = _engines[url]
    if busy_timeout_s not in engines:
        engines[busy_timeout_s] = engine = _open_url(url, password_file=None, busy_timeout_s=busy_timeout_s)
        engine.dispose = lambda close=True: None  # type: ignore[method-assign]
    return engines[busy_timeout_s]


postgres.open_url = _opened
