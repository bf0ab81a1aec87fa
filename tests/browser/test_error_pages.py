"""The edge's own error pages: drawn, light and dark, on a phone too, and without a request to anywhere."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opener
from tests.support.edge import Edge

pytestmark = pytest.mark.browser

URL = "https://nobody.example.test/some/path"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("dark", 390), ("light", 390)], ids=str)
def test_an_error_page_draws_where_it_broke_and_fits(
    chromium: Any, edge: Edge, open_page: Opener, axe: str, shoot: Callable[[Any, str], None], scheme: str, width: int
) -> None:
    with edge.plain("nobody.example.test") as client:
        answer = client.get("/some/path", [("accept", "text/html")])
    assert answer.status == 404
    watched = open_page(URL, color_scheme=scheme, viewport={"width": width, "height": 760})
    watched.expected = ["404"]
    page = watched.page
    headers = {name: answer.value(name) or "" for name in ("content-type", "content-security-policy")}
    page.route("**/*", lambda route: route.fulfill(status=404, headers=headers, body=answer.text))
    page.goto(URL)
    expect(page.locator(".chain li.broken")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shoot(page, f"error-page-{scheme}{'-phone' if width == 390 else ''}")
    if width == 390:
        assert watched.axe(axe) == []
