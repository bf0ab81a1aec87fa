"""What an operator does and sees in a browser, on a real edge with real connectors: a failing origin, a promotion, cutovers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event, Thread
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opener
from tests.support.api import Tunnel
from tests.support.connector import Connector
from tests.support.edge import Edge
from tests.support.origin import Exchange, Origin
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser
WAIT_MS = 60_000
ZONE = "walked.test"
STEP_S = "3"
QUICK = {"interval_s": 1, "fall": 2, "rise": 1}


class Stand:
    """An edge that asks origins, one zone, and what a test starts beside it."""

    def __init__(self, folder: Any, ends: ExitStack) -> None:
        self.folder, self.ends = folder, ends
        self.edge = Edge(folder / "edge", probes="true")
        ends.callback(self.edge.stop)
        self.api = self.edge.api
        self.zone = self.api.create_zone(ZONE)
        self.base = f"/accounts/{self.api.account}/qanat"

    def origin(self, says: str) -> Origin:
        made = Origin(script=lambda exchange: exchange.answer(200, says.encode(), [("content-type", "text/plain")]))
        self.ends.callback(made.close)
        return made

    def tunnel(self, name: str, hostname: str, origin: Origin) -> Tunnel:
        made = self.api.create_tunnel(name)
        rules = [{"hostname": hostname, "service": origin.service}, {"service": "http_status:404"}]
        self.api.put_configuration(made.id, rules)
        return made

    def connect(self, name: str, token: str, *flags: str) -> Connector:
        made = Connector(self.folder / name, self.edge, token, flags=flags)
        self.ends.callback(made.stop)
        return made

    def publish(self, hostname: str, tunnel: Tunnel) -> None:
        """Until it is served."""
        self.api.publish(self.zone, hostname, tunnel.id)
        self.api.call("PUT", f"{self.base}/probes/{hostname}", QUICK)
        wait_until(lambda: self.get(hostname)[0] == 200, f"{hostname} is served")

    def get(self, hostname: str, path: str = "/", fields: Any = ()) -> tuple[int, str]:
        with self.edge.h1(hostname) as visitor:
            answer = visitor.get(path, fields)
            return answer.status, answer.body.decode()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Stand]:
    """One for the module."""
    with ExitStack() as ends:
        yield Stand(tmp_path_factory.mktemp("walks"), ends)


@pytest.fixture
def page(stand: Stand, open_page: Opener) -> Any:
    """Signed in, as somebody who may everything. What is refused on purpose is no error of the page."""
    watched = open_page(stand.edge.ready["api"].partition("/client/v4")[0], reduced_motion="reduce")
    watched.expected = ["400"]
    watched.page.set_default_timeout(WAIT_MS)
    token = (stand.edge.data_dir / "first-token").read_text().strip()
    assert watched.page.request.post("/sign-in", form={"token": token}).ok
    return watched.page


@pytest.fixture
def visitors(stand: Stand) -> Iterator[Callable[[str], "Visitors"]]:
    """Who asks for a hostname without a pause, until the test's end."""
    with ExitStack() as ends:

        def ask(hostname: str) -> "Visitors":
            made = Visitors(stand.edge, hostname)
            ends.callback(made.end)
            return made

        yield ask


class Visitors(Thread):
    """One visitor on a kept connection, some hundred requests a second at most."""

    def __init__(self, edge: Edge, hostname: str) -> None:
        super().__init__(daemon=True)
        self.edge, self.hostname = edge, hostname
        self._ending = Event()
        self.start()

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                with self.edge.h1(self.hostname) as visitor:
                    while not self._ending.wait(0.01):
                        visitor.get()
            except OSError:
                continue

    def end(self) -> None:
        self._ending.set()
        self.join(WAIT_MS / 1000)


def stage(page: Any, kind: str) -> Any:
    """One stage of the drawn way."""
    return page.locator(".chain li").filter(has=page.locator(".kind", has_text=kind))


def live(page: Any) -> None:
    page.wait_for_selector("#age[data-state=live]")


def test_an_origin_that_fails_and_comes_back_is_seen_on_the_open_page(stand: Stand, page: Any) -> None:
    hostname, origin = f"shop.{ZONE}", stand.origin("shop")
    tunnel = stand.tunnel("shop", hostname, origin)
    stand.connect("shop", tunnel.token)
    stand.publish(hostname, tunnel)
    page.goto(f"/hostnames/{hostname}")
    live(page)
    kinds = ["DNS", "Certificate", "Edge", "Tunnel", "Rule", "Origin"]
    expect(page.locator(".chain .kind")).to_have_text(kinds)
    for kind in kinds:
        expect(stage(page, kind)).to_contain_text("OK", timeout=WAIT_MS)
    expect(stage(page, "Origin")).to_contain_text(origin.service)
    expect(page.locator("#failures")).to_contain_text("None since the edge was started")
    page.evaluate("window.sameDocument = true")

    origin.answers(503, b"closed")
    expect(stage(page, "Origin")).to_contain_text("BROKEN", timeout=WAIT_MS)
    expect(stage(page, "Origin")).to_contain_text("503")
    expect(page.locator("#standing")).to_contain_text("BROKEN AT: ORIGIN")
    expect(stage(page, "Tunnel")).to_contain_text("OK")
    page.click("text=Ask its origin")
    expect(page.locator("#answers")).to_contain_text("BAD", timeout=WAIT_MS)

    origin.script = Exchange.reset
    assert stand.get(hostname, "/basket")[0] == 502
    failed = page.locator("#failures tbody tr").filter(has_text="/basket")
    expect(failed).to_contain_text("502", timeout=WAIT_MS)
    expect(failed).to_contain_text("origin")

    origin.answers(200, b"shop")
    expect(stage(page, "Origin")).to_contain_text("OK", timeout=WAIT_MS)
    expect(page.locator("#standing")).to_contain_text("OK")
    expect(page.locator(".chain li.is-ill")).to_have_count(0)
    expect(failed).to_have_count(1)
    assert page.evaluate("window.sameDocument"), "all of that came by the stream"


