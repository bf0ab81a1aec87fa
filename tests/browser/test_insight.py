"""What passes, in a browser: a hostname's requests, a connector's log as it comes, and what connections are made of."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from qanat.health.lines import Line
from tests.browser.watched import Watched
from tests.support.control import Control
from tests.support.passed import put_series
from tests.unit.dashboard.test_overview import connected
from tests.unit.dashboard.test_requests import passes
from tests.unit.dashboard.test_tail import Log, line

pytestmark = pytest.mark.browser

EVIL = "\"'><script>window.xss=1</script><img src=x onerror=window.xss=1>{{7*7}}"
PHONE = {"width": 390, "height": 844}
HOST = "www.seen.test"
DESK = {"width": 1280, "height": 860}
SignIn = Callable[..., Watched]
Shoot = Callable[[Any, str], None]


@pytest.fixture(scope="module")
def tunnel(control: Control) -> str:
    made = connected(control, "seen", hostname=HOST)
    control.edge.links[f"c-{made}"] = Line(0.0123, "X25519MLKEM768")
    put_series(control.store, account_id=control.account, tunnel_id=made)
    return made


def test_a_log_is_followed_and_what_it_says_runs_nowhere(
    control: Control, me: SignIn, tunnel: str, axe: str, shoot: Shoot
) -> None:
    log = control.edge.viewers = Log([line(f"GET / {EVIL}", fields={"x": EVIL}), line("lost", level="error")])
    watched = me(viewport=PHONE)
    page = watched.page
    page.goto(f"/tunnels/{tunnel}")
    assert "X25519MLKEM768" in page.inner_text("#connectors")
    assert "12" in page.inner_text("#connectors td:nth-of-type(4)")
    page.select_option("#tail-level", "debug")
    page.fill("#tail-text", "x")
    page.click("[data-follow]")
    page.wait_for_selector("#tail-lines p >> text=GET /")
    expect(page.locator("#tail-lines p")).to_have_count(1)  # the other has no x
    assert page.evaluate("window.xss") is None
    assert page.query_selector("#tail-lines img, #tail-lines script") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if axe:
        assert watched.axe(axe) == []
    assert log.asked[0]["filters"]["level"] == "debug"
    page.click("[data-follow]")
    page.wait_for_selector("#tail-says >> text=stopped")
    assert log.gone.wait(60), "the connector hears that nobody follows any more"


def test_who_follows_a_log_that_somebody_follows_is_told(control: Control, me: SignIn, tunnel: str) -> None:
    control.edge.viewers = Log(code=4002)
    page = me().page
    page.goto(f"/tunnels/{tunnel}")
    page.click("[data-follow]")
    page.wait_for_selector("#tail-says >> text=one person at a time")


def test_requests_are_switched_on_come_by_themselves_and_are_filtered(
    control: Control, me: SignIn, tunnel: str, axe: str, shoot: Shoot
) -> None:
    watched = me(viewport=DESK, reduced_motion="reduce", color_scheme="light")
    page = watched.page
    page.goto(f"/hostnames/{HOST}")
    page.click("text=Requests, one by one")
    page.fill("#minutes", "5")
    page.click("text=Switch on")
    page.wait_for_selector("#requests >> text=ON")
    page.wait_for_selector("#age[data-state=live]")
    for number, status in enumerate((200, 200, 404, 502)):
        passes(control, HOST, path=f"/basket/{number}", status=status, request_id=f"8f2c1d4e5a6b7c8{number}-lab01")
    page.wait_for_selector("#requests >> text=basket/3")
    page.click("#requests summary >> nth=0")
    shoot(page, "requests-light")
    texts = dict.fromkeys(("path", "query", "client_ip", "user_agent"), EVIL)
    passes(control, HOST, **texts, headers=[[EVIL, EVIL]])
    passes(control, HOST, path="/fine", request_id="fine")
    page.wait_for_selector("#requests >> text=/fine")
    assert page.evaluate("window.xss") is None
    assert page.query_selector("main img, main script") is None
    if axe:
        assert watched.axe(axe) == []
    page.fill("#by-path", "/fine")
    page.click("text=Filter")
    page.wait_for_selector("#age[data-state=live]")
    expect(page.locator("#requests tbody tr")).to_have_count(1)
    page.click("text=Switch off and forget")
    page.wait_for_selector("#requests >> text=only while somebody wants to see them")


def test_hops_that_nobody_tells_are_said_so(control: Control, me: SignIn, tunnel: str) -> None:
    page = me().page
    page.goto(f"/tunnels/{tunnel}")
    page.wait_for_selector("[data-columns^=total] canvas")
    page.wait_for_selector("[data-columns^=origin] >> text=stock ones don't")
