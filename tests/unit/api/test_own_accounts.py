import copy
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from qanat.alerts import channels
from qanat.auth import issue
from qanat.control import accounts
from qanat.control.permissions import ALL, GROUPS
from qanat.control.policies import account_policy
from qanat.control.roles import GRANTS
from qanat.nodes import mode, nodes
from qanat.store import SYSTEM, NoticeKind, models
from qanat.transfer import document as parts
from qanat.transfer import run
from tests.support.control import Control, running_control
from tests.support.links import register
from tests.support.postgres import Postgres
from tests.support.waiting import wait_until
from tests.support.writes import written

PASSPHRASE = "correct horse battery – ß"
HEADERS = {b"qanat-passphrase": PASSPHRASE.encode()}


@pytest.fixture(autouse=True)
def _cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least work that a document may ask for; tests/unit/test_transfer.py does the usual."""
    monkeypatch.setattr("qanat.transfer.sealed.N", 2**14)


@pytest.fixture
def other(control: Control) -> Control:
    """An empty control plane on the same kind of database."""
    return control


_furnished: dict[str, Any] = {}
"""What `full` is copied from: a SQLite file's bytes, or the URL of a PostgreSQL database."""


@pytest.fixture
def full(database: Path | str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    """An account with one of everything, made once for each kind of database."""
    folder = tmp_path / "full"
    folder.mkdir()
    if isinstance(database, Path):
        file = folder / "qanat.db"
        if "sqlite" not in _furnished:
            with running_control(folder) as first:
                furnish(first)
            _furnished["sqlite"] = file.read_bytes()
        file.touch(0o600)
        file.write_bytes(_furnished["sqlite"])
        with running_control(folder, file) as running:
            yield running
        return
    server: Postgres = request.getfixturevalue("postgres")
    if "postgres" not in _furnished:
        _furnished["postgres"] = server.database()
        with running_control(folder, _furnished["postgres"]) as first:
            furnish(first)
    url = server.copy(_furnished["postgres"])
    with running_control(folder, url) as running:
        yield running
    server.drop(url)


def furnish(control: Control) -> None:
    tunnel = control.create_tunnel("web")
    local = control.create_tunnel("ssh", config_src="local")
    for code in (404, 503):
        control.call(
            "PUT",
            f"{control.tunnels()}/{tunnel['id']}/configurations",
            {"config": {"ingress": [{"service": f"http_status:{code}"}], "é": [1.5, None, {"a": ""}]}},
        )
    gone = control.create_tunnel("gone")
    zone = control.create_zone()
    paused = control.create_zone("paused.test")
    control.call("PATCH", f"/zones/{paused['id']}", {"paused": True})
    for fields in (
        {"type": "CNAME", "name": "app", "content": f"{tunnel['id']}.cfargotunnel.com", "proxied": True},
        {"type": "CNAME", "name": "gone", "content": f"{gone['id']}.cfargotunnel.com", "proxied": True},
        {"type": "A", "name": "@", "content": "192.0.2.1", "ttl": 300, "comment": "hier", "tags": ["a:b", "c"]},
        {"type": "AAAA", "name": "@", "content": "2001:DB8::1"},
        {"type": "MX", "name": "@", "content": "mail.example.test", "priority": 10},
        {"type": "TXT", "name": "_t", "content": '"quoted" "text"'},
        {
            "type": "SRV",
            "name": "_sip._tcp",
            "data": {"priority": 1, "weight": 2, "port": 3, "target": "a.example.test"},
        },
        {"type": "CAA", "name": "@", "data": {"flags": 0, "tag": "issue", "value": "letsencrypt.org"}},
        {"type": "CAA", "name": "sub", "content": '0 issue "ca.test"'},
    ):
        control.create_record(zone["id"], **fields)
    control.call("DELETE", f"{control.tunnels()}/{gone['id']}")
    policies = [account_policy(control.account)]
    control.call("POST", f"/accounts/{control.account}/tokens", {"name": "of the account", "policies": policies})
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    with control.store.recording() as write:
        network = models.VirtualNetwork(
            id="0b1c7f5e-0f4b-4a63-9a2c-1f6a4d1d2f00",
            account_id=control.account,
            name="default",
            comment="",
            is_default=True,
            created_at=at,
            deleted_at=None,
        )
        write.session.add(network)
        write.session.add(
            models.ConnectorToken(
                id="0b1c7f5e-0f4b-4a63-9a2c-1f6a4d1d2f01",
                tunnel_id=local["id"],
                name="host1",
                sealed_secret=control.sealer.seal(b"s" * 32, "0b1c7f5e-0f4b-4a63-9a2c-1f6a4d1d2f01"),
                created_at=at,
                expires_at=None,
                revoked_at=None,
                last_used_at=at,
                last_used_from="192.0.2.9",
            )
        )
        write.session.flush()
        write.session.add(
            models.TeamnetRoute(
                id="0b1c7f5e-0f4b-4a63-9a2c-1f6a4d1d2f02",
                account_id=control.account,
                network="10.0.0.0/8",
                tunnel_id=tunnel["id"],
                virtual_network_id=network.id,
                comment="office",
                created_at=at,
                deleted_at=None,
            )
        )
        write.session.add(
            models.TunnelRole(
                tunnel_id=local["id"],
                mode="active-standby",
                active_token_id="0b1c7f5e-0f4b-4a63-9a2c-1f6a4d1d2f01",
                epoch=7,
                since=at,
                reason="promoted",
                **{**mode.DEFAULTS, "automatic": True, "hold_down_s": 60.0},
            )
        )
        nodes.state_of(write, local["id"], "").fenced_at = at
        nodes.state_of(write, local["id"], "").fenced_by = "promotion"
        for tunnel_id, weight in ((tunnel["id"], 95), (local["id"], 5)):
            write.session.add(
                models.HostnameTarget(
                    zone_id=zone["id"],
                    hostname="app.example.test",
                    tunnel_id=tunnel_id,
                    weight=weight,
                    sticky="cookie",
                )
            )
    for target, change in (("app.example.test", {"path": "/up"}), (tunnel["id"], {"status": "200"})):
        control.call("PUT", f"/accounts/{control.account}/qanat/probes/{target}", change)
    alerts = f"/accounts/{control.account}/qanat/alerts"
    hook: dict[str, object] = {"name": "hook", "kind": "webhook", "url": "https://hooks.example.test/secret/path"}
    mail: dict[str, object] = {"name": "mail", "kind": "email", "host": "smtp.example.test", "sender": "a@example.test"}
    mail |= {"recipients": ["b@example.test"], "username": "u", "password": "mail secret"}
    ids = [control.call("POST", f"{alerts}/channels", each)["id"] for each in (hook, mail)]
    bounds: list[dict[str, object]] = [{}, {"tunnel_id": tunnel["id"]}]
    for bound in bounds:
        rule = {"name": "down", "kind": "tunnel_down", "settings": {"for_s": 90}, "channels": ids, **bound}
        control.call("POST", f"{alerts}/rules", rule)
    control.call("POST", f"{alerts}/rules", {"name": "mine", "kind": "sign_in_failures", "of_edge": True})
    for zone in control.call("GET", "/zones")[:1]:
        control.call("PATCH", f"/zones/{zone['id']}/settings/always_use_https", {"value": "off"})
        path = f"/qanat/zones/{zone['id']}/error-pages/500_errors"
        control.call("PUT", path, {"content": "<p>::RAY_ID::</p>"})


def export(control: Control, *, sealed: bool = False, account: str | None = None) -> dict[str, Any]:
    answer = control.http.get(
        f"/qanat/accounts/{account or control.account}/export",
        params={"secrets": "sealed"} if sealed else {},
        headers=HEADERS if sealed else {},
    )
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


def post(
    control: Control, document: dict[str, Any], *, dry_run: bool = False, account: str | None = None, **more: Any
) -> httpx.Response:
    return control.http.post(
        f"/qanat/accounts/{account or document['account']['id']}/import",
        params={"dry_run": str(dry_run).lower()},
        headers=more.get("headers", HEADERS if "secrets" in document else {}),
        json=document,
        timeout=60,
    )


def imported(control: Control, document: dict[str, Any], *, dry_run: bool = False, account: str | None = None) -> Any:
    answer = post(control, document, dry_run=dry_run, account=account)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def comparable(document: dict[str, Any], *, secrets: bool = False) -> dict[str, Any]:
    """Without the time of the export and, since each seal has its own nonce, without what is sealed."""
    copied = copy.deepcopy(document)
    del copied["exported_at"]
    copied.pop("secrets", None)
    sealed_of = [*copied["tunnels"], *copied["alert_channels"]]
    sealed_of.extend(each for tunnel in copied["tunnels"] for each in tunnel.get("connector_tokens", ()))
    for each in sealed_of:
        sealed = each.pop("secret", None)
        assert (sealed is not None) == secrets
    for each in copied["alert_channels"]:
        del each["enabled"]
    for tunnel in copied["tunnels"]:
        if "mode" in tunnel:
            tunnel["mode"]["epoch"] = "some"
    return copied


@pytest.mark.parametrize("sealed", [False, True])
def test_an_account_survives_the_way_to_an_empty_server_and_back(full: Control, other: Control, sealed: bool) -> None:
    document = export(full, sealed=sealed)
    plan = imported(other, document, dry_run=True)
    assert not plan["applied"]
    assert set(plan["counts"]) == {"create", "change", "same", "conflict"}
    assert plan["counts"]["conflict"] == plan["counts"]["same"] == plan["counts"]["change"] == 0
    assert other.http.get(f"/accounts/{full.account}").status_code == 404, "a dry run leaves nothing behind"
    done = imported(other, document)
    assert done["applied"]
    assert done["steps"] == plan["steps"]
    assert comparable(export(other, sealed=sealed, account=full.account), secrets=sealed) == comparable(
        document, secrets=sealed
    )
    assert done["new_values"] == ["of the account"]
    if sealed:
        assert done["new_secrets"] == []
        for tunnel in document["tunnels"]:
            path = f"{full.tunnels()}/{tunnel['id']}/token"
            assert other.call("GET", path) == full.call("GET", path), "the connectors' tokens stay good"
    else:
        assert sorted(done["new_secrets"]) == ["ssh", "ssh: host1", "web"]


def channels_of(control: Control, account: str) -> dict[str, Any]:
    return {each["name"]: each for each in control.call("GET", f"/accounts/{account}/qanat/alerts/channels")}


def test_channels_come_with_what_is_secret_of_them_only_under_the_passphrase(full: Control, other: Control) -> None:
    account = full.account
    plain, sealed = export(full), export(full, sealed=True)
    assert "secret/path" not in json.dumps([plain, sealed])
    assert "mail secret" not in json.dumps([plain, sealed])
    done = imported(other, plain)
    assert done["new_channels"] == ["hook", "mail"]
    before = channels_of(other, account)
    assert [each["enabled"] for each in before.values()] == [False, False]
    tested = f"/accounts/{account}/qanat/alerts/channels/{before['hook']['id']}/test"
    assert other.refused("POST", tested)[0] == 400, "there is nowhere to send to"
    rules = other.call("GET", f"/accounts/{account}/qanat/alerts/rules")
    assert [each["channels"] for each in rules if each["kind"] == "tunnel_down"] == [
        [before["hook"]["id"], before["mail"]["id"]]
    ] * 2
    assert imported(other, plain)["new_channels"] == []
    assert imported(other, sealed)["new_channels"] == []
    with other.store.reading() as session:
        row = session.get_one(models.AlertChannel, before["hook"]["id"])
        opened = channels.opened(row, other.sealer)
    with full.store.reading() as session:
        assert opened == channels.opened(session.get_one(models.AlertChannel, row.id), full.sealer)
    assert opened.url == "https://hooks.example.test/secret/path"
    assert all(each["enabled"] for each in channels_of(other, account).values())


def test_who_may_not_change_channels_does_not_carry_their_secrets_away(full: Control) -> None:
    groups = [{"id": group.id} for group in GROUPS if group is not ALL and not group.allows("account.edit")]
    policy = {
        "effect": "allow",
        "resources": {f"com.cloudflare.api.account.{full.account}": "*"},
        "permission_groups": groups,
    }
    text, _ = written(full.store, issue, name="tunnels only", policies=[policy])
    headers = {b"authorization": f"Bearer {text}".encode(), **HEADERS}
    answer = full.http.get(
        f"/qanat/accounts/{full.account}/export", params={"secrets": "sealed"}, headers=headers
    ).json()["result"]
    assert all("secret" in each for each in answer["tunnels"])
    assert len(answer["alert_channels"]) == 2
    assert not any("secret" in each for each in answer["alert_channels"])


def test_a_password_for_mail_goes_to_no_other_server_by_an_import(full: Control) -> None:
    document = export(full)
    [mail] = [each for each in document["alert_channels"] if each["kind"] == "email"]
    mail["document"]["host"] = "elsewhere.example.test"
    mail["name"] = "renamed"
    done = imported(full, document)
    [step] = [each for each in done["steps"] if each["id"] == mail["id"]]
    assert (step["action"], "stays" in step["reason"]) == ("change", True)
    assert channels_of(full, full.account)["renamed"]["to"]["host"] == "smtp.example.test"


def test_alerts_that_can_not_be_are_conflicts(full: Control, other: Control) -> None:
    document = export(full)
    for place, field, value in (
        ("alert_rules", "kind", "nonsense"),
        ("alert_rules", "channels", ["f" * 32]),
        ("alert_rules", "settings", {"for_s": -1}),
        ("alert_rules", "tunnel_id", "0b1c7f5e-0f4b-4a63-9a2c-1f6a4d1d2f99"),
        ("alert_rules", "id", "NO"),
        ("alert_channels", "name", ""),
        ("alert_channels", "document", {}),
    ):
        changed = copy.deepcopy(document)
        changed[place][-1][field] = value
        answer = post(other, changed, dry_run=True).json()["result"]
        assert answer["counts"]["conflict"], (place, field)


def test_a_rule_about_the_edge_itself_is_imported_by_who_may_edit_every_account(full: Control) -> None:
    document = export(full)
    text, _ = written(full.store, issue, name="of the account", policies=[account_policy(full.account)])
    headers = {"authorization": f"Bearer {text}"}
    assert post(full, document, headers=headers).status_code == 200, "what is there already is left as it is"
    [rule] = [each for each in document["alert_rules"] if each.get("of_edge")]
    rule["settings"]["failures"] = 7
    assert "for those who may edit every account" in post(full, document, dry_run=True, headers=headers).text


def test_users_go_along_with_their_roles_and_nothing_that_they_sign_in_by(full: Control, other: Control) -> None:
    users = "/qanat/users"
    for email, role, account in (
        ("ops@example.com", "operator", full.account),
        ("boss@example.com", "owner", "*"),
        ("eyes@example.com", "viewer", full.account),
    ):
        full.call("POST", users, {"email": email, "role": role, "account": account})
    document = export(full, sealed=True)
    assert [(each["email"], each["role"]) for each in document["members"]] == [
        ("ops@example.com", "operator"),
        ("eyes@example.com", "viewer"),
    ], "an owner of the edge is not the account's"
    for text in ("argon2", "password", "key_sha256", "totp"):
        assert text not in json.dumps(document["members"])
    done = imported(other, document)
    assert done["new_users"] == ["ops@example.com", "eyes@example.com"]
    here = {each["email"]: each for each in other.call("GET", users)}
    assert here["ops@example.com"]["roles"] == {full.account: "operator"}
    count = len(here)
    again = imported(other, document)
    assert again["new_users"] == []
    assert again["counts"]["create"] == again["counts"]["change"] == 0
    document["members"][0]["role"] = "viewer"
    document["members"][1]["email"] = "EYES@example.com"
    changed = imported(other, document)
    assert changed["counts"]["change"] == 1
    assert len(other.call("GET", users)) == count, "an address is the same in either case"
    for wrong in ({"role": "king"}, {"email": "nobody"}, {"first_name": "\u202e"}, {"email": "eyes@example.com"}):
        bad = copy.deepcopy(document)
        bad["members"][0] |= wrong
        assert imported(other, bad, dry_run=True)["counts"]["conflict"] == 1, wrong


@pytest.mark.requirement("S34")
def test_nobody_imports_a_role_that_they_do_not_hold(full: Control, other: Control) -> None:
    full.call("POST", "/qanat/users", {"email": "chief@example.com", "role": "owner", "account": full.account})
    document = export(full)
    imported(other, {**document, "members": []})
    policy = account_policy(full.account)
    policy["permission_groups"] = [{"id": group.id, "name": group.name} for group in GRANTS["admin"]]
    text, _ = written(other.store, issue, name="admin", policies=[policy])
    answer = other.http.post(
        f"/qanat/accounts/{full.account}/import",
        json=document,
        headers={"authorization": f"Bearer {text}"},
    )
    steps = [step for step in answer.json()["result"]["steps"] if step["kind"] == "member"]
    assert [step["action"] for step in steps] == ["conflict"]


def test_importing_twice_changes_nothing(full: Control, other: Control) -> None:
    document = export(full, sealed=True)
    first = imported(other, document)
    with other.store.reading() as session:
        before = snapshot(session)
    again = imported(other, document)
    assert again["counts"] == {**dict.fromkeys(first["counts"], 0), "same": len(again["steps"])}
    assert again["new_secrets"] == again["new_values"] == []
    with other.store.reading() as session:
        assert snapshot(session) == before


def test_an_import_at_home_changes_nothing_and_brings_back_what_was_lost(full: Control) -> None:
    document = export(full, sealed=True)
    assert imported(full, document)["counts"]["same"] == len(imported(full, document)["steps"])
    web = next(tunnel for tunnel in document["tunnels"] if tunnel["name"] == "web")
    token = full.call("GET", f"{full.tunnels()}/{web['id']}/token")
    full.call("DELETE", f"{full.tunnels()}/{web['id']}?cascade=true")
    zone = document["zones"][0]
    full.call("DELETE", f"/zones/{zone['id']}")
    done = imported(full, document)
    assert done["counts"]["conflict"] == 0
    assert full.call("GET", f"{full.tunnels()}/{web['id']}/token") == token
    assert comparable(export(full, sealed=True), secrets=True)["zones"] == comparable(document, secrets=True)["zones"]
    assert any(step["reason"] == "it was deleted, and comes back" for step in done["steps"])


def test_who_was_active_long_ago_is_not_made_active_by_an_import(full: Control, other: Control) -> None:
    document = export(full, sealed=True)
    (ssh,) = [each for each in document["tunnels"] if each["name"] == "ssh"]
    host1 = ssh["mode"]["active_token_id"]
    told = next(step for step in imported(other, document)["steps"] if step["kind"] == "mode")
    assert "the node 'host1' is active, as it was at" in told["reason"]
    with other.store.writing(SYSTEM) as write:
        role = write.session.get_one(models.TunnelRole, ssh["id"])
        assert (role.mode, role.active_token_id, role.epoch) == ("active-standby", host1, 8)
        fenced = write.session.get_one(models.NodeState, (ssh["id"], ""))
        assert (fenced.fenced_by, fenced.fenced_at is not None) == ("promotion", True)
        # somebody else was promoted since, host1 fenced, and the first one let in again
        role.active_token_id, role.epoch = "", 9
        fenced.fenced_at = None
        nodes.state_of(write, ssh["id"], host1).fenced_at = write.at
        write.idle()
    ssh["mode"] |= {"epoch": 70, "hold_down_s": 90.0}
    steps = {(step["kind"], step["name"]): step for step in imported(other, document)["steps"]}
    assert steps["mode", "ssh"]["action"] == "change"
    assert "the node 'default' active, since epoch 9 here" in steps["mode", "ssh"]["reason"]
    assert "it is the active node here" in steps["fence", "ssh: default"]["reason"]
    with other.store.reading() as session:
        role = session.get_one(models.TunnelRole, ssh["id"])
        assert (role.active_token_id, role.epoch, role.hold_down_s) == ("", 9, 90.0)
        assert session.get_one(models.NodeState, (ssh["id"], host1)).fenced_at is not None, "a fence is never lifted"


def test_modes_weights_and_probes_that_can_not_be_are_conflicts(full: Control, other: Control) -> None:
    document = export(full)
    (ssh,) = [each for each in document["tunnels"] if each["name"] == "ssh"]
    zone = next(each for each in document["zones"] if "targets" in each)
    ssh["mode"]["active_token_id"] = "0b1c7f5e-0f4b-4a63-9a2c-1f6a4d1d2fff"
    zone["targets"][0]["shares"][0][1] = -1
    zone["targets"].append({"hostname": "x.other.test", "sticky": "none", "shares": [[ssh["id"], 1]]})
    for target, more in (("other.test", {}), ("app.example.test", {"path": "no"}), ("www.example.test", {"colour": 1})):
        document["probes"].append({"target": target, "document": more, "modified_at": "2026-01-02T03:04:05Z"})
    steps = imported(other, document, dry_run=True)["steps"]
    found = {(step["kind"], step["name"]): step["reason"] for step in steps if step["action"] == "conflict"}
    assert set(found) == {
        ("tunnel", "ssh"),
        ("weights", "app.example.test"),
        ("weights", "x.other.test"),
        ("probe", "other.test"),
        ("probe", "app.example.test"),
        ("probe", "www.example.test"),
    }
    assert "unknown, revoked or expired" in found["tunnel", "ssh"]


def test_an_import_that_takes_a_hostname_from_who_serves_it_is_refused_and_overridden_by_the_header(
    full: Control,
) -> None:
    document = export(full)
    (web,) = [each["id"] for each in document["tunnels"] if each["name"] == "web"]
    dead = full.create_tunnel("dead")["id"]
    register(full.store, web, "0b1c7f5e-0f4b-4a63-9a2c-1f6a4d1d2f0f")
    zone = next(each for each in document["zones"] if "targets" in each)
    (record,) = [each for each in zone["records"] if each["name"] == "app.example.test"]
    record["content"] = f"{dead}.cfargotunnel.com"
    path = f"/qanat/accounts/{full.account}/import"
    answer = full.http.post(path, json=document, params={"dry_run": "false"})
    assert (answer.status_code, answer.json()["errors"][0]["qanat_code"]) == (409, "record_target_down")
    record["content"] = f"{web}.cfargotunnel.com"
    zone["targets"][0]["shares"] = [[web, 1], [dead, 9]]
    steps = full.call("POST", path, document)["steps"]
    (found,) = [step for step in steps if step["action"] == "conflict"]
    assert (found["kind"], found["name"]) == ("weights", "app.example.test")
    assert "it has no connections" in found["reason"] or "has no connections" in found["reason"]
    off = full.http.post(path, json=document, params={"dry_run": "false"}, headers={"qanat-cutover-policy": "off"})
    assert off.status_code == 200, off.text


def test_a_revoked_connector_token_stays_revoked(full: Control) -> None:
    document = export(full, sealed=True)
    tunnel = next(tunnel for tunnel in document["tunnels"] if tunnel["name"] == "ssh")
    (token,) = tunnel["connector_tokens"]
    full.call("DELETE", f"/qanat/tunnels/{tunnel['id']}/connector-tokens/{token['id']}")
    step = next(step for step in imported(full, document)["steps"] if step["kind"] == "connector token")
    assert (step["action"], step["reason"]) == ("same", "it was revoked here, and stays so")
    (now,) = full.call("GET", f"/qanat/tunnels/{tunnel['id']}/connector-tokens")
    assert now["status"] == "revoked"


def test_the_default_network_that_is_there_stands_for_the_files(full: Control, other: Control) -> None:
    document = export(full)
    (here,) = other.call("GET", f"/accounts/{other.account}/teamnet/virtual_networks")
    done = imported(other, document, account=other.account)
    assert done["counts"]["conflict"] == 0
    (network,) = other.call("GET", f"/accounts/{other.account}/teamnet/virtual_networks")
    assert network["id"] == here["id"]
    (route,) = other.call("GET", f"/accounts/{other.account}/teamnet/routes")
    assert route["virtual_network_id"] == here["id"]
    assert imported(other, document, account=other.account)["counts"]["create"] == 0


def test_an_account_gets_one_default_network_whatever_the_file_says(full: Control, other: Control) -> None:
    document = export(full)
    (network,) = document["virtual_networks"]
    second = {**network, "id": "0b4e4d7f-6a1c-4d6e-9d8f-0d1b54a7c001", "name": "second"}
    document["virtual_networks"].append(second)
    assert network["is_default"]
    done = imported(other, document)
    assert done["counts"]["conflict"] == 0
    found = other.call("GET", f"/accounts/{done['account_id']}/teamnet/virtual_networks")
    assert {each["name"]: each["is_default_network"] for each in found} == {network["name"]: True, "second": False}


def test_the_default_network_stays_it_when_an_older_file_names_another(full: Control) -> None:
    path = f"/accounts/{full.account}/teamnet/virtual_networks"
    second = full.call("POST", path, {"name": "second"})
    document = export(full)
    full.call("PATCH", f"{path}/{second['id']}", {"is_default_network": True})
    imported(full, document)
    assert [each["name"] for each in full.call("GET", path) if each["is_default_network"]] == ["second"]


def test_the_edge_reads_its_routes_once_however_many_zones_come(full: Control, other: Control) -> None:
    document = export(full)
    zone = next(zone for zone in document["zones"] if zone["records"])
    ids = (f"{number:032x}" for number in range(1000))
    for number in range(3):
        records = [
            {**each, "id": next(ids), "name": each["name"].replace(zone["name"], f"z{number}.test")}
            for each in zone["records"]
        ]
        targets = [{**each, "hostname": f"app.z{number}.test"} for each in zone["targets"]]
        document["zones"].append(
            {**zone, "id": next(ids), "name": f"z{number}.test", "records": records, "targets": targets}
        )
    other.notices.clear()
    imported(other, document)
    heard = [notice for notice in other.notices if notice.kind in (NoticeKind.ROUTES, NoticeKind.ZONE)]
    assert [(notice.kind, notice.zone_id, notice.hostnames) for notice in heard] == [(NoticeKind.ROUTES, None, None)]
    other.notices.clear()
    imported(other, document)
    assert NoticeKind.ROUTES not in {notice.kind for notice in other.notices}


def test_an_older_configuration_comes_back_as_the_newest_version(full: Control) -> None:
    document = export(full)
    web = next(tunnel for tunnel in document["tunnels"] if tunnel["name"] == "web")
    path = f"{full.tunnels()}/{web['id']}/configurations"
    full.call("PUT", path, {"config": {"ingress": [{"service": "http_status:418"}]}})
    imported(full, document)
    now = full.call("GET", path)
    assert now["version"] == 4
    assert now["config"]["ingress"] == [{"service": "http_status:503"}]
    assert imported(full, document)["counts"]["change"] == 0


def test_into_another_account_policies_follow(full: Control, other: Control) -> None:
    document = export(full)
    done = imported(other, document, account=other.account)
    assert done["counts"]["conflict"] == 0, done
    back = export(other, account=other.account)
    assert [tunnel["id"] for tunnel in back["tunnels"]] == [tunnel["id"] for tunnel in document["tunnels"]]
    (token,) = back["tokens"]
    assert list(token["policies"][0]["resources"]) == list(account_policy(other.account)["resources"])


def test_a_conflict_refuses_the_whole(full: Control, other: Control) -> None:
    document = export(full)
    taken = other.create_tunnel("web")
    plan = imported(other, document, dry_run=True, account=other.account)
    conflict = next(step for step in plan["steps"] if step["action"] == "conflict")
    assert (conflict["kind"], conflict["name"]) == ("tunnel", "web")
    assert taken["id"] in conflict["reason"]
    answer = post(other, document, account=other.account)
    assert answer.status_code == 409
    assert "tunnel web" in answer.json()["errors"][0]["message"]
    assert [tunnel["name"] for tunnel in other.call("GET", other.tunnels())] == ["web"]
    assert other.call("GET", "/zones") == []


def test_another_accounts_ids_and_names_are_conflicts(full: Control) -> None:
    document = export(full)
    second = written(full.store, accounts.create, name="second")
    plan = imported(full, document, dry_run=True, account=second.id)
    kinds = {step["kind"] for step in plan["steps"] if step["action"] == "conflict"}
    assert {"tunnel", "zone", "virtual network", "private route", "token"} <= kinds
    stolen = copy.deepcopy(document)
    zone = stolen["zones"][0]
    zone["id"] = "a" * 32
    stolen.update(tunnels=[], zones=[zone], tokens=[], virtual_networks=[], routes=[])
    plan = imported(full, stolen, dry_run=True, account=second.id)
    assert "exist" in next(step["reason"] for step in plan["steps"] if step["kind"] == "zone")


def test_a_record_to_another_accounts_tunnel_is_a_conflict(full: Control) -> None:
    document = export(full)
    second = written(full.store, accounts.create, name="second")
    zone = copy.deepcopy(document["zones"][0])
    zone.update(id="b" * 32, name="second.test", targets=[])
    record = next(each for each in zone["records"] if each["name"] == "app.example.test")
    zone["records"] = [{**record, "id": "c" * 32, "name": "app.second.test"}]
    left_out = ("tunnels", "tokens", "virtual_networks", "routes", "probes", "alert_channels", "alert_rules")
    mine = {**document, **{kind: [] for kind in left_out}, "zones": [zone]}
    plan = imported(full, mine, dry_run=True, account=second.id)
    assert [step["reason"] for step in plan["steps"] if step["action"] == "conflict"] == [
        "it points to a tunnel that is not of this account"
    ]


def test_no_secret_is_in_an_export(full: Control) -> None:
    token = full.call("GET", f"{full.tunnels()}/{full.call('GET', full.tunnels())[0]['id']}/token")
    for sealed in (False, True):
        text = json.dumps(export(full, sealed=sealed))
        assert token not in text
        assert PASSPHRASE not in text
        assert "sha256" not in text
    assert "secret" not in json.dumps(export(full)["tunnels"])


def test_every_export_and_import_is_audited_without_secrets(full: Control) -> None:
    imported(full, export(full, sealed=True))
    rows = full.call("GET", "/qanat/audit", action="account")
    assert {"account.export", "account.import"} <= {row["action"] for row in rows}
    assert PASSPHRASE not in json.dumps(full.call("GET", "/qanat/audit", per_page="1000"))


def test_passphrases(full: Control) -> None:
    path = f"/qanat/accounts/{full.account}/export"
    assert "passphrase" in full.refused("GET", path, secrets="sealed")[2]
    short = full.http.get(path, params={"secrets": "sealed"}, headers={"qanat-passphrase": "short"})
    assert short.json()["errors"][0]["qanat_code"] == "passphrase_weak"
    document = export(full, sealed=True)
    for headers, code in (({}, "passphrase_missing"), ({"qanat-passphrase": "not this one, no"}, "passphrase_wrong")):
        answer = post(full, document, headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["qanat_code"]) == (400, code)
    swapped = copy.deepcopy(document)
    one, two = swapped["tunnels"][:2]
    one["secret"], two["secret"] = two["secret"], one["secret"]
    plan = imported(full, swapped, dry_run=True)
    assert sum("belongs to another object" in (step["reason"] or "") for step in plan["steps"]) == 2


NO_DOCUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "export_unknown_format"),
    ({"format": None}, "export_unknown_format"),
    ({"tunnels": 5}, "export_malformed"),
    ({"tunnels": [{"id": "x"}]}, "export_malformed"),
    ({"zones": [None]}, "export_malformed"),
    ({"exported_at": "2026-01-02T03:04:05"}, "export_malformed"),
    ({"exported_at": "yesterday"}, "export_malformed"),
    (
        {"secrets": {"kdf": "scrypt", "n": 2**30, "r": 8, "p": 1, "salt": "", "cipher": "x", "check": ""}},
        "export_malformed",
    ),
]


