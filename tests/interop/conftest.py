"""Fixtures of the interop tests."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.control import Control, running_control
from tests.support.edge import Edge
from tests.support.fixtures import (  # noqa: F401
    _mark_logs,
    authority,
    edge,
    fakes,
    folder,
    lab,
    link,
    publish,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    refusing_site,
    site,
    tunnelled,
    version,
)
from tests.support.postgres import Postgres

QUICK_ZONE = "quick.example"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest) -> Callable[[], str | None]:
    """Makes an empty database: PostgreSQL's URL, or None for SQLite. Stock clients do their job on both."""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        return server.empty_database
    return lambda: None


@pytest.fixture(scope="module")
def control(new_database: Callable[[], str | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """One control plane for a module's tests: each makes zones and tunnels of its own names."""
    with running_control(tmp_path_factory.mktemp("control"), new_database()) as control:
        yield control


@pytest.fixture(scope="module")
def live(new_database: Callable[[], str | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """The same with an engine, for tests that connect connectors."""
    flags = {"control_quick_tunnels_zone": QUICK_ZONE, "control_quick_tunnels_expiry_s": "10"}
    if (database := new_database()) is not None:
        flags["store_url"] = database
    live = Edge(tmp_path_factory.mktemp("live") / "edge", **flags)
    yield live
    live.stop()
