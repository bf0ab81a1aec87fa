"""Zones: what clients read and ask, and whose a name is (security.md S47)."""

from datetime import timedelta

import pytest

from qanat.control import accounts
from tests.support.control import Control
from tests.support.writes import written


def names(control: Control, **query: str) -> list[str]:
    return [zone["name"] for zone in control.call("GET", "/zones", **query)]


def test_name_operators(control: Control) -> None:
    for name in ("shop.test", "my-shop.org", "blog.test"):
        control.create_zone(name)
    assert names(control, name="contains:SHOP") == ["my-shop.org", "shop.test"]
    assert names(control, name="starts_with:sho") == ["shop.test"]
    assert names(control, name="ends_with:.test") == ["blog.test", "shop.test"]
    assert names(control, name="equal:SHOP.test.") == ["shop.test"]
    assert names(control, name="not_equal:shop.test") == ["blog.test", "my-shop.org"]
    assert names(control, name="starts_with_case_sensitive:blog") == ["blog.test"]
    assert names(control, name="contains:%") == []
    assert names(control, name="nonsense:shop") == []
    assert names(control, name="%00") == []
    assert names(control, **{"account.name": "contains:fir"}) == ["blog.test", "my-shop.org", "shop.test"]
    assert names(control, match="any", name="blog.test", status="pending") == ["blog.test"]


def test_what_octodns_and_terraform_ask(control: Control) -> None:
    made = control.call(
        "POST", "/zones", {"name": "example.test", "jump_start": False, "account": {"id": control.account}}
    )
    path = f"/zones/{made['id']}"
    assert control.call("PATCH", path, {}) == made
    [plan] = control.call("GET", f"{path}/available_plans")
    assert plan["legacy_id"] == "free"
    assert control.call("PATCH", path, {"plan": {"id": plan["id"]}}) == made
    assert control.call("PATCH", path, {"vanity_name_servers": [], "type": "full"}) == made
    assert control.call("GET", f"{path}/pagerules", status="active") == []
    assert control.call("GET", f"{path}/addressing/regional_hostnames") == []
    assert control.refused("PATCH", path, {"type": "partial"})[:2] == (400, 1004)
    assert control.refused("PATCH", path, {"plan": {"id": "enterprise"}})[:2] == (400, 6007)
    assert control.refused("PATCH", path, {"vanity_name_servers": ["ns1.example.test"]})[:2] == (400, 6007)
    assert control.call("GET", path) == made
    paused = control.call("PATCH", path, {"paused": True})
    assert paused == {**made, "paused": True, "modified_on": paused["modified_on"]}
    control.create_record(made["id"], name="a", type="A", content="192.0.2.1")
    assert control.call("GET", path) == paused
    for name in ("available_plans", "pagerules", "addressing/regional_hostnames"):
        assert control.refused("GET", f"/zones/{'0' * 32}/{name}")[:2] == (404, 7003)


@pytest.mark.parametrize(
    "name", ["a\u0000.test", "x" * 64 + ".test", "a" * 300, "1.2.3.4", "ex ample.test", "a.test:80"]
)
def test_bad_names(control: Control, name: str) -> None:
    assert control.http.post("/zones", json={"name": name}).status_code == 400
    assert names(control) == []


def test_an_account_owns_every_name_of_its_zones(control: Control) -> None:
    mine = control.create_zone("example.test")
    control.create_zone("sub.example.test")
    other = written(control.store, accounts.create, name="other").id
    taken = (400, 1061)
    for name in ("example.test", "deep.sub.example.test", "new.example.test"):
        assert control.refused("POST", "/zones", {"name": name, "account": {"id": other}})[:2] == taken
    control.call("POST", "/zones", {"name": "a.b.test", "account": {"id": other}})
    assert control.refused("POST", "/zones", {"name": "b.test"} | {"account": {"id": control.account}})[:2] == taken
    assert mine["account"]["id"] == control.account


