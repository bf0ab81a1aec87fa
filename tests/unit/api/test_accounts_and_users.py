import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from qanat.auth import Guesses, issue
from qanat.auth.tokens import make_token
from qanat.control.accounts import deletes_disconnect
from qanat.control.api_tokens import Owner
from qanat.control.policies import account_policy
from qanat.store import SYSTEM
from qanat.store.models import Account, User
from tests.support.control import Control, check_failure, running_control
from tests.support.waiting import PATIENCE_S
from tests.support.writes import first_account, written
from tests.unit.api.test_api_tokens import as_token, code_of


@pytest.fixture
def legacy(tmp_path: Path) -> Iterator[Control]:
    """A control plane that takes legacy keys."""
    with running_control(tmp_path) as control:
        control.context.legacy_keys = True
        yield control


def with_key(control: Control, email: str, key: str, **more: str) -> httpx.Response:
    headers = {"x-auth-email": email, "x-auth-key": key, **more}
    return httpx.get(control.url + "/zones", headers=headers, verify=False)


def test_the_life_of_an_account(control: Control) -> None:
    made = control.call("POST", "/accounts", {"name": "second", "type": "standard"})
    one = f"/accounts/{made['id']}"
    assert control.call("GET", one) == made
    assert made["settings"] == {
        "enforce_twofactor": False,
        "abuse_contact_email": None,
        "delete_disconnects": True,
    }
    settings = {"abuse_contact_email": "abuse@example.test", "delete_disconnects": False}
    changed = control.call("PUT", one, {"name": "renamed", "settings": settings})
    assert (changed["name"], changed["id"], changed["created_on"]) == ("renamed", made["id"], made["created_on"])
    assert changed["settings"] == {"enforce_twofactor": False, **settings}
    assert control.call("PUT", one, {"name": "again"})["settings"] == changed["settings"]
    assert [each["name"] for each in control.call("GET", "/accounts")] == ["first", "again"]
    assert control.call("GET", "/accounts", name="") == []
    assert [each["id"] for each in control.call("GET", "/accounts", name="again")] == [made["id"]]
    assert control.call("DELETE", one) == {"id": made["id"]}
    assert control.refused("GET", one)[:2] == (404, 7003)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"name": "tab\there"}, "/name"),
        ({}, "/name"),
        ({"name": "a", "settings": {"enforce_twofactor": True}}, "/settings/enforce_twofactor"),
        ({"name": "a", "settings": {"abuse_contact_email": "nobody"}}, "/settings/abuse_contact_email"),
        ({"name": "a", "settings": {"delete_disconnects": "yes"}}, "/settings/delete_disconnects"),
    ],
)
def test_bad_accounts_are_refused(control: Control, body: dict[str, Any], pointer: str) -> None:
    for method, path in (("POST", "/accounts"), ("PUT", f"/accounts/{control.account}")):
        assert code_of(control.http.request(method, path, json=body))[::2] == (400, pointer)


def test_an_account_that_owns_things_stays(control: Control) -> None:
    assert "only account" in control.refused("DELETE", f"/accounts/{control.account}")[2]
    one = f"/accounts/{control.call('POST', '/accounts', {'name': 'second'})['id']}"
    zone = control.call("POST", "/zones", {"name": "example.test", "account": {"id": one.rpartition("/")[2]}})
    tunnel = control.call("POST", f"{one}/cfd_tunnel", {"name": "t1"})
    status, code, message = control.refused("DELETE", one)
    assert (status, code) == (400, 1001)
    assert "1 zones, 1 tunnels" in message
    control.call("DELETE", f"/zones/{zone['id']}")
    control.call("DELETE", f"{one}/cfd_tunnel/{tunnel['id']}")
    policy = account_policy(one.rpartition("/")[2])
    token = control.call("POST", f"{one}/tokens", {"name": "t", "policies": [policy]})
    assert "1 API tokens" in control.refused("DELETE", one)[2]
    control.call("DELETE", f"{one}/tokens/{token['id']}")
    assert control.call("DELETE", one)


def test_only_who_may_edit_every_account_makes_one(control: Control) -> None:
    text, _ = written(control.store, issue, name="one", policies=[account_policy(control.account)])
    with as_token(control, text) as client:
        assert code_of(client.post("/accounts", json={"name": "mine"}))[:2] == (403, 10000)
        assert client.put(f"/accounts/{control.account}", json={"name": "mine"}).status_code == 200


