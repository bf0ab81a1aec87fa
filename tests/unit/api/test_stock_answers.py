"""What stock clients rely on in many places: a slash at the end, names of zones, refusals instead of other answers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qanat.auth import issue
from qanat.control.permissions import ALL
from tests.support.api import Json
from tests.support.control import Control, running_control
from tests.support.fuzz import description
from tests.support.writes import written
from tests.unit.api.conftest import ZoneDesk

IDS = {
    "tunnel_id": "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415",
    "connector_id": "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415",
    "connector_token_id": "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415",
    "route_id": "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415",
    "virtual_network_id": "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415",
    "network": "10.0.0.0%2F8",
    "ip": "10.0.0.1",
    "version": "1",
}


def filled(path: str, **known: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: {**IDS, **known}.get(found[1], "0" * 32), path)


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Control]:
    """For who asks each of them: which database is behind them makes no difference to their names."""
    with running_control(tmp_path) as running:
        yield running


def test_a_slash_at_the_end_names_the_same_endpoint(endpoints: Control) -> None:
    """ddclient asks for `/zones/?name=…`. No redirect, which would lose bodies; what may not be asked stays so."""
    control = endpoints
    described = description()
    zone = control.create_zone("slash.test")
    other = control.call("POST", "/accounts", {"name": "other"})["id"]
    others, _ = written(control.store, issue, name="other's", account_id=other)
    for path, operations in described["paths"].items():
        if path in ("/qanat/audit/export", "/qanat/backup"):
            continue
        if path.startswith("/qanat/node/"):
            continue  # for connector tokens: an API token is a wrong guess there, and too many of those are another answer
        for method in operations:
            asked = filled(path, account_id=control.account, zone_id=zone["id"])
            if method == "delete" and asked.endswith(zone["id"]):
                continue
            body: Json | None = None if method in ("get", "delete") else {}
            bare, slashed, twice = (control.http.request(method, asked + end, json=body) for end in ("", "/", "//"))
            assert not slashed.is_redirect
            assert slashed.status_code == bare.status_code, (method, path)
            if bare.status_code >= 400:
                assert slashed.json()["errors"] == bare.json()["errors"]
            assert twice.status_code >= 400, (method, path)
            for headers in ({"authorization": f"Bearer {others}"}, {"authorization": ""}):
                barred, barred_too = (
                    control.http.request(method, asked + end, json=body, headers=headers) for end in ("", "/")
                )
                assert barred_too.status_code == barred.status_code, (method, path, headers)
    assert control.call("GET", "/zones/", name="slash.test")[0]["id"] == zone["id"]
    made = control.call("POST", f"/zones/{zone['id']}/dns_records/", {"type": "A", "name": "a", "content": "192.0.2.1"})
    assert made["name"] == "a.slash.test"
    text = "b 300 IN A 192.0.2.2\n"
    answer = control.http.post(f"/zones/{zone['id']}/dns_records/import/", files={"file": ("zone.txt", text)})
    assert answer.json()["result"]["recs_added"] == 1


def test_an_unknown_endpoint_is_one_with_and_without_a_slash(shared_control: Control) -> None:
    for path in ("/nothing/here", "/nothing/here/", "/", ""):
        assert shared_control.refused("GET", path)[:2] == (404, 7000)


@pytest.mark.parametrize("written", ["münchen{}.test", "xn--mnchen{}-3ya.test", "MÜNCHEN{}.Test."])
def test_a_zones_name_is_answered_in_unicode(shared_control: Control, written: str) -> None:
    """As the hosted API does, and records' names in punycode: Terraform would make the zone anew in every plan."""
    name, punycode = "münchen.test", "xn--mnchen-3ya.test"
    control = shared_control
    made = control.call("POST", "/zones", {"name": written.format("")})
    path = f"/zones/{made['id']}"
    try:
        assert made["name"] == name
        assert control.call("GET", path) == made
        assert control.call("PATCH", path, {}) == made
        for asked in (
            name,
            punycode,
            "MÜNCHEN.test",
            f"{name}.",
            f"equal:{punycode}",
            "starts_with:mün",
            "contains:xn--mn",
        ):
            assert [zone["id"] for zone in control.call("GET", "/zones", name=asked)] == [made["id"]], asked
        for asked in ("starts_with:mun", "münchen", "ends_with:ü", "not_equal:münchen.test"):
            assert made["id"] not in [zone["id"] for zone in control.call("GET", "/zones", name=asked)]
        assert control.refused("POST", "/zones", {"name": punycode})[:2] == (400, 1061)
        record = control.create_record(made["id"], type="A", name="straße", content="192.0.2.1")
        assert (record["name"], record["zone_name"]) == (f"xn--strae-oqa.{punycode}", name)
        for asked in (f"straße.{name}", f"xn--strae-oqa.{punycode}", f"STRASSE.{name}", f"straße.{punycode}"):
            found = [each["id"] for each in control.call("GET", f"{path}/dns_records", name=asked)]
            assert found == ([] if "STRASSE" in asked else [record["id"]]), asked
    finally:
        control.call("DELETE", path)


