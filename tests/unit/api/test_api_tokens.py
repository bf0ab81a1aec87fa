from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from qanat.auth import issue
from qanat.control.policies import account_policy
from qanat.store.models import ApiToken, Audit
from tests.support.audits import first_broken
from tests.support.clock import MovedClock
from tests.support.control import Control, check_failure
from tests.support.writes import written

ZONE = "com.cloudflare.api.account.zone"
ACCOUNT = "com.cloudflare.api.account"


def group(control: Control, name: str) -> dict[str, str]:
    """A permission group as Terraform's data source finds it."""
    found = control.call("GET", "/user/tokens/permission_groups", name=name)
    assert len(found) == 1
    return {"id": found[0]["id"]}


def allow(control: Control, resources: dict[str, Any], *names: str, effect: str = "allow") -> dict[str, Any]:
    groups = [group(control, name) for name in names]
    return {"effect": effect, "resources": resources, "permission_groups": groups}


def holding(control: Control, *policies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return dict(control.call("POST", "/user/tokens", {"name": "t", "policies": list(policies), **more}))


def as_token(control: Control, value: str) -> httpx.Client:
    return httpx.Client(
        base_url=control.url, headers={"authorization": f"Bearer {value}"}, trust_env=False, verify=False
    )


def code_of(answer: httpx.Response) -> tuple[int, int, str]:
    check_failure(answer)
    error = answer.json()["errors"][0]
    return answer.status_code, error["code"], error.get("source", {}).get("pointer", "")


@pytest.mark.parametrize("of", ["user", "account"])
def test_the_life_of_a_token(control: Control, of: str) -> None:
    base = "/user/tokens" if of == "user" else f"/accounts/{control.account}/tokens"
    zone = control.create_zone()
    policy = allow(control, {f"{ZONE}.{zone['id']}": "*"}, "Zone Read", "DNS Write")
    body: dict[str, Any] = {
        "name": "terraform",
        "policies": [policy],
        "not_before": "2018-07-01T05:20:00Z",
        "expires_on": "2099-01-01T00:00:00Z",
        "condition": {"request_ip": {"in": ["127.0.0.0/8"], "not_in": ["198.51.100.1/32"]}},
    }
    made = control.call("POST", base, body)
    value = made.pop("value")
    assert len(made["id"]) == 32
    assert made["status"] == "active"
    assert made["condition"]["request_ip"] == made["condition"]["request.ip"] == body["condition"]["request_ip"]
    assert made["not_before"] == "2018-07-01T05:20:00.000000Z"
    assert made["policies"][0]["resources"] == policy["resources"]
    assert [each["name"] for each in made["policies"][0]["permission_groups"]] == ["Zone Read", "DNS Write"]
    one = f"{base}/{made['id']}"
    assert control.call("GET", one) == made
    with as_token(control, value) as client:
        verified = client.get(f"{base}/verify").json()["result"]
        assert verified == {key: made[key] for key in ("id", "status", "not_before", "expires_on")}
        assert client.get(f"/zones/{zone['id']}/dns_records").status_code == 200
        assert code_of(client.get(f"/accounts/{control.account}/cfd_tunnel"))[:2] == (403, 10000)
        read = control.call("GET", one)
        assert read["last_used_from"] == "127.0.0.1"
        assert read["modified_on"] == made["modified_on"]
        assert [each["id"] for each in control.call("GET", base)][-1] == made["id"]

        changed = control.call("PUT", one, {"name": "dns", "policies": [policy], "status": "active"})
        assert changed["name"] == "dns"
        assert changed["expires_on"] is None
        assert "condition" not in changed
        assert changed["policies"] == made["policies"]
        other = control.call("PUT", f"{one}/value", {})
        assert code_of(client.get(f"/zones/{zone['id']}"))[:2] == (403, 9109)
    with as_token(control, other) as client:
        assert client.get(f"/zones/{zone['id']}").status_code == 200
        disabled = control.call("PUT", one, {"name": "dns", "policies": [policy], "status": "disabled"})
        assert disabled["status"] == "disabled"
        assert code_of(client.get(f"/zones/{zone['id']}"))[:2] == (403, 9109)
        assert code_of(client.get(f"{base}/verify"))[:2] == (401, 1000)
        kept = control.call("PUT", one, {"name": "dns", "policies": [policy]})
        assert kept["status"] == "disabled"
        control.call("PUT", one, {"name": "dns", "policies": [policy], "status": "active"})
        assert client.get(f"/zones/{zone['id']}").status_code == 200
        assert control.call("DELETE", one) == {"id": made["id"]}
        assert code_of(client.get(f"/zones/{zone['id']}"))[:2] == (403, 9109)
    assert control.refused("GET", one)[:2] == (404, 7003)
    with control.store.reading() as session:
        actions = {row.action for row in session.query(Audit).filter_by(object_id=made["id"])}
        assert {"token.create", "token.change", "token.roll", "token.delete", "token.used_from"} <= actions
        assert first_broken(session) is None
        details = " ".join(row.detail for row in session.query(Audit))
    assert value not in details
    assert other not in details


def test_an_accounts_token_is_not_the_users(control: Control) -> None:
    policy = allow(control, {f"{ACCOUNT}.{control.account}": "*"}, "Account Settings Read")
    base = f"/accounts/{control.account}/tokens"
    made = control.call("POST", base, {"name": "a", "policies": [policy]})
    assert control.refused("GET", f"/user/tokens/{made['id']}")[:2] == (404, 7003)
    assert made["id"] not in [each["id"] for each in control.call("GET", "/user/tokens")]
    with as_token(control, made["value"]) as client:
        assert code_of(client.get("/user"))[:2] == (403, 10000)
        assert client.get(f"{base}/verify").status_code == 200
        assert code_of(client.get(base))[:2] == (403, 10000)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "x" * 121}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": None}, "/name"),
        ({"policies": []}, "/policies"),
        ({"policies": None}, "/policies"),
        ({"condition": {"request_ip": {"in": ["192.0.2.0/24", "somewhere"]}}}, "/condition/request_ip/in/1"),
        ({"condition": {"request_ip": {"not_in": ["::/200"]}}}, "/condition/request_ip/not_in/0"),
        ({"condition": {"request_ip": {"in": "192.0.2.0/24"}}}, "/condition/request_ip/in"),
        ({"expires_on": "2001-01-01T00:00:00Z"}, "/expires_on"),
        ({"not_before": "2098-01-01T00:00:00Z", "expires_on": "2097-01-01T00:00:00Z"}, "/expires_on"),
        ({"status": "sleeping"}, "/status"),
    ],
)
def test_bad_fields_are_named(control: Control, change: dict[str, Any], pointer: str) -> None:
    policy = allow(control, {f"{ACCOUNT}.{control.account}": "*"}, "Account Settings Read")
    answer = control.http.post("/user/tokens", json={"name": "t", "policies": [policy], **change})
    assert code_of(answer)[0] == 400
    assert code_of(answer)[2] == pointer
    assert len(control.call("GET", "/user/tokens")) == 1


