"""Fixtures of the process tests."""

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
from tests.support.neighbours import api_victim, tenant, victim  # noqa: F401