def test_a_name_that_would_not_be_read_back_stays_punycode(shared_control: Control) -> None:
    assert shared_control.create_zone("xn--138h.test")["name"] == "xn--138h.test"  # an emoji, which IDNA 2008 refuses
    assert shared_control.create_zone("xn--a.test")["name"] == "xn--a.test"


def test_a_zone_has_an_owner_and_two_name_servers(desk: ZoneDesk) -> None:
    zone = desk.control.call("GET", f"/zones/{desk.id}")
    assert zone["owner"] == {**zone["account"], "type": "organization"}
    assert zone["name_servers"] == ["ns1.qanat.internal", "ns2.qanat.internal"]
    desk.control.context.name_servers = ("ns.example.net", "ns.example.org")
    assert desk.control.call("GET", f"/zones/{desk.id}")["name_servers"] == ["ns.example.net", "ns.example.org"]
    desk.control.context.name_servers = ("ns1.qanat.internal", "ns2.qanat.internal")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/accounts", {"name": "big", "type": "enterprise"}),
        ("POST", "/accounts", {"name": "big", "unit": {"id": "0" * 32}}),
        ("PUT", "/accounts/{account_id}", {"name": "big", "type": "enterprise"}),
        ("PATCH", "/user", {"country": "NL"}),
        ("PATCH", "/user", {"zipcode": "1000"}),
        ("PATCH", "/user", {"telephone": "+31"}),
        ("POST", "/zones", {"name": "partial.test", "type": "partial"}),
    ],
)
def test_what_is_not_taken_is_refused(shared_control: Control, method: str, path: str, body: dict[str, Any]) -> None:
    shared_control.call("GET", "/user")  # the first use of a token has a row of its own
    before = shared_control.audit_count()
    status, code, message = shared_control.refused(method, path.format(account_id=shared_control.account), body)
    assert status == 400
    assert code in (1001, 1004)
    assert any(field in message for field in ("type", "unit.id", "country", "zipcode", "telephone"))
    assert shared_control.audit_count() == before


def test_small_endpoints_that_clients_ask(desk: ZoneDesk) -> None:
    control, zone, account = desk.control, f"/zones/{desk.id}", f"/accounts/{desk.control.account}"
    assert control.call("GET", "/ips") == {"ipv4_cidrs": [], "ipv6_cidrs": [], "etag": "none"}
    assert control.call("PUT", f"{zone}/activation_check") == {"id": desk.id}
    assert control.call("GET", f"{zone}/subscription")["rate_plan"]["id"] == "free"
    assert control.call("GET", f"{zone}/custom_ns") == control.call("GET", f"{account}/custom_ns") == []
    assert control.call("POST", f"{desk.path}/scan") == {"recs_added": 0, "total_records_parsed": 0}
    assert control.call("POST", f"{desk.path}/scan/trigger") == {}
    assert control.call("GET", f"{desk.path}/scan/review") == []
    assert control.call("GET", f"{account}/zerotrust/routes/hostname") == []


