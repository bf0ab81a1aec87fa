"""security.md S34 and S38: every route × every role, and an audit row for every write. The routes come from the app, what they
need from tests/support/matrix.py: a route without a row there fails."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from qanat.api.http.context import declared_needs
from qanat.auth import Guesses, issue
from qanat.auth.tokens import make_token
from qanat.control.permissions import ALL, GROUPS
from qanat.control.policies import EVERYTHING_POLICY, account_policy
from qanat.store.models import Audit
from qanat.store.reach import PERMISSIONS, Permission
from tests.support.control import check_failure, running_control
from tests.support.matrix import ROWS, Call, World, names_of, routes, unknown
from tests.support.writes import written

ACCOUNT, ZONE, USER = (f"com.cloudflare.api.{kind}" for kind in ("account", "account.zone", "user"))
_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b0+\b")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One control plane for all: each request makes what it asks for."""
    with running_control(tmp_path_factory.mktemp("matrix")) as control:
        control.context.legacy_keys = True
        control.context.guesses = Guesses(limit=10**9)
        world = World(control)
        with world.http:
            yield world


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def holder(world: World, *policies: dict[str, Any], **more: Any) -> dict[str, str]:
    text, _ = written(world.control.store, issue, name="holder", policies=list(policies), **more)
    return bearer(text)


def told(answer: httpx.Response) -> tuple[int, list[tuple[int, str, str]]]:
    """What a refusal tells, without the ids that were asked for."""
    check_failure(answer)
    errors = answer.json()["errors"]
    return answer.status_code, [
        (each["code"], _ID.sub("ID", each["message"]), each.get("source", {}).get("pointer", "")) for each in errors
    ]


def closed() -> list[tuple[str, str]]:
    """The routes that ask for credentials and have a row; that all have one is a test of its own."""
    there = {(method, path) for method, path, _ in routes()}
    return [key for key, row in ROWS.items() if row.needs is not None and key in there]


def test_every_route_has_a_row_and_needs_what_it_says() -> None:
    declared = {(method, path): declared_needs(endpoint) for method, path, endpoint in routes()}
    missing = sorted(set(declared) - set(ROWS))
    assert not missing, f"write down in tests/support/matrix.py who may call these: {missing}"
    assert set(ROWS) == set(declared)
    assert {key: row.permissions for key, row in ROWS.items()} == declared


def test_reading_needs_no_right_to_edit_except_for_secrets() -> None:
    secret = {
        "/accounts/{account_id}/cfd_tunnel/{tunnel_id}/token",
        "/qanat/tunnels/{tunnel_id}/connector-tokens/{connector_token_id}/token",
        "/qanat/backup",
    }
    for (method, path), row in ROWS.items():
        edits = any(each.endswith(".edit") for each in row.permissions or ())
        if row.needs and method != "GET":
            assert edits or row.audits is False, (method, path)
        if method == "GET":
            assert not edits or path in secret, (method, path)


@pytest.mark.parametrize(
    "role", ["none", "garbage", "unknown", "expired", "not yet", "disabled", "elsewhere", "bad key"]
)
def test_bad_credentials_get_one_answer_everywhere(world: World, role: str) -> None:
    store = world.control.store
    now = store.clock()
    expected = (403, 9109)
    match role:
        case "none":
            headers, expected = {}, (400, 6003)
        case "garbage":
            headers = bearer("garbage")
        case "unknown":
            headers = bearer(make_token())
        case "expired":
            headers = holder(world, EVERYTHING_POLICY, expires_on=now - timedelta(seconds=1))
        case "not yet":
            headers = holder(world, EVERYTHING_POLICY, not_before=now + timedelta(hours=1))
        case "disabled":
            headers = holder(world, EVERYTHING_POLICY, disabled=True)
        case "elsewhere":
            headers = holder(world, EVERYTHING_POLICY, allowed_ips=["192.0.2.0/24"])
        case "bad key":
            headers, expected = {"x-auth-email": "owner@qanat.invalid", "x-auth-key": "0" * 37}, (403, 9103)
    some = {"account_id": world.control.account}
    for method, path in closed():
        params = {name: some.get(name, uuid4().hex) for name in names_of(path)}
        answer = world.ask(Call(method, path, params, ROWS[method, path]), headers)
        is_verify = path.endswith("/tokens/verify") and role not in ("none", "bad key")
        assert told(answer)[0] == (401 if is_verify else expected[0]), (method, path)
        assert told(answer)[1][0][0] == (1000 if is_verify else expected[1]), (method, path)


@pytest.mark.parametrize("lacking", PERMISSIONS)
def test_without_a_permission_what_needs_it_is_refused(world: World, lacking: Permission) -> None:
    user_id = world.control.call("GET", "/user")["id"]
    resources = {ACCOUNT: {f"{ACCOUNT}.*": "*"}, ZONE: {f"{ACCOUNT}.*": "*"}, USER: {f"{USER}.{user_id}": "*"}}
    policies = [
        {"effect": "allow", "resources": resources[group.scopes[0]], "permission_groups": [{"id": group.id}]}
        for group in GROUPS
        if group is not ALL and not group.allows(lacking)
    ]
    headers = holder(world, *policies)
    for method, path in closed():
        row = ROWS[method, path]
        if row.permissions and lacking in row.permissions:
            params = {name: uuid4().hex for name in names_of(path)}
            answer = world.ask(Call(method, path, params, row), headers)
            assert told(answer)[0] == 403, (method, path)
            # who lacks this one may lack others of the endpoint's too
            codes = {1009 if each.startswith("dns.") else 10000 for each in row.permissions}
            assert told(answer)[1][0][0] in codes, (method, path)


