from typing import Any

import pytest

from qanat.control.permissions import ALL, BY_ID, GROUPS, find_groups
from qanat.control.policies import EVERYTHING_POLICY, account_policy, origin_certificate_policies, reach_of
from qanat.store.reach import PERMISSIONS, Permission, Reach

A, B = "a" * 32, "b" * 32
Y, Z = "1" * 32, "2" * 32
ACCOUNT_A = {f"com.cloudflare.api.account.{A}": "*"}
ZONE_Z = {f"com.cloudflare.api.account.zone.{Z}": "*"}
ALL_ZONES = {"com.cloudflare.api.account.zone.*": "*"}
ZONES_OF_A: dict[str, Any] = {f"com.cloudflare.api.account.{A}": ALL_ZONES}
EVERYTHING = {"com.cloudflare.api.account.*": "*"}


def policy(resources: dict[str, Any], *names: str, effect: str = "allow") -> dict[str, Any]:
    ids = {group.name: group.id for group in GROUPS}
    return {"effect": effect, "resources": resources, "permission_groups": [{"id": ids[name]} for name in names]}


def test_groups_have_stable_ids_of_their_own() -> None:
    assert len(BY_ID) == len(GROUPS) == len({group.name for group in GROUPS})
    assert all(len(group.id) == 32 and int(group.id, 16) for group in GROUPS)
    # hard-coded in people's Terraform files
    assert BY_ID["4755a26eedb94da69e1066d98aa820be"].name == "DNS Write"
    assert BY_ID["c07321b023e944ff818fec44d8203567"].name == "Cloudflare Tunnel Write"


def test_every_permission_has_a_group_and_edit_holds_read() -> None:
    granted = {permission for group in GROUPS if group is not ALL for permission in group.permissions}
    assert granted == set(PERMISSIONS) - {"audit.edit"}
    for group in GROUPS:
        for permission in group.permissions:
            assert permission.replace(".edit", ".read") in group.permissions
        assert all(each.endswith(".read") for each in group.shows)


def test_groups_are_found_by_name_and_scope() -> None:
    every = frozenset(scope for group in GROUPS for scope in group.scopes)
    zone = "com.cloudflare.api.account.zone"
    assert [group.name for group in find_groups(name="dns read", scope=zone, scopes=every)] == ["DNS Read"]
    assert find_groups(name="DNS", scope=None, scopes=every) == []
    assert find_groups(name="DNS Read", scope="com.cloudflare.api.user", scopes=every) == []
    of_accounts = find_groups(name=None, scope=None, scopes=frozenset({"com.cloudflare.api.account"}))
    assert "API Tokens Write" not in [group.name for group in of_accounts]


@pytest.mark.parametrize(
    ("policies", "permission", "expected"),
    [
        ([], "dns.read", Reach()),
        ([EVERYTHING_POLICY], "dns.edit", Reach(accounts=None, user=True)),
        ([EVERYTHING_POLICY], "edge.edit", Reach(accounts=None, user=True)),
        ([account_policy(A)], "dns.edit", Reach(accounts=frozenset({A}))),
        ([account_policy(A)], "tunnel.edit", Reach(accounts=frozenset({A}))),
        ([policy(ACCOUNT_A, "DNS Read")], "dns.read", Reach(accounts=frozenset({A}))),
        ([policy(ACCOUNT_A, "DNS Read")], "dns.edit", Reach()),
        ([policy(ACCOUNT_A, "DNS Write")], "dns.read", Reach(accounts=frozenset({A}))),
        ([policy(ZONE_Z, "DNS Write")], "dns.edit", Reach(zones=frozenset({Z}))),
        ([policy(ZONE_Z, "DNS Write")], "zone.read", Reach(zones=frozenset({Z}))),
        ([policy(ZONE_Z, "DNS Write")], "zone.edit", Reach()),
        (
            [policy(ACCOUNT_A, "Zone Write"), policy(ZONE_Z, "DNS Read", effect="deny")],
            "zone.edit",
            Reach(accounts=frozenset({A})),
        ),
        ([policy(ZONE_Z, "All Write")], "tunnel.read", Reach()),
        ([policy(ALL_ZONES, "DNS Write")], "dns.edit", Reach(accounts=None)),
        ([policy(ZONES_OF_A, "DNS Write")], "dns.edit", Reach(accounts=frozenset({A}))),
        ([policy(ZONES_OF_A, "All Write")], "tunnel.edit", Reach()),
        ([policy({"com.cloudflare.api.user.u": "*"}, "API Tokens Write")], "token.edit", Reach(user=True)),
        ([policy(EVERYTHING, "API Tokens Write")], "token.edit", Reach()),
        ([policy(ACCOUNT_A, "Account API Tokens Write")], "token.edit", Reach(accounts=frozenset({A}))),
        # what is denied wins, in whatever order
        (
            [policy(ACCOUNT_A, "DNS Write"), policy(ZONE_Z, "DNS Write", effect="deny")],
            "dns.edit",
            Reach(accounts=frozenset({A}), denied_zones=frozenset({Z})),
        ),
        (
            [policy(ZONE_Z, "DNS Write", effect="deny"), policy(ACCOUNT_A, "DNS Write")],
            "dns.read",
            Reach(accounts=frozenset({A})),
        ),
        ([policy(ZONE_Z, "DNS Read", effect="deny"), policy(ZONE_Z, "DNS Write")], "dns.edit", "nothing"),
        ([EVERYTHING_POLICY, policy(ACCOUNT_A, "All Write", effect="deny")], "tunnel.read", "all but A"),
        ([EVERYTHING_POLICY, policy(EVERYTHING, "All Write", effect="deny")], "tunnel.read", "nothing"),
        ([policy(ACCOUNT_A, "DNS Write"), policy(ALL_ZONES, "DNS Write", effect="Deny")], "dns.edit", "nothing"),
        (
            [policy(ACCOUNT_A, "Cloudflare Tunnel Write"), policy(ALL_ZONES, "DNS Write", effect="deny")],
            "tunnel.edit",
            "A",
        ),
    ],
)
def test_reach(policies: list[dict[str, Any]], permission: Permission, expected: Reach | str) -> None:
    reach = reach_of(policies, permission)
    match expected:
        case "nothing":
            assert reach.is_empty
            assert not reach.has_zone(Z, A)
        case "all but A":
            assert not reach.has_account(A)
            assert reach.has_account(B)
            assert not reach.is_everything
        case "A":
            assert reach.has_account(A)
        case _:
            assert reach == expected


def test_an_origin_certificate_reaches_tunnels_and_one_zone_and_no_more() -> None:
    policies = origin_certificate_policies(A, Z)
    assert reach_of(policies, "tunnel.edit") == Reach(accounts=frozenset({A}))
    assert reach_of(policies, "dns.edit") == Reach(zones=frozenset({Z}))
    assert reach_of(policies, "zone.read") == Reach(zones=frozenset({Z}))
    for permission in set(PERMISSIONS) - {"tunnel.read", "tunnel.edit", "dns.read", "dns.edit", "zone.read"}:
        assert reach_of(policies, permission).is_empty, permission