def test_settings_of_zones_are_told_and_not_taken(desk: ZoneDesk) -> None:
    control, path = desk.control, f"/zones/{desk.id}/settings"
    settings = {row["id"]: row for row in control.call("GET", path)}
    assert settings["min_tls_version"] == {
        "id": "min_tls_version",
        "value": "1.2",
        "editable": False,
        "modified_on": None,
    }
    assert settings["always_use_https"]["value"] == "on"
    for name in ("0rtt", "ssl", "http3", "browser_cache_ttl"):
        one = control.call("GET", f"{path}/{name}")
        assert one == settings[name]
        assert control.call("PATCH", f"{path}/{name}", {"value": one["value"]}) == one
        assert control.refused("PATCH", f"{path}/{name}", {"value": "banana"})[:2] == (400, 1004)
    assert control.refused("GET", f"{path}/banana")[:2] == (404, 7000)
    assert control.refused("PATCH", f"{path}/banana", {"value": 1})[:2] == (404, 7000)


def test_members_and_memberships(shared_control: Control) -> None:
    account = f"/accounts/{shared_control.account}"
    user = shared_control.call("GET", "/user")
    members = shared_control.call("GET", f"{account}/members")
    [member] = [each for each in members if each["email"] == user["email"]]
    assert (member["user"]["email"], member["status"]) == (user["email"], "accepted")
    assert shared_control.call("GET", f"{account}/members/{member['id']}") == member
    roles = shared_control.call("GET", f"{account}/roles")
    assert [each["description"].partition(":")[0] for each in roles] == ["owner", "admin", "operator", "viewer"]
    role = roles[0]
    assert member["roles"] == [role] == [shared_control.call("GET", f"{account}/roles/{role['id']}")]
    mine = shared_control.call("GET", f"/memberships/{member['id']}")
    assert mine in shared_control.call("GET", "/memberships")
    assert mine["account"]["id"] == shared_control.account
    for path in (f"{account}/members", f"{account}/roles", "/memberships"):
        assert shared_control.refused("GET", f"{path}/{'0' * 32}")[:2] == (404, 7003)
    resources = {f"com.cloudflare.api.account.{shared_control.account}": "*"}
    groups = [{"id": ALL.id}]
    policies = [{"effect": "allow", "resources": resources, "permission_groups": groups}]
    text = shared_control.call("POST", f"{account}/tokens", {"name": "the account's", "policies": policies})["value"]
    headers = {"authorization": f"Bearer {text}"}
    assert shared_control.http.get(f"{account}/members", headers=headers).json()["result"] == members


def test_audit_logs_in_the_stock_form(desk: ZoneDesk) -> None:
    made = desk.post(type="A", name="a", content="192.0.2.1")
    account = f"/accounts/{desk.control.account}/audit_logs"
    [row] = [each for each in desk.control.call("GET", "/user/audit_logs") if each["resource"]["id"] == made["id"]]
    assert (row["action"], row["resource"]["type"]) == ({"type": "record.create", "result": True}, "record")
    assert row["owner"] == {"id": desk.control.account}
    assert desk.control.call("GET", account, id=row["id"]) == [row]
    assert row in desk.control.call("GET", account, **{"action.type": "record"})
    assert row in desk.control.call("GET", account, since=row["when"])
    assert row not in desk.control.call("GET", account, before=row["when"])
    for name in ("id", "action.type", "actor.email", "zone.name"):
        assert desk.control.call("GET", account, **{name: ""}) == []


def test_endpoints_that_are_not_there_are_told_alike(desk: ZoneDesk) -> None:
    for path in ("workers/scripts", "load_balancers", "firewall/rules", "settings/ssl/more", "rulesets", "argo"):
        assert desk.control.refused("GET", f"/zones/{desk.id}/{path}")[:2] == (404, 7000)


def test_a_standard_account_is_what_there_is(control: Control) -> None:
    made = control.call("POST", "/accounts", {"name": "plain", "type": "standard", "unit": None})
    assert made["type"] == "standard"
    again = control.call("PUT", f"/accounts/{made['id']}", {"name": "plainer", "type": "standard"})
    assert again["name"] == "plainer"


@pytest.mark.parametrize("network", ["192.168.1.0/33", "not-a-network", "10.1.2.3/8", ""])
def test_a_bad_network_is_told_in_the_words_that_clients_match(shared_control: Control, network: str) -> None:
    tunnel = shared_control.create_tunnel(f"of {network}")
    routes = f"/accounts/{shared_control.account}/teamnet/routes"
    status, _, message = shared_control.refused("POST", routes, {"network": network, "tunnel_id": tunnel["id"]})
    assert status == 400
    assert "Could not parse input" in message