def test_unknown_and_foreign_resources_are_refused_alike(control: Control) -> None:
    other = control.call("POST", "/accounts", {"name": "other"})
    text, _ = written(control.store, issue, name="all of one", policies=[account_policy(control.account)])
    foreign = control.call("POST", "/zones", {"name": "foreign.test", "account": {"id": other["id"]}})
    with as_token(control, text) as client:
        base = f"/accounts/{control.account}/tokens"
        answers = []
        for resources in (
            {f"{ACCOUNT}.{other['id']}": "*"},
            {f"{ACCOUNT}.{'0' * 32}": "*"},
            {f"{ZONE}.{foreign['id']}": "*"},
            {f"{ZONE}.{'0' * 32}": "*"},
        ):
            policy = allow(control, resources, "DNS Read")
            answer = client.post(base, json={"name": "t", "policies": [policy]})
            answers.append((*code_of(answer), answer.json()["errors"][0]["qanat_code"]))
        assert set(answers) == {(400, 1001, "/policies/0/resources", "token_bad_policy")}
        assert code_of(client.get("/user/tokens"))[:2] == (403, 10000)
        assert code_of(client.get(f"/accounts/{other['id']}/tokens"))[:2] == (404, 7003)


def test_a_token_can_not_raise_itself(control: Control) -> None:
    zone = control.create_zone()
    on_account = {f"{ACCOUNT}.{control.account}": "*"}
    tokens_and_dns = [
        allow(control, on_account, "Account API Tokens Write"),
        allow(control, {f"{ZONE}.{zone['id']}": "*"}, "DNS Write"),
    ]
    base = f"/accounts/{control.account}/tokens"
    weak = control.call("POST", base, {"name": "weak", "policies": tokens_and_dns})
    strong = control.call("POST", base, {"name": "strong", "policies": [allow(control, on_account, "All Write")]})
    with as_token(control, weak["value"]) as client:
        for policy in (
            allow(control, on_account, "DNS Write"),
            allow(control, on_account, "Cloudflare Tunnel Read"),
            allow(control, on_account, "All Write"),
        ):
            body = {"name": "t", "policies": [policy]}
            assert code_of(client.post(base, json=body)) == (403, 10000, "/policies")
            assert code_of(client.put(f"{base}/{weak['id']}", json=body)) == (403, 10000, "/policies")
        # neither may it get a stronger one's value, nor rewrite it
        assert code_of(client.put(f"{base}/{strong['id']}/value", json={}))[:2] == (403, 10000)
        lesser = {"name": "s", "policies": tokens_and_dns}
        assert code_of(client.put(f"{base}/{strong['id']}", json=lesser))[:2] == (403, 10000)
        assert client.post(base, json={"name": "copy", "policies": tokens_and_dns}).status_code == 200
        assert client.put(f"{base}/{weak['id']}/value", json={}).status_code == 200
    with as_token(control, strong["value"]) as client:
        assert client.get(base).status_code == 200