def test_documents_that_are_none(full: Control) -> None:
    good = export(full)
    for change, code in NO_DOCUMENTS:
        answer = post(full, {**good, **change}, headers=HEADERS)
        assert answer.status_code == 400, (change, answer.text)
        assert answer.json()["errors"][0]["qanat_code"] == code, change


SPOILT: list[tuple[str, Callable[[Any], None]]] = [
    ("account", lambda d: d["account"].update(name="")),
    ("account", lambda d: d["account"].update(settings={"delete_disconnects": "x"})),
    ("account", lambda d: d["account"].update(settings={"unknown": 1})),
    ("virtual network", lambda d: d["virtual_networks"][0].update(name="")),
    ("virtual network", lambda d: d["virtual_networks"][0].update(comment="x" * 5000)),
    ("private route", lambda d: d["routes"][0].update(comment="x" * 5000)),
    ("tunnel", lambda d: d["tunnels"][0].update(id="x")),
    ("tunnel", lambda d: d["tunnels"][0].update(name="")),
    ("tunnel", lambda d: d["tunnels"].append(d["tunnels"][0])),
    ("tunnel", lambda d: d["tunnels"][0].update(config_src="x")),
    ("tunnel", lambda d: d["tunnels"][0]["configurations"][0].update(config={"ingress": [{"service": "nope"}]})),
    ("tunnel", lambda d: d["tunnels"][0]["configurations"].reverse()),
    ("zone", lambda d: d["zones"][0].update(id="zz")),
    ("zone", lambda d: d["zones"].append(d["zones"][0])),
    ("record", lambda d: d["zones"][0]["records"][0].update(type="NOPE")),
    ("record", lambda d: d["zones"][0]["records"][0].update(name="elsewhere.org")),
    ("record", lambda d: d["zones"][0]["records"].append({**d["zones"][0]["records"][0], "id": "d" * 32})),
    ("token", lambda d: d["tokens"][0].update(policies=[{}])),
    ("token", lambda d: d["tokens"][0].update(policies=[account_policy("*")])),
    ("private route", lambda d: d["routes"][0].update(network="10.0.0.1/8")),
]


