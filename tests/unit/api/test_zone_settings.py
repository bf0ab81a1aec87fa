"""What a zone says of itself: HTTPS only, HSTS, its own error pages; and that an account's export has it."""

from typing import Any

import pytest

from qanat.control import zone_settings
from tests.support.control import Control

HSTS = {"enabled": True, "max_age": 86400, "include_subdomains": True, "preload": False, "nosniff": True}


@pytest.fixture
def zone(control: Control) -> str:
    return str(control.create_zone("example.test")["id"])


def test_always_use_https_and_hsts_are_set_as_stock_clients_set_them(control: Control, zone: str) -> None:
    path = f"/zones/{zone}/settings"
    before = control.call("GET", f"{path}/always_use_https")
    assert (before["editable"], before["modified_on"]) == (True, None)
    changed = control.call("PATCH", f"{path}/always_use_https", {"value": "off"})
    assert (changed["value"], changed["modified_on"] is None) == ("off", False)
    assert control.call("GET", f"{path}/always_use_https") == changed
    put = control.call("PATCH", f"{path}/security_header", {"value": {"strict_transport_security": HSTS}})
    assert put["value"] == {"strict_transport_security": HSTS}
    listed = {each["id"]: each for each in control.call("GET", path)}
    assert listed["security_header"] == put
    assert control.notices[-1].zone_id == zone
    assert control.notices[-1].kind == "zone_settings"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("always_use_https", True),
        ("always_use_https", "maybe"),
        ("security_header", {}),
        ("security_header", {"strict_transport_security": {"max_age": -1}}),
        ("security_header", {"strict_transport_security": {"max_age": True}}),
        ("security_header", {"strict_transport_security": {"enabled": "yes"}}),
        ("security_header", {"strict_transport_security": {"evil": "\r\nX: y"}}),
        ("security_header", {"strict_transport_security": {}, "more": 1}),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused(control: Control, zone: str, name: str, value: Any) -> None:
    assert control.refused("PATCH", f"/zones/{zone}/settings/{name}", {"value": value})[:2] == (400, 1004)


@pytest.mark.parametrize(
    ("told", "sent"),
    [
        ({}, ("", False)),
        (HSTS, ("max-age=86400; includeSubDomains", True)),
        ({**HSTS, "enabled": False}, ("", False)),
        ({"enabled": True, "max_age": 0}, ("max-age=0", False)),
        ({"enabled": True, "max_age": 63072000, "preload": True}, ("max-age=63072000; preload", False)),
    ],
)
def test_what_browsers_are_told(told: dict[str, Any], sent: tuple[str, bool]) -> None:
    assert zone_settings.hsts({"strict_transport_security": told}) == sent


def test_an_error_page_is_kept_bounded_and_taken_away(control: Control, zone: str) -> None:
    path = f"/qanat/zones/{zone}/error-pages"
    assert [(page["kind"], page["content"]) for page in control.call("GET", path)] == [
        ("500_errors", None),
        ("1000_errors", None),
    ]
    put = control.call("PUT", f"{path}/1000_errors", {"content": "<p>::RAY_ID::</p>"})
    assert put in control.call("GET", path)
    for bad in ("", " ", "x" * (zone_settings.PAGE_BYTES + 1), "é" * (zone_settings.PAGE_BYTES // 2 + 1)):
        assert control.refused("PUT", f"{path}/500_errors", {"content": bad})[:2] == (400, 1004)
    assert control.refused("PUT", f"{path}/400_errors", {"content": "x"})[0] == 400
    control.call("DELETE", f"{path}/1000_errors")
    control.call("DELETE", f"{path}/1000_errors")
    assert [page["content"] for page in control.call("GET", path)] == [None, None]
    assert "error_page.500_errors" not in {each["id"] for each in control.call("GET", f"/zones/{zone}/settings")}


def test_a_zone_that_is_gone_takes_its_settings_along(control: Control, zone: str) -> None:
    control.call("PATCH", f"/zones/{zone}/settings/always_use_https", {"value": "off"})
    control.call("DELETE", f"/zones/{zone}")
    again = str(control.create_zone("example.test")["id"])
    assert control.call("GET", f"/zones/{again}/settings/always_use_https")["modified_on"] is None
