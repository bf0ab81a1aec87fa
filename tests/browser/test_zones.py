"""Zones, records and certificates in a browser."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.browser.watched import Watched
from tests.support.control import Control

pytestmark = pytest.mark.browser

EVIL = "\"'><script>window.xss=1</script><img src=x onerror=window.xss=1>"
SignIn = Callable[..., Watched]


@pytest.fixture(scope="module")
def zone(control: Control) -> Any:
    """A zone with a public hostname."""
    made = control.create_zone("shop.test")
    control.create_record(made["id"], name="www", type="A", content="192.0.2.1", comment="the old one")
    return made


def test_a_public_hostname_is_made_changed_and_deleted(control: Control, zone: Any, me: SignIn, axe: str) -> None:
    tunnel = control.create_tunnel(f"web-{uuid4()}")
    watched = me()
    watched.expected = ["400"]
    page = watched.page
    page.goto(f"/zones/{zone['id']}")
    page.click("text=Add a record")
    page.fill("#name", "www")
    page.select_option("#tunnel", tunnel["id"])
    page.click("text=Check it")
    assert "already exists" in page.inner_text("#e-name")
    assert page.get_attribute("#name", "aria-describedby") == "e-name"
    assert watched.axe(axe) == [] if axe else True
    page.fill("#name", "app")
    page.click("button[value=check]")
    page.wait_for_selector(".diff >> text=app.shop.test")
    assert tunnel["name"] in page.inner_text(".will")
    page.click("button[value=save]")
    page.wait_for_selector("table.records")
    page.click("th >> text=app.shop.test")
    page.fill("#comment", "new")
    page.click("text=Check what changes")
    assert page.inner_text(".diff ins").endswith("new")
    page.click("button[value=save]")
    page.wait_for_selector("table.records >> text=new")
    page.click("th >> text=app.shop.test")
    page.click("text=Delete this record")
    assert "no longer served" in page.inner_text(".will")
    page.fill("#f-name", "app.shop.test")
    page.click("button.danger")
    page.wait_for_selector("#records-head")
    assert [each["name"] for each in control.call("GET", f"/zones/{zone['id']}/dns_records")] == ["www.shop.test"]


def test_a_zone_file_is_chosen_looked_at_and_imported(control: Control, zone: Any, me: SignIn) -> None:
    page = me().page
    page.goto(f"/zones/{zone['id']}/import")
    page.set_input_files(
        "input[type=file]", {"name": "z.zone", "mimeType": "text/plain", "buffer": b"a 300 IN A 192.0.2.7\n"}
    )
    page.wait_for_function("document.getElementById('file').value.includes('192.0.2.7')")
    page.click("text=See what it adds")
    page.click("text=Add 1 records")
    page.wait_for_selector(".once >> text=1 records were added")
    assert page.is_visible("table.records >> text=a.shop.test")


def test_nothing_that_a_client_wrote_into_records_runs(control: Control, me: SignIn) -> None:
    evil = control.create_zone("evil.test")
    made = control.create_record(evil["id"], name="e", type="TXT", content=EVIL, comment=EVIL)
    control.call("PUT", f"/qanat/zones/{evil['id']}/error-pages/500_errors", {"content": EVIL})
    watched = me()
    watched.expected = ["400"]
    page = watched.page
    for path in ("", "/settings", f"/records/{made['id']}", f"?search={EVIL}"):
        page.goto(f"/zones/{evil['id']}{path}")
        assert page.evaluate("window.xss") is None
        assert page.query_selector("main img, main script") is None
    page.goto(f"/zones/{evil['id']}/import")
    page.fill("#file", f'x 300 IN TXT "{EVIL.replace(chr(34), "")}"')
    page.click("text=See what it adds")
    page.wait_for_selector("#preview-head")
    assert page.evaluate("window.xss") is None
    assert page.query_selector("main img, main script") is None