def test_deletes_disconnect_by_default_and_never_for_an_origin_certificate() -> None:
    """api.md 7.1-7."""
    plain, off = Account(settings={}), Account(settings={"delete_disconnects": False})
    assert deletes_disconnect(plain, "api")
    assert deletes_disconnect(plain, "key")
    assert not deletes_disconnect(plain, "origin_cert")
    assert not deletes_disconnect(off, "api")
    assert not deletes_disconnect(Account(settings={"delete_disconnects": True}), "origin_cert")


def test_a_membership_for_each_account(control: Control) -> None:
    control.call("POST", "/accounts", {"name": "second"})
    rows = control.call("GET", "/memberships")
    assert [row["account"]["name"] for row in rows] == ["first", "second"]
    assert {(row["status"], row["code"]) for row in rows} == {("accepted", "accepted")}
    assert len({row["id"] for row in rows}) == 2
    assert control.call("GET", "/memberships") == rows
    assert control.call("GET", "/memberships", **{"account.name": "second"}) == rows[1:]
    assert control.call("GET", "/memberships", status="pending") == []
    assert control.call("GET", "/memberships", page="2") == []


def test_a_membership_says_which_role_it_is(control: Control) -> None:
    """Not the highest one of everybody."""
    policies = [account_policy(control.account)]
    for role, name, edits in (("viewer", "Viewer", False), ("admin", "Administrator", True)):
        made = {"email": f"{role}@example.com", "role": role, "account": control.account}
        user = control.call("POST", "/qanat/users", made)
        owner = Owner(user_id=user["id"])
        text, _ = written(control.store, issue, name="theirs", policies=policies, owner=owner)
        with as_token(control, text) as client:
            [row] = client.get("/memberships").json()["result"]
        members = control.call("GET", f"/accounts/{control.account}/members")
        [member] = [each for each in members if each["id"] == row["id"]]
        assert row["roles"] == [name] == [each["name"] for each in member["roles"]]
        assert row["permissions"] == member["roles"][0]["permissions"]
        assert row["permissions"]["zones"] == {"read": True, "write": edits}
    [mine] = control.call("GET", "/memberships")
    assert mine["roles"] == ["Super Administrator - All Privileges"]


def test_the_user_is_read_and_changed(control: Control) -> None:
    before = control.call("GET", "/user")
    after = control.call("PATCH", "/user", {"first_name": "Mir", "email": "mir@example.test", "telephone": None})
    assert after == {**before, "first_name": "Mir", "email": "mir@example.test"}
    assert control.call("PATCH", "/user", {"first_name": ""})["first_name"] is None
    assert control.call("GET", "/user")["email"] == "mir@example.test"


@pytest.mark.parametrize(
    "bad",
    [{"email": "nobody"}, {"email": "a@b\n"}, {"email": "ü@example.test"}, {"first_name": "x" * 61}, {"last_name": 7}],
)
def test_a_bad_user_is_refused(control: Control, bad: dict[str, Any]) -> None:
    assert code_of(control.http.patch("/user", json=bad))[::2] == (400, "/" + next(iter(bad)))


def test_a_users_address_is_its_own(control: Control) -> None:
    with control.store.writing(SYSTEM) as write:
        names = {"first_name": "", "last_name": "", "key_sha256": None}
        write.session.add(User(id="e" * 32, email="Taken@example.test", created_at=write.at, **names))
        write.audit("user.create", "e" * 32)
    assert code_of(control.http.patch("/user", json={"email": "taken@EXAMPLE.test"})) == (400, 1001, "/email")


def test_the_legacy_key_where_it_is_switched_on(legacy: Control) -> None:
    made = legacy.call("POST", "/qanat/user/key", {})
    email, key = made["email"], made["key"]
    assert len(key) == 37
    assert set(key) <= set("0123456789abcdef")
    assert with_key(legacy, email, key).status_code == 200
    assert with_key(legacy, email.upper(), key).status_code == 200
    assert code_of(with_key(legacy, email, "0" * 37))[:2] == (403, 9103)
    assert code_of(with_key(legacy, "other@example.test", key))[:2] == (403, 9103)
    assert code_of(with_key(legacy, email, key[:-1]))[:2] == (400, 6003)
    # a token beside it wins, be it good or bad
    assert with_key(legacy, "x@y", "bad", authorization=f"Bearer {legacy.token}").status_code == 200
    assert code_of(with_key(legacy, email, key, authorization="Bearer nonsense"))[:2] == (403, 9109)
    legacy.context.legacy_keys = False
    assert code_of(with_key(legacy, email, key))[:2] == (403, 9103)
    legacy.context.legacy_keys = True
    other = legacy.call("POST", "/qanat/user/key", {})["key"]
    assert code_of(with_key(legacy, email, key))[:2] == (403, 9103)
    assert with_key(legacy, email, other).status_code == 200
    legacy.call("DELETE", "/qanat/user/key")
    assert code_of(with_key(legacy, email, other))[:2] == (403, 9103)