def test_requests_are_listed_without_their_secrets_and_the_log_is_followed_with_filters(
    stand: Stand, page: Any
) -> None:
    hostname, origin = f"seen.{ZONE}", stand.origin("seen")
    tunnel = stand.tunnel("seen", hostname, origin)
    stand.connect("seen", tunnel.token)
    stand.publish(hostname, tunnel)
    page.goto(f"/hostnames/{hostname}")
    page.click("text=Requests, one by one")
    page.fill("#minutes", "5")
    page.click("text=Switch on")
    live(page)
    secrets = [("Authorization", "Bearer S3CRET"), ("Cookie", "a=S3CRET"), ("User-Agent", "walker/1")]
    assert stand.get(hostname, "/pay?token=S3CRET", secrets)[0] == 200
    assert stand.get(hostname, "/other")[0] == 200
    expect(page.locator("#requests tbody tr")).to_have_count(2, timeout=WAIT_MS)
    page.fill("#by-path", "/pay")
    page.click("text=Filter")
    live(page)
    row = page.locator("#requests tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("GET /pay?token=*")
    row.locator("summary").click()
    expect(row).to_contain_text("walker/1")
    assert "S3CRET" not in page.content()
    assert stand.get(hostname, "/pay/again")[0] == 200
    expect(row).to_have_count(2, timeout=WAIT_MS)
    page.click("text=Switch off and forget")
    expect(page.locator("#requests")).to_contain_text("only while somebody wants to see them")

    page.goto(f"/tunnels/{tunnel.id}")
    page.select_option("#tail-level", "debug")
    page.select_option("#tail-event", "http")
    page.fill("#tail-text", "/needle")
    page.click("[data-follow]")
    expect(page.locator("#tail-says")).to_contain_text("following", timeout=WAIT_MS)
    lines = page.locator("#tail-lines p")

    def is_told() -> bool:
        assert stand.get(hostname, "/hay")[0] == stand.get(hostname, "/needle")[0] == 200
        return bool(lines.count())

    wait_until(is_told, "a line of the log", every_s=0.3)
    expect(lines.first).to_contain_text("/needle")
    expect(lines.filter(has_not_text="/needle")).to_have_count(0)
    page.click("[data-follow]")
    expect(page.locator("#tail-says")).to_contain_text("stopped")


def test_of_two_hosts_one_is_promoted_and_the_other_let_in_again(stand: Stand, page: Any) -> None:
    hostname = f"hosts.{ZONE}"
    tunnel = stand.api.create_tunnel("hosts", config_src="local")
    for name in ("web-1", "web-2"):
        path = f"/qanat/tunnels/{tunnel.id}/connector-tokens"
        token = stand.api.call("POST", path, {"name": name})["token"]
        stand.connect(name, token, "--url", stand.origin(name).service)
    mode = f"{stand.base}/tunnels/{tunnel.id}/mode"
    stand.api.call("PUT", mode, {"mode": "active-standby", "active": "web-1"})
    stand.publish(hostname, tunnel)
    assert stand.get(hostname) == (200, "web-1")

    def node(name: str) -> Any:
        return page.locator("#nodes tbody tr").filter(has=page.locator("th", has_text=name))

    page.goto(f"/tunnels/{tunnel.id}")
    live(page)
    expect(node("web-2")).to_contain_text("HEALTHY", timeout=WAIT_MS)
    page.click("text=Promote, fence or let in a node")
    page.click("[aria-label='Promote web-2']")
    expect(page.locator(".will")).to_contain_text("web-2 alone gets requests")
    expect(page.locator(".will")).to_contain_text("web-1 is a standby then")
    page.fill("#f-name", "web-1")
    page.click("button.danger")
    expect(page.locator(".problem")).to_contain_text("that is not the name")
    page.fill("#f-name", "web-2")
    page.click("button.danger")
    live(page)
    page.click("text=Promote, fence or let in a node")
    expect(node("web-2")).to_contain_text("active", timeout=WAIT_MS)
    expect(node("web-1")).to_contain_text("standby")
    expect(page.locator("#nodes")).to_contain_text("epoch 2")
    # what can be done with them changed with them on the open page, and stayed unfolded
    expect(page.locator("[aria-label='Fence web-2']")).to_have_count(0)
    page.click("[aria-label='Fence web-1']")
    expect(page.locator(".will")).to_contain_text("What is open on it is cut")
    page.fill("#f-name", "web-1")
    page.keyboard.press("Enter")
    expect(node("web-1")).to_contain_text("fenced", timeout=WAIT_MS)
    assert stand.get(hostname) == (200, "web-2")
    page.click("text=Promote, fence or let in a node")
    expect(page.locator("[aria-label='Promote web-1']")).to_have_count(0)
    page.click("[aria-label='Let web-1 in again']")
    expect(node("web-1")).to_contain_text("standby", timeout=WAIT_MS)
    assert stand.get(hostname) == (200, "web-2")


def moving(stand: Stand, name: str) -> tuple[str, Origin]:
    """A hostname that is served by a tunnel `name`, and beside it a tunnel `name`-new that could, with its origin."""
    hostname, old, new = f"{name}.{ZONE}", stand.origin("old"), stand.origin("new")
    source, target = stand.tunnel(name, hostname, old), stand.tunnel(f"{name}-new", hostname, new)
    stand.connect(name, source.token)
    stand.connect(f"{name}-new", target.token)
    stand.publish(hostname, source)
    return hostname, new


def begin(page: Any, name: str, hostname: str, steps: str) -> None:
    """Plans it on the page, with every gate open, and begins."""
    page.goto("/cutovers")
    page.click("text=Plan one")
    page.fill("#from", name)
    page.fill("#to", f"{name}-new")
    page.fill("#hostnames", hostname)
    page.select_option("#steps", steps)
    page.fill("#step_s", STEP_S)
    page.click("text=Ask the gates")
    expect(page.locator("#gates-head")).to_be_visible(timeout=WAIT_MS)
    rows = page.locator("section.review tbody tr")
    assert rows.count() >= 3
    expect(rows.filter(has_text="SHUT")).to_have_count(0)
    expect(rows.filter(has_text="200").first).to_be_visible()
    page.fill("#f-name", f"{name}-new")
    page.click("button[value=begin]")
    live(page)
    page.evaluate("window.sameDocument = true")


def test_a_cutover_is_compared_as_it_goes_done_and_taken_back_by_the_page(
    stand: Stand, page: Any, visitors: Callable[[str], Visitors]
) -> None:
    hostname, _ = moving(stand, "moved")
    visitors(hostname)
    begin(page, "moved", hostname, "once")
    course = page.locator("#course")
    expect(course).to_contain_text("SETTLING", timeout=WAIT_MS)
    expect(page.locator("#gates tbody tr").first).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("#gates tbody tr").filter(has_text="SHUT")).to_have_count(0)
    compared = course.locator(".compared")
    expect(compared).to_contain_text("New, moved-new", timeout=WAIT_MS)
    expect(compared).to_contain_text("p95")
    expect(course).to_contain_text("DONE", timeout=WAIT_MS)
    expect(course).to_contain_text("100 % to moved-new")
    expect(compared.locator("dd").first).to_contain_text("0 of")
    expect(page.locator("#acts >> text=Pause")).to_have_count(0)
    assert stand.get(hostname) == (200, "new")
    assert page.evaluate("window.sameDocument"), "all of that came by the stream"
    page.click("#acts >> text=Roll back")
    expect(page.locator(".will")).to_contain_text("new requests go to moved again")
    page.fill("#f-name", hostname)
    page.keyboard.press("Enter")
    expect(course).to_contain_text("ROLLED BACK", timeout=WAIT_MS)
    expect(page.locator("#acts button")).to_have_count(0)
    wait_until(lambda: stand.get(hostname) == (200, "old"), "the old one serves again")


def test_a_cutover_to_an_origin_that_fails_is_taken_back_by_itself_before_the_eyes_of_who_looks(
    stand: Stand, page: Any, visitors: Callable[[str], Visitors]
) -> None:
    hostname, new = moving(stand, "failing")
    visitors(hostname)
    begin(page, "failing", hostname, "gradual")
    course = page.locator("#course")
    expect(course).to_contain_text("MOVING", timeout=WAIT_MS)
    new.answers(500, b"broken")
    expect(course).to_contain_text("ROLLED BACK", timeout=WAIT_MS)
    expect(course.locator(".why").first).to_contain_text("failed")
    expect(course.locator("tbody tr").last).to_contain_text("rollback")
    expect(course).to_contain_text("0 % to failing-new")
    expect(page.locator("#acts button")).to_have_count(0)
    assert page.evaluate("window.sameDocument"), "all of that came by the stream"
    wait_until(lambda: stand.get(hostname) == (200, "old"), "the old one serves")
    page.goto("/cutovers")
    row = page.locator("tbody tr").filter(has_text=hostname)
    expect(row).to_contain_text("ROLLED BACK")
