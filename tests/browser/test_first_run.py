"""A newcomer's way in a browser, on a real edge with a real connector: from the one-time token to a hostname that answers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opener
from tests.support.connector import Connector
from tests.support.edge import Edge
from tests.support.origin import Origin
from tests.support.people import PASSWORD

pytestmark = pytest.mark.browser
WAIT_MS = 60_000


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    """What a test starts ends with it, also when it fails."""
    with ExitStack() as stack:
        yield stack


def test_from_the_one_time_token_to_a_hostname_that_answers(
    tmp_path: Path, open_page: Opener, shoot: Callable[[Any, str], None], ends: ExitStack
) -> None:
    edge, origin = Edge(tmp_path / "edge", probes="true"), Origin()
    ends.callback(edge.stop)
    ends.callback(origin.close)
    base = edge.ready["api"].partition("/client/v4")[0]
    page = open_page(base, reduced_motion="reduce", color_scheme="light").page
    page.set_default_timeout(WAIT_MS)
    page.goto("/enter")
    shoot(page, "enter-light")
    page.fill("#token", (edge.data_dir / "setup-token").read_text().strip())
    page.fill("#email", "me@example.com")
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    page.click("text=Set it and sign in")
    page.click("nav >> text=Zones")
    page.fill("#name", "first.test")
    page.click("text=Add the zone")
    page.wait_for_selector("text=first.test")

    page.click("nav >> text=Connect a host")
    page.fill("#name", "web")
    page.click("text=Make a tunnel")
    expect(page.locator("#connected")).to_contain_text("Nobody is connected yet")
    page.fill("#service", origin.service)
    page.click("text=See the rule")
    assert origin.service in page.inner_text(".diff ins")
    page.click("button[value=save]")
    page.wait_for_selector("#standing")
    page.click("nav >> text=Connect a host")
    page.click("text=Use this one")
    page.wait_for_selector("text=It has rules")
    page.click("text=Choose its name")
    page.fill("#name", "app")
    page.click("text=Check it")
    page.click("button[value=save]")
    page.wait_for_selector("table.records >> text=app.first.test")

    page.click("nav >> text=Connect a host")
    page.click("text=Use this one")
    page.click("text=Show the token")
    connector = Connector(tmp_path / "connector", edge, page.inner_text("#token"))
    ends.callback(connector.stop)
    expect(page.locator("#connected")).to_contain_text("HEALTHY", timeout=WAIT_MS)
    with edge.h1("app.first.test") as visitor:
        assert visitor.get("/").status == 200
    page.goto("/hostnames/app.first.test")
    expect(page.locator(".chain li.is-ill")).to_have_count(0)
    page.click("text=Ask its origin")
    page.wait_for_selector("#answers >> text=GOOD")