def test_a_bounded_token_makes_no_freer_one(control: Control) -> None:
    policy = allow(control, {f"{ACCOUNT}.{control.account}": "*"}, "Account API Tokens Write")
    base = f"/accounts/{control.account}/tokens"
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    bounds = {"expires_on": soon, "condition": {"request.ip": {"in": ["127.0.0.1"]}}}
    bounded = control.call("POST", base, {"name": "bounded", "policies": [policy], **bounds})
    with as_token(control, bounded["value"]) as client:
        free = {"name": "free", "policies": [policy]}
        assert code_of(client.post(base, json=free)) == (403, 10000, "/expires_on")
        assert code_of(client.put(f"{base}/{bounded['id']}", json=free)) == (403, 10000, "/expires_on")
        wider = {**free, "expires_on": soon, "condition": {"request_ip": {"in": ["127.0.0.0/8"]}}}
        assert code_of(client.post(base, json=wider)) == (403, 10000, "/condition/request_ip/in")
        assert client.post(base, json={**free, **bounds}).status_code == 200


def test_expiry_and_start_are_kept_to(control: Control) -> None:
    clock = MovedClock(control.store)
    policy = allow(control, {f"{ACCOUNT}.{control.account}": "*"}, "Account Settings Read")
    times = {
        "not_before": (clock.now + timedelta(seconds=60)).isoformat(),
        "expires_on": (clock.now + timedelta(seconds=120)).isoformat(),
    }
    made = control.call("POST", "/user/tokens", {"name": "t", "policies": [policy], **times})
    with as_token(control, made["value"]) as client:
        path = f"/accounts/{control.account}"
        assert code_of(client.get(path))[:2] == (403, 9109)
        clock.move(seconds=61)
        assert client.get(path).status_code == 200
        clock.move(seconds=60)
        assert code_of(client.get(path))[:2] == (403, 9109)
    read = control.call("GET", f"/user/tokens/{made['id']}")
    assert read["status"] == "expired"
    # what was read can be written, though its time is over
    back = {key: read[key] for key in ("name", "policies", "status", "not_before", "expires_on")}
    assert control.call("PUT", f"/user/tokens/{made['id']}", back)["policies"] == read["policies"]


def test_deny_wins(control: Control) -> None:
    first, second = control.create_zone("one.test"), control.create_zone("two.test")
    made = holding(
        control,
        allow(control, {f"{ACCOUNT}.{control.account}": {f"{ZONE}.*": "*"}}, "DNS Write", "Zone Read"),
        allow(control, {f"{ZONE}.{second['id']}": "*"}, "DNS Write", effect="deny"),
    )
    record = {"type": "A", "name": "x", "content": "192.0.2.1"}
    with as_token(control, made["value"]) as client:
        assert client.post(f"/zones/{first['id']}/dns_records", json=record).status_code == 200
        assert code_of(client.post(f"/zones/{second['id']}/dns_records", json=record))[:2] == (404, 7003)
        assert client.get(f"/zones/{second['id']}/dns_records").status_code == 200
        assert len(client.get("/zones").json()["result"]) == 2


def test_permission_groups_of_an_account_have_none_of_a_user(control: Control) -> None:
    names = [each["name"] for each in control.call("GET", f"/accounts/{control.account}/tokens/permission_groups")]
    assert "Account API Tokens Write" in names
    assert "API Tokens Write" not in names
    scope = {"scope": f"{ACCOUNT}.zone"}
    found = control.call("GET", f"/accounts/{control.account}/tokens/permission_groups", **scope)
    assert {"Zone Read", "DNS Write"} <= {each["name"] for each in found}


def test_the_hash_alone_is_stored(control: Control) -> None:
    policy = allow(control, {f"{ACCOUNT}.{control.account}": "*"}, "Account Settings Read")
    made = holding(control, policy)
    with control.store.reading() as session:
        row = session.get(ApiToken, made["id"])
        assert row is not None
        assert made["value"] not in repr(vars(row))
        assert len(row.sha256) == 32
