import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qanat.store import Store, open_store
from qanat.store.sealing import Sealer
from tests.support.control import KEY, Control, running_control
from tests.support.databases import new_file
from tests.support.postgres import Postgres
from tests.support.writes import first_account


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Every test of the API runs on both databases, but of one with many cases only the first does on PostgreSQL: the others
    differ in what comes before the database. QANAT_TEST_DATABASES=all runs them all."""
    if os.environ.get("QANAT_TEST_DATABASES") == "all":
        return
    seen: set[str] = set()
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        on_postgres = callspec is not None and "postgres" in map(callspec.params.get, ("database", "shared_control"))
        if on_postgres and item.path.parent.name in ("api", "client"):
            name = item.nodeid.partition("[")[0]
            if name in seen:
                left.append(item)
                continue
            seen.add(name)
        kept.append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    """Where a store is opened: a SQLite file or the URL of a PostgreSQL database, with tables and without rows."""
    if request.param == "sqlite":
        yield new_file(tmp_path / "qanat.db")
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.lent() as url:
        yield url


@pytest.fixture
def store(database: Path | str) -> Iterator[Store]:
    """An empty store with the first account, on each kind of database."""
    opened = open_store(database)
    first_account(opened)
    yield opened
    opened.close()


@pytest.fixture
def account(store: Store) -> str:
    """The first account's id."""
    return first_account(store).id


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(KEY)


@pytest.fixture
def control(database: Path | str, tmp_path: Path) -> Iterator[Control]:
    """A control plane without an engine, on each kind of database."""
    with running_control(tmp_path, database if isinstance(database, str) else None) as running:
        yield running
