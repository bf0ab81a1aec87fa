"""Alerts in a browser: from nothing to a rule that is told, and a test whose outcome is shown; without a script of its own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qanat.alerts.guard import Guard
from qanat.alerts.look import Look
from qanat.alerts.sending import Sending
from tests.browser.test_dashboard import DESK, EVIL, PHONE
from tests.browser.watched import Watched
from tests.support.control import Control
from tests.support.receivers import Hook
from tests.unit.dashboard.test_overview import answered, connected

pytestmark = pytest.mark.browser
SignIn = Callable[..., Watched]


@pytest.fixture
def hook(control: Control) -> Iterator[Hook]:
    control.context.sending = Sending(Guard.of(["127.0.0.0/8"]))
    with Hook() as made:
        yield made


def test_a_webhook_and_rules_are_made_tested_silenced_and_deleted(
    control: Control, me: SignIn, hook: Hook, axe: str, shoot: Callable[[Any, str], None]
) -> None:
    watched = me(viewport=DESK, reduced_motion="reduce")
    page, problems = watched.page, {}
    page.goto("/alerts")
    page.click("text=Add a webhook")
    problems["webhook"] = watched.axe(axe)
    page.fill("#f-name", "on call")
    page.fill("#f-url", hook.url)
    page.click("text=Save")
    assert page.inner_text(".once code").startswith("whsec_")
    page.goto("/alerts")
    page.click("text=Add these rules")
    page.wait_for_selector("text=Failed sign-ins")
    page.click("summary[aria-label='Change on call']")
    page.click("text=Send a test")
    page.wait_for_selector(".once >> text=The test went out")
    assert hook.types() == ["alert.test"]
    hook.answer = lambda: (410, {})
    page.click("summary[aria-label='Change on call']")
    page.click("text=Send a test")
    assert "answered 410" in page.inner_text(".problem")

    page.select_option("#kind", "hostname_down")
    page.click("text=Write it")
    problems["rule"] = watched.axe(axe)
    page.fill("#f-name", "Shop, at once")
    page.fill("#f-for_s", "0")
    page.check("text=on call")
    page.click("text=Save")
    tunnel_id = connected(control, "shop", hostname="www.shop.test")
    answered(control, "www.shop.test", tunnel_id, good=False, why="origin_refused: connection refused")
    Look(control.store, control.edge.health, probing=True, files=list).look()
    for scheme, size, name in (("light", DESK, "alerts-light"), ("dark", PHONE, "alerts-dark-phone")):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        page.goto("/alerts")
        assert "www.shop.test" in page.inner_text("section[aria-labelledby=fired-head]")
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), name
        problems[name] = watched.axe(axe)
        shoot(page, name)
    place = f"/accounts/{control.account}/qanat/alerts"
    rule = control.call("GET", f"{place}/rules")[-1]
    control.call("PUT", f"{place}/rules/{rule['id']}", {"name": EVIL[:70], "kind": rule["kind"], "enabled": True})
    hostile = {"name": EVIL[:70], "kind": "webhook", "url": "https://<img/onerror=window.xss=1>"}
    control.call("POST", f"{place}/channels", hostile)
    page.goto("/alerts")
    page.wait_for_selector("text=window.xss=1")
    assert page.evaluate("window.xss") is None
    assert {name: found for name, found in problems.items() if found} == {}

    page.set_viewport_size(DESK)
    summary = page.locator("summary[aria-label='Change Tunnel down']")
    summary.focus()
    page.keyboard.press("Enter")
    row = page.locator("tr", has=summary)
    row.locator("button", has_text="Silence").click()
    page.wait_for_selector("text=silent until")
    page.locator("summary[aria-label='Change Tunnel down']").click()
    page.locator("tr", has=page.locator("summary[aria-label='Change Tunnel down']")).locator("text=Delete").click()
    page.wait_for_selector("summary[aria-label='Change Tunnel down']", state="detached")