def test_a_read_only_token_reads_all_and_writes_nothing(world: World) -> None:
    user_id = world.control.call("GET", "/user")["id"]
    reading = [group for group in GROUPS if not any(each.endswith(".edit") for each in group.permissions)]
    of_user = [group for group in reading if group.scopes == (USER,)]
    others = [group for group in reading if group.scopes != (USER,)]
    headers = holder(
        world,
        *(
            {"effect": "allow", "resources": resources, "permission_groups": [{"id": group.id} for group in groups]}
            for resources, groups in (({f"{ACCOUNT}.*": "*"}, others), ({f"{USER}.{user_id}": "*"}, of_user))
        ),
    )
    for method, path in closed():
        row = ROWS[method, path]
        answer = world.ask(world.standing(method, path), headers)
        if any(each.endswith(".edit") for each in row.permissions or ()):
            assert told(answer)[0] == 403, (method, path)
        else:
            assert answer.status_code == row.status, (method, path, answer.text)
    with world.control.store.reading() as session:
        token_id = world.http.get("/user/tokens/verify", headers=headers).json()["result"]["id"]
        actions = {row.action for row in session.query(Audit).filter_by(actor=token_id)}
    assert actions == {"token.used_from", "account.export"}


@pytest.mark.requirement("S34")
def test_another_accounts_token_learns_nothing(world: World) -> None:
    """What is there and what is nowhere get the same answer, and lists have none of it."""
    other = world.control.call("POST", "/accounts", {"name": "other"})["id"]
    headers = holder(world, account_policy(other))
    for method, path in closed():
        call = world.standing(method, path)
        if not call.params:
            answer = world.ask(call, headers)
            if method == "GET" and answer.status_code == 200:
                assert world.control.account not in answer.text, (method, path)
            continue
        there = world.ask(call, headers)
        nowhere = world.ask(call.at(**unknown(call.params)), headers)
        assert there.status_code in (403, 404), (method, path, there.text)
        assert told(there) == told(nowhere), (method, path)


def test_an_id_of_another_account_below_ones_own_is_unknown(world: World) -> None:
    """`/accounts/{mine}/…/{theirs}` and `/zones/{mine}/…/{theirs}`."""
    other = world.control.call("POST", "/accounts", {"name": "below"})["id"]
    headers = holder(world, account_policy(other), EVERYTHING_POLICY)
    for method, path in closed():
        inner = [name for name in names_of(path)[1:] if name.endswith("_id")]
        if not inner or ROWS[method, path].status != 200:
            continue
        call = world.standing(method, path)
        mine = {name: value for name, value in world.objects(method, path, other).items() if name not in inner}
        theirs = world.ask(call.at(**mine), headers)
        nowhere = world.ask(call.at(**mine, **unknown({name: call.params[name] for name in inner})), headers)
        assert theirs.status_code == 404, (method, path, theirs.text)
        assert told(theirs) == told(nowhere), (method, path)


def test_an_id_of_another_account_in_a_body_is_unknown(world: World) -> None:
    other = world.control.call("POST", "/accounts", {"name": "in a body"})["id"]
    headers = holder(world, account_policy(other))
    account, tunnel, zone = world.control.account, world.tunnel(world.control.account), world.zone(other)

    def bodies(account: str, tunnel: str) -> list[tuple[str, str, dict[str, Any]]]:
        cname = {"type": "CNAME", "name": "x", "proxied": True, "content": f"{tunnel}.cfargotunnel.com"}
        route = {"network": "10.99.0.0/24", "tunnel_id": tunnel}
        return [
            ("POST", "/zones", {"name": "mine.test", "account": {"id": account}}),
            ("POST", f"/zones/{zone}/dns_records", cname),
            ("PUT", f"/zones/{zone}/tunnels/{tunnel}/routes", {"type": "dns", "user_hostname": "x"}),
            ("POST", f"/accounts/{other}/teamnet/routes", route),
        ]

    for theirs, nowhere in zip(bodies(account, tunnel), bodies(uuid4().hex, str(uuid4())), strict=True):
        answers = [
            world.http.request(method, path, json=body, headers=headers) for method, path, body in (theirs, nowhere)
        ]
        assert answers[0].status_code in (400, 403, 404), theirs
        assert told(answers[0]) == told(answers[1]), theirs


def test_a_token_of_another_zone_learns_nothing(world: World) -> None:
    account = world.control.account
    zone = world.zone(account)
    resources = {f"{ZONE}.{zone}": "*"}
    headers = holder(world, {"effect": "allow", "resources": resources, "permission_groups": [{"id": ALL.id}]})
    for method, path in closed():
        call = world.standing(method, path)
        if not call.params:
            continue
        there = world.ask(call, headers)
        nowhere = world.ask(call.at(**unknown(call.params)), headers)
        assert there.status_code in (403, 404), (method, path, there.text)
        assert told(there) == told(nowhere), (method, path)


@pytest.mark.requirement("S38")
def test_the_owner_may_and_every_write_is_audited(world: World) -> None:
    """security.md S38."""
    headers = holder(world, EVERYTHING_POLICY)
    world.control.call("GET", "/user")
    world.ask(world.call("GET", "/user"), headers)  # the first use from an address is a row of its own
    opened = [key for key, row in ROWS.items() if row.needs is None]
    for method, path in [*closed(), *opened]:
        row = ROWS[method, path]
        call = world.call(method, path)
        before = audit_rows(world)
        answer = world.ask(call, headers if row.needs is not None else {})
        assert answer.status_code == row.status, (method, path, answer.text)
        audits = row.audits if row.audits is not None else method != "GET"
        assert (audit_rows(world) > before) is audits, (method, path)


def audit_rows(world: World) -> int:
    with world.control.store.reading() as session:
        return session.query(Audit).count()
