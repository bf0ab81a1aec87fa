from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import statements
from tests.support.postgres import NoPostgres, Postgres, running_postgres

statements.share()

# An example that waits for a core on a busy machine is not a slow one.
settings.register_profile("qanat", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("qanat")

MARKS = {"case": "54", "requirement": "S26", "trap": "9"}
"""Marks that say which part of the design a test is about, and what one of their values looks like."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("qanat")
    for mark, example in MARKS.items():
        group.addoption(
            f"--{mark}",
            action="append",
            default=[],
            metavar=example,
            help=f"only tests of this {mark}; may be repeated",
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`--case 54 --requirement S26`: the tests of the one and those of the other."""
    wanted = {(mark, value.upper()) for mark in MARKS for value in config.getoption(mark)}
    if not wanted:
        return
    left: list[pytest.Item] = []
    kept: list[pytest.Item] = []
    for item in items:
        about = {(mark.name, str(value)) for mark in item.iter_markers() for value in mark.args}
        (kept if about & wanted else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's PostgreSQL server; tests that need it are skipped where there is none."""
    try:
        with running_postgres() as server:
            yield server
    except NoPostgres as missing:
        pytest.skip(str(missing))