def test_objects_that_can_not_be_are_conflicts(full: Control, other: Control) -> None:
    good = export(full)
    for kind, spoil in SPOILT:
        document = copy.deepcopy(good)
        spoil(document)
        plan = imported(other, document, dry_run=True)
        assert kind in {step["kind"] for step in plan["steps"] if step["action"] == "conflict"}, plan["steps"]
        assert post(other, document).status_code == 409
    assert other.http.get(f"/accounts/{full.account}").status_code == 404, "nothing of it was written"


def test_a_bounded_token_can_neither_take_nor_bring_more_than_it_holds(full: Control) -> None:
    second = written(full.store, accounts.create, name="second")
    token, _ = written(full.store, issue, name="theirs", account_id=second.id)
    headers = {"authorization": f"Bearer {token}"}
    assert full.http.get(f"/qanat/accounts/{full.account}/export", headers=headers).status_code == 404
    document = export(full)
    for account in (full.account, "e" * 32):
        answer = full.http.post(f"/qanat/accounts/{account}/import", headers=headers, json=document)
        assert answer.status_code == 404, "an account that isn't theirs, and one that isn't there, are the same"


def test_a_large_account_passes_the_gate(control: Control) -> None:
    zone = control.create_zone()
    control.create_record(zone["id"], type="TXT", name="a", content="x" * 1000)
    document = export(control)
    record = document["zones"][0]["records"][0]
    document["zones"][0]["records"] = [
        {**record, "id": f"{number:032x}", "name": f"n{number}.example.test"} for number in range(2000)
    ]
    assert len(json.dumps(document)) > 2 * 1024 * 1024
    assert imported(control, document)["counts"]["create"] == 2000