def test_without_an_account_a_zone_goes_to_the_only_one_that_the_token_edits(control: Control) -> None:
    assert control.create_zone("one.test")["account"]["id"] == control.account
    written(control.store, accounts.create, name="other")
    assert control.refused("POST", "/zones", {"name": "two.test"}) == (
        400,
        6007,
        "account.id: name the account: the token may edit zones of 2",
    )
    assert names(control) == ["one.test"]


@pytest.mark.requirement("S47")
def test_a_deleted_zones_name_is_held_for_its_account(control: Control) -> None:
    other = written(control.store, accounts.create, name="other").id
    now = [control.store.clock()]
    control.store.clock = lambda: now[0]
    mine = {"name": "sub.example.test", "account": {"id": control.account}}
    control.call("DELETE", f"/zones/{control.call('POST', '/zones', mine)['id']}")
    theirs = [
        {"name": name, "account": {"id": other}} for name in ("sub.example.test", "example.test", "a.sub.example.test")
    ]
    for body in theirs:
        status, code, message = control.refused("POST", "/zones", body)
        assert (status, code) == (400, 1105)
        assert "held until" in message
    again = control.call("POST", "/zones", mine)
    assert control.refused("POST", "/zones", theirs[1])[:2] == (400, 1061)
    control.call("DELETE", f"/zones/{again['id']}")
    now[0] += timedelta(days=29, hours=23)
    assert control.refused("POST", "/zones", theirs[0])[:2] == (400, 1105)
    now[0] += timedelta(hours=2)
    taken = control.call("POST", "/zones", theirs[0])
    assert control.refused("POST", "/zones", mine)[:2] == (400, 1061)
    control.call("DELETE", f"/zones/{taken['id']}")
    assert control.refused("POST", "/zones", mine)[:2] == (400, 1105)


def test_a_record_never_names_another_accounts_tunnel(control: Control) -> None:
    other = written(control.store, accounts.create, name="other").id
    tunnel = control.call("POST", f"/accounts/{other}/cfd_tunnel", {"name": "theirs"})
    zone = control.call("POST", "/zones", {"name": "example.test", "account": {"id": control.account}})
    fields = {"type": "CNAME", "name": "a", "content": f"{tunnel['id']}.cfargotunnel.com", "proxied": True}
    assert control.refused("POST", f"/zones/{zone['id']}/dns_records", fields)[:2] == (400, 9007)
    batch = {"posts": [fields]}
    assert control.refused("POST", f"/zones/{zone['id']}/dns_records/batch", batch)[:2] == (400, 9007)


def test_ids_of_other_zones_and_nonsense_are_unknown(control: Control) -> None:
    one, two = control.create_zone("one.test"), control.create_zone("two.test")
    record = control.create_record(one["id"], name="a", type="A", content="192.0.2.1")
    path = f"/zones/{two['id']}/dns_records"
    for bad in (record["id"], "x", "%00", "0" * 32, "a%0ab"):
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            body = {"type": "A", "name": "a", "content": "192.0.2.1"}
            assert control.refused(method, f"{path}/{bad}", body)[:2] == (404, 81044)
    assert control.refused("POST", f"{path}/batch", {"deletes": [{"id": record["id"]}]})[:2] == (404, 81044)
    for bad in ("x", "%00", "0" * 32):
        assert control.refused("GET", f"/zones/{bad}/dns_records")[:2] == (404, 7003)


@pytest.mark.case(64)
def test_pages_of_zones(control: Control) -> None:
    wanted = [f"z{number:02}.test" for number in range(23)]
    for name in reversed(wanted):
        control.create_zone(name)
    for per_page in ("1", "5", "50", "5000000", "0", "-1", "abc"):
        seen: list[str] = []
        for page in range(1, 30):
            body = control.http.get("/zones", params={"page": page, "per_page": per_page}).json()
            info = body["result_info"]
            assert (info["page"], info["count"], info["total_count"]) == (page, len(body["result"]), len(wanted))
            if not body["result"]:
                break
            seen += [zone["name"] for zone in body["result"]]
        assert seen == wanted