def test_a_key_is_made_only_where_keys_are_taken_and_for_who_holds_everything(control: Control) -> None:
    assert control.refused("POST", "/qanat/user/key", {})[:2] == (400, 1001)
    control.context.legacy_keys = True
    text, _ = written(control.store, issue, name="one", policies=[account_policy(control.account)])
    with as_token(control, text) as client:
        assert code_of(client.post("/qanat/user/key"))[:2] == (403, 10000)


def test_a_bounded_token_makes_no_key(legacy: Control) -> None:
    """A key has no bounds: its maker would outlive its own."""
    for bounds in (
        {"expires_on": legacy.store.clock() + timedelta(hours=1)},
        {"allowed_ips": ["127.0.0.0/8"]},
        {"denied_ips": ["192.0.2.1"]},
    ):
        text, _ = written(legacy.store, issue, name="bounded", **bounds)
        with as_token(legacy, text) as client:
            answer = client.post("/qanat/user/key")
            assert code_of(answer)[:2] == (403, 10000)
            assert answer.json()["errors"][0]["qanat_code"] == "token_escalates"


def test_a_key_holder_is_named_in_the_audit(legacy: Control) -> None:
    made = legacy.call("POST", "/qanat/user/key", {})
    headers = {"x-auth-email": made["email"], "x-auth-key": made["key"]}
    made = httpx.post(legacy.url + "/zones", headers=headers, json={"name": "by-key.test"}, verify=False)
    zone = made.json()["result"]
    from qanat.store.models import Audit

    with legacy.store.reading() as session:
        row = session.query(Audit).filter_by(action="zone.create", object_id=zone["id"]).one()
        user_id = ensure_user_id(legacy)
        assert (row.actor_kind, row.actor, row.address) == ("user", user_id, "127.0.0.1")
        assert session.query(Audit).filter_by(action="user.key_used_from", object_id=user_id).count() == 1


def ensure_user_id(control: Control) -> str:
    return str(control.call("GET", "/user")["id"])


def _decoded(certificate: str) -> dict[str, str]:
    lines = certificate.splitlines()
    assert lines[0] == "-----BEGIN ARGO TUNNEL TOKEN-----"
    assert lines[-1] == "-----END ARGO TUNNEL TOKEN-----"
    assert all(len(line) <= 64 for line in lines)
    return dict(json.loads(base64.b64decode("".join(lines[1:-1]))))


def test_an_origin_certificate_does_what_cloudflared_needs_and_no_more(control: Control) -> None:
    """api.md 4.2."""
    zone, other = control.create_zone(), control.create_zone("other.test")
    made = control.call("POST", f"/qanat/zones/{zone['id']}/origin-certificate")
    fields = _decoded(made["certificate"])
    assert set(fields) == {"zoneID", "accountID", "apiToken"}
    assert (fields["zoneID"], fields["accountID"]) == (zone["id"], control.account)
    assert "value" not in made["token"]
    record = {"type": "A", "name": "x", "content": "192.0.2.1"}
    with as_token(control, fields["apiToken"]) as client:
        tunnel = client.post(control.tunnels(), json={"name": "by-cert"}).json()["result"]
        assert client.get(f"{control.tunnels()}/{tunnel['id']}/token").status_code == 200
        assert client.get(f"/zones/{zone['id']}").status_code == 200
        assert client.post(f"/zones/{zone['id']}/dns_records", json=record).status_code == 200
        assert code_of(client.post(f"/zones/{other['id']}/dns_records", json=record))[:2] == (404, 7003)
        assert code_of(client.delete(f"/zones/{zone['id']}"))[:2] == (403, 10000)
        assert code_of(client.get("/accounts"))[:2] == (403, 10000)
        assert code_of(client.get(f"/accounts/{control.account}/tokens"))[:2] == (403, 10000)
    listed = control.call("GET", f"/accounts/{control.account}/tokens")
    assert [each["id"] for each in listed] == [made["token"]["id"]]
    control.call("DELETE", f"/accounts/{control.account}/tokens/{made['token']['id']}")
    with as_token(control, fields["apiToken"]) as client:
        assert code_of(client.get(control.tunnels()))[:2] == (403, 9109)