def test_every_column_is_exported_or_left_out_with_a_reason() -> None:
    for struct, model in (
        (parts.AccountPart, models.Account),
        (parts.TunnelPart, models.Tunnel),
        (parts.ConfigurationPart, models.Configuration),
        (parts.ConnectorTokenPart, models.ConnectorToken),
        (parts.VirtualNetworkPart, models.VirtualNetwork),
        (parts.RoutePart, models.TeamnetRoute),
        (parts.ZonePart, models.Zone),
        (parts.RecordPart, models.Record),
        (parts.TokenPart, models.ApiToken),
        (parts.ModePart, models.TunnelRole),
        (parts.FencePart, models.NodeState),
        (parts.TargetsPart, models.HostnameTarget),
        (parts.ProbePart, models.Probe),
        (parts.MemberPart, models.Membership),
        (parts.AlertChannelPart, models.AlertChannel),
        (parts.AlertRulePart, models.AlertRule),
    ):
        name = model.__tablename__
        columns = {column.name for column in model.__table__.columns}
        exported = columns & set(struct.__struct_fields__)
        left_out = parts.LEFT_OUT[name]
        assert exported | left_out.keys() == columns, name
        assert not exported & left_out.keys(), name


def snapshot(session: Any) -> dict[str, list[tuple[Any, ...]]]:
    """Every row but the audit log's and the tokens' last use."""
    rows = {}
    for table in models.Base.metadata.sorted_tables:
        if table.name not in ("audit", "api_tokens"):
            rows[table.name] = sorted((tuple(row) for row in session.execute(table.select())), key=repr)
    return rows


