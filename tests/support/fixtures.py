"""Fixtures of the system tests; `conftest.py` of process/ and interop/ take them from here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import OriginAuthority
from tests.support.connector import STOCK
from tests.support.edge import Edge
from tests.support.origin import Origin
from tests.support.processes import PROCESSES, SHARED, end_all
from tests.support.sites import Fakes, Lab, Link, Publisher, Site, Tunnelled

OURS = [Link("qanat", "quic"), Link("qanat", "http2")]
THEIRS = [Link("cloudflared", "quic"), Link("cloudflared", "http2")]
NO_STOCK = "QANAT_TEST_CLOUDFLARED does not name a stock cloudflared binary"


def params(links: list[Link]) -> list[object]:
    """Parameters for `link`: stock ones are marked and skipped without a binary."""
    marks = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]
    return [pytest.param(link, id=str(link), marks=marks if link.kind == "cloudflared" else []) for link in links]


every_connector = pytest.mark.parametrize("link", params(OURS + THEIRS), indirect=True)
"""For tests that a stock connector must pass as well."""

stock_only = pytest.mark.parametrize("link", params(THEIRS), indirect=True)
quic_only = pytest.mark.parametrize("link", params(OURS[:1]), indirect=True)
http2_only = pytest.mark.parametrize("link", params(OURS[1:]), indirect=True)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The session's edge with its tunnels."""
    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        yield lab
    except BaseException:
        end_all()
        raise
    lab.close()


@pytest.fixture(scope="session")
def edge(lab: Lab) -> Edge:
    return lab.edge


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> OriginAuthority:
    """Issues certificates of TLS origins."""
    return OriginAuthority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=params(OURS))
def link(request: pytest.FixtureRequest) -> Link:
    """Our connector over each transport, unless a test asks for others."""
    found: Link = request.param
    return found


@pytest.fixture
def tunnelled(lab: Lab, link: Link) -> Tunnelled:
    return lab.tunnelled(link)


@pytest.fixture
def site(tunnelled: Tunnelled) -> Iterator[Site]:
    """A hostname of this test's own with a scriptable HTTP/1.1 origin behind it."""
    slot = tunnelled.take()
    origin = Origin(slot.sock)
    site = Site(tunnelled, slot.hostname, origin)
    try:
        yield site
    finally:
        site.close()
    assert not origin.problems, origin.problems


@pytest.fixture
def refusing_site(tunnelled: Tunnelled) -> Iterator[Site]:
    """A hostname whose origin refuses connections."""
    slot = tunnelled.take()
    site = Site(tunnelled, slot.hostname, None)
    yield site
    site.close()
    slot.sock.close()


@pytest.fixture
def publish(tunnelled: Tunnelled) -> Iterator[Publisher]:
    """Makes sites with rules of their own."""
    publisher = Publisher(tunnelled)
    yield publisher
    publisher.close()


@pytest.fixture
def fakes(lab: Lab) -> Iterator[Fakes]:
    """Tunnels with independent connectors behind them."""
    fakes = Fakes(lab)
    yield fakes
    fakes.close()


@pytest.fixture(params=["h1", "h2"])
def version(request: pytest.FixtureRequest) -> str:
    """The client's HTTP version."""
    found: str = request.param
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(autouse=True)
def _mark_logs() -> None:
    for process in SHARED:
        if not process.running:
            pytest.exit(f"the session's {process.name} has ended with {process.exit_code}: {process.lines[-3:]}", 1)
    for process in PROCESSES:
        process.reported = process.mark()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # pragma: no cover - only on failures
    report = yield
    if report.failed:  # type: ignore[attr-defined]
        for process in PROCESSES:
            lines = process.since(process.reported)[-80:]
            if lines:
                report.sections.append((f"log of {process.name} ({process.pid})", "\n".join(lines)))  # type: ignore[attr-defined]
    return report


def pytest_sessionfinish() -> None:
    end_all()