def test_an_origin_certificate_needs_what_it_gives(control: Control) -> None:
    zone = control.create_zone()
    on_account = {f"com.cloudflare.api.account.{control.account}": "*"}
    ids = {"tokens": "5bc3f8b21c554832afc660159ab75fa4", "zone": "c8fed203ed3043cba015a93ad1616f1f"}
    policies = [
        {"effect": "allow", "resources": on_account, "permission_groups": [{"id": each} for each in ids.values()]}
    ]
    text, _ = written(control.store, issue, name="weak", policies=policies)
    with as_token(control, text) as client:
        answer = client.post(f"/qanat/zones/{zone['id']}/origin-certificate")
        assert code_of(answer)[:2] == (403, 10000)
    assert first_account(control.store).id == control.account


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:7880", "127.0.0.1", "127.9.9.9:1", "[::1]:7880", "localhost."]
)
def test_loopback_hosts_are_answered(control: Control, host: str) -> None:
    assert control.http.get("/user", headers={"host": host}).status_code == 200


@pytest.mark.requirement("S36")
@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:7880",
        "localhost.evil.test",
        "192.0.2.1",
        "[2001:db8::1]",
        "127.0.0.1.evil.test",
        "[::1].evil.test",
    ],
)
def test_other_hosts_are_refused_with_good_and_without_credentials(control: Control, host: str) -> None:
    """security.md S36: a page whose name was made to point here (DNS rebinding)."""
    for headers in ({"host": host}, {"host": host, "authorization": f"Bearer {control.token}"}):
        answer = httpx.get(control.url + "/user", headers=headers, verify=False)
        check_failure(answer)
        assert answer.status_code == 421
        assert "access-control-allow-origin" not in answer.headers


def test_configured_hosts_are_answered(control: Control) -> None:
    control.context.hosts = frozenset({"api.example.test"})
    assert control.http.get("/user", headers={"host": "API.example.test:443"}).status_code == 200


@pytest.mark.requirement("S36")
def test_there_is_no_cors(control: Control) -> None:
    headers = {"origin": "https://evil.test", "access-control-request-method": "POST"}
    for method in ("OPTIONS", "GET"):
        answer = control.http.request(method, "/zones", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.requirement("S33")
def test_guessing_is_slowed_down_and_a_good_token_always_passes(control: Control) -> None:
    """security.md S33."""
    control.context.guesses = Guesses(clock=lambda: 0.0)
    bad = {"authorization": "Bearer qnt_" + "x" * 36}
    for _ in range(5):
        assert code_of(httpx.get(control.url + "/zones", headers=bad, verify=False))[:2] == (403, 9109)
    for path in ("/zones", "/user/tokens/verify"):
        answer = httpx.get(control.url + path, headers=bad, verify=False)
        assert code_of(answer)[:2] == (429, 10429)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert control.http.get("/zones").status_code == 200


@pytest.mark.requirement("S33")
def test_a_guesser_keeps_nobody_else_waiting(control: Control) -> None:
    """security.md S33: another address may err, and good credentials pass, also behind the guesser's own address."""

    def at(address: str, token: str) -> httpx.Response:
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        with httpx.Client(
            base_url=control.url, transport=transport, trust_env=False, verify=False, timeout=PATIENCE_S
        ) as client:
            return client.get("/zones", headers={"authorization": f"Bearer {token}"})

    control.context.guesses = Guesses(clock=lambda: 0.0)
    attacker, victim = "127.0.0.1", "127.0.0.2"
    for number in range(40):
        answer = at(attacker, make_token())
        assert answer.status_code == (403 if number < 5 else 429)
        if number % 4 == 0:
            assert at(victim, control.token).status_code == 200
            assert at(attacker, control.token).status_code == 200, "who shares the address"
    unknown, wrong = make_token(), f"{make_token()[:-6]}000000"
    told = [code_of(at(victim, text)) for text in (unknown, wrong, "x", control.token[:-1])]
    assert len(set(told)) == 1
    assert told[0][:2] == (403, 9109)
