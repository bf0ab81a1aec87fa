"""kamal-proxy as the origin of a tunnel: deploys behind it lose no request, and Rails sees who asked for what.

`QANAT_TEST_KAMAL_PROXY` names the real binary; tests/support/kamal.py has the stand-in that takes its place without.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fixtures import OURS, THEIRS, params
from tests.support.http1 import Http1Client
from tests.support.kamal import HEALTH, REAL, KamalProxy, kamal_proxy
from tests.support.origin import Exchange, Origin
from tests.support.sites import Publisher, Site
from tests.support.waiting import wait_until

NO_REAL = "QANAT_TEST_KAMAL_PROXY names no kamal-proxy binary"
KINDS = ["stand-in", pytest.param("kamal-proxy", marks=pytest.mark.skipif(not REAL, reason=NO_REAL))]
pytestmark = [pytest.mark.parametrize("link", params([OURS[0], THEIRS[1]]), indirect=True)]


class App:
    """One version of a Rails application: it blocks hosts that it doesn't know, as `config.hosts` does, and says its version."""

    def __init__(self, version: str, host: str) -> None:
        self.version = version
        self.host = host
        self.origin = Origin(script=self._answer)
        self.address = self.origin.service.removeprefix("http://")
        self.slow = threading.Event()

    def _answer(self, exchange: Exchange) -> None:
        if exchange.request.value("host") != self.host:
            exchange.answer(403, b"Blocked hosts")
            return
        if exchange.request.target == "/slow":
            assert self.slow.wait(30.0)
        exchange.answer(200, self.version.encode())


@contextmanager
def versions(*names: str, host: str) -> Iterator[list[App]]:
    apps = [App(name, host) for name in names]
    try:
        yield apps
    finally:
        for app in apps:
            app.slow.set()
            app.origin.close()
    assert [problem for app in apps for problem in app.origin.problems] == []


@pytest.fixture(params=KINDS)
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KamalProxy]:
    with kamal_proxy(request.param, tmp_path) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy: KamalProxy, publish: Publisher) -> Site:
    return publish(proxy.service)


class Visitors:
    """Clients that ask without pause, each on a connection of its own that it keeps."""

    def __init__(self, site: Site, count: int = 4) -> None:
        self.versions: list[str] = []
        self.failed: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(site.h1(),), daemon=True) for _ in range(count)]

    def __enter__(self) -> "Visitors":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20.0)

    def see(self, version: str) -> None:
        """Until they are answered by it."""
        wait_until(lambda: version in self.versions[-8:], f"an answer of {version}")

    def _ask(self, client: Http1Client) -> None:
        while not self._over.is_set():
            try:
                answer = client.get("/")
            except Exception as error:  # whatever it is, a visitor saw it
                self.failed.append(repr(error))
                return
            if answer.status == 200:
                self.versions.append(answer.text)
            else:
                self.failed.append(f"{answer.status} {answer.text[:100]}")


def test_deploys_lose_no_request(proxy: KamalProxy, behind: Site) -> None:
    with versions("v1", "v2", "v3", host=behind.hostname) as apps:
        assert proxy.deploy(apps[0].address, health_host=behind.hostname)
        with Visitors(behind) as visitors:
            for app in apps:
                assert proxy.deploy(app.address, health_host=behind.hostname)
                visitors.see(app.version)
        assert visitors.failed == []
        # one version after the other, but for what was under way at a switch
        switches = [pair for pair in zip(visitors.versions, visitors.versions[1:], strict=False) if pair[0] > pair[1]]
        assert len(switches) <= 2 * 4


def test_what_is_open_at_a_deploy_is_answered_by_the_old_version(proxy: KamalProxy, behind: Site) -> None:
    with versions("v1", "v2", host=behind.hostname) as (old, new):
        assert proxy.deploy(old.address, health_host=behind.hostname)
        client = behind.h1(timeout_s=30.0)
        client.start("GET", "/slow")
        wait_until(
            lambda: any(each.target == "/slow" for each in old.origin.requests), "the request at the old version"
        )
        deployed: list[bool] = []
        deploy = threading.Thread(
            target=lambda: deployed.append(proxy.deploy(new.address, health_host=behind.hostname)), daemon=True
        )
        deploy.start()
        wait_until(lambda: behind.get().text == "v2", "the new version to serve")
        assert deployed == [], "the deploy waits for what is open"
        old.slow.set()
        assert client.answer().text == "v1"
        deploy.join(30.0)
        assert deployed == [True]


@pytest.mark.case(47)
def test_a_target_that_wants_the_public_host_is_checked_with_it(proxy: KamalProxy, behind: Site) -> None:
    """Rails' `config.hosts` refuses the target's own address: a check without the Host never passes, and nothing is switched."""
    with versions("v1", "v2", host=behind.hostname) as (old, new):
        assert proxy.deploy(old.address, health_host=behind.hostname)
        assert not proxy.deploy(new.address, timeout_s=0.5)
        assert behind.get().text == "v1"
        assert {each.target for each in new.origin.requests} == {HEALTH}


def test_host_scheme_and_client_arrive_as_rails_reads_them(proxy: KamalProxy, behind: Site) -> None:
    with versions("v1", host=behind.hostname) as (app,):
        assert proxy.deploy(app.address, health_host=behind.hostname)
        client = behind.h1(source="127.0.0.9")
        forged = [("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "evil.test")]
        assert client.get("/who", forged).text == "v1"
        seen = app.origin.last
        # request.host: the last of X-Forwarded-Host, else Host
        hosts = seen.values("x-forwarded-host") or seen.values("host")
        assert hosts[-1].split(", ")[-1] == behind.hostname
        assert seen.value("host") == behind.hostname
        # request.ssl?
        assert seen.values("x-forwarded-proto") == ["https"]
        # request.remote_ip: the last of X-Forwarded-For that is no proxy of ours; the connector is one, on loopback
        addresses = ", ".join(seen.values("x-forwarded-for")).split(", ")
        assert [each for each in addresses if each != "127.0.0.1"] == ["127.0.0.9"]
        assert seen.values("cf-connecting-ip") == ["127.0.0.9"]