def test_an_import_takes_so_much_computing_and_no_more(full: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    one = f"/qanat/accounts/{full.account}"
    document = full.call("GET", f"{one}/export")
    monkeypatch.setattr(run, "MOST_CHECKING_S", -1.0)
    before = full.audit_count()
    status, code, message = full.refused("POST", f"{one}/import", document)
    assert (status, code) == (400, 6007)
    assert "more than" in message
    assert full.audit_count() == before


def test_the_patterns_of_the_newest_configuration_are_checked(full: Control) -> None:
    one = f"/qanat/accounts/{full.account}"
    document = full.call("GET", f"{one}/export")
    tunnel = next(each for each in document["tunnels"] if each["name"] == "web")
    rules = [{"path": f"(?:\\pL{{40}}|\\pN{{40}}){n}", "service": "http_status:200"} for n in range(100)]
    newest = {**tunnel["configurations"][-1], "version": 3}
    newest["config"] = {"ingress": [*rules, {"service": "http_status:404"}]}
    tunnel["configurations"].append(newest)
    steps = full.call("POST", f"{one}/import", document)["steps"]
    (conflict,) = [step for step in steps if step["action"] == "conflict"]
    assert "with the patterns before it, it compiles to more than" in conflict["reason"]


def test_one_accounts_imports_keep_no_other_account_waiting(control: Control) -> None:
    """Who sends its 64 MiB slowly, or computes for a minute, has its own turn."""
    other = written(control.store, accounts.create, name="victim")
    text, _ = written(
        control.store, issue, name="victim", account_id=other.id, policies=[dict(account_policy(other.id))]
    )
    where = urlsplit(control.url)
    head = (
        f"POST {where.path}/qanat/accounts/{control.account}/import HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {control.token}\r\ncontent-length: 1000000\r\n\r\n{{"
    )
    with ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(socket.create_connection((str(where.hostname), where.port or 0), timeout=10))
            sock.sendall(head.encode())
        wait_until(lambda: control.context.shares.uploads.waiting == 2, "the others to wait")
        headers = {"authorization": f"Bearer {text}"}
        path = f"/qanat/accounts/{other.id}"
        document = control.http.get(f"{path}/export", headers=headers).json()["result"]
        answer = control.http.post(f"{path}/import", json=document, headers=headers)
        assert answer.status_code == 200, answer.text
