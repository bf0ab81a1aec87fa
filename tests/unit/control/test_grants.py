from datetime import UTC, datetime
from typing import Any

import pytest

from qanat.control.grants import check_bounds, check_held, check_policies, covers, parse_networks
from qanat.control.policies import EVERYTHING_POLICY, Resource, account_policy
from qanat.errors import QanatError
from qanat.store.models import ApiToken
from qanat.store.reach import Reach
from tests.unit.control.test_policies import (
    ACCOUNT_A,
    ALL_ZONES,
    EVERYTHING,
    ZONE_Z,
    ZONES_OF_A,
    A,
    B,
    Y,
    Z,
    policy,
)

ZONE_Y = {f"com.cloudflare.api.account.zone.{Y}": "*"}


def account_of(zone_id: str) -> str | None:
    return {Y: A, Z: A}.get(zone_id)


@pytest.mark.parametrize(
    ("own", "given", "allowed"),
    [
        ([EVERYTHING_POLICY], [EVERYTHING_POLICY], True),
        ([EVERYTHING_POLICY], [policy({"com.cloudflare.api.user.u": "*"}, "API Tokens Write")], True),
        ([account_policy(A)], [account_policy(A)], True),
        ([account_policy(A)], [account_policy(B)], False),
        ([account_policy(A)], [EVERYTHING_POLICY], False),
        ([account_policy(A)], [policy(ZONE_Z, "DNS Write")], True),
        ([account_policy(A)], [policy(ALL_ZONES, "DNS Read")], False),
        ([account_policy(A)], [policy({"com.cloudflare.api.user.u": "*"}, "API Tokens Write")], False),
        ([account_policy(B)], [policy(ZONE_Z, "DNS Write")], False),
        ([policy(ACCOUNT_A, "DNS Read")], [policy(ACCOUNT_A, "DNS Write")], False),
        ([policy(ACCOUNT_A, "DNS Write")], [policy(ACCOUNT_A, "DNS Read")], True),
        ([policy(ZONE_Z, "DNS Write")], [policy(ZONE_Z, "DNS Write")], True),
        ([policy(ZONE_Z, "DNS Write")], [policy(ZONE_Y, "DNS Write")], False),
        ([policy(ZONE_Z, "DNS Write")], [policy(ZONES_OF_A, "DNS Write")], False),
        # what the giver is denied, it can't give
        ([account_policy(A), policy(ZONE_Z, "DNS Write", effect="deny")], [policy(ACCOUNT_A, "DNS Write")], False),
        ([account_policy(A), policy(ZONE_Z, "DNS Write", effect="deny")], [policy(ZONE_Z, "DNS Write")], False),
        ([account_policy(A), policy(ZONE_Z, "DNS Write", effect="deny")], [policy(ZONE_Y, "DNS Write")], True),
        (
            [account_policy(A), policy(ZONE_Z, "DNS Write", effect="deny")],
            [policy(ACCOUNT_A, "DNS Write"), policy(ZONE_Z, "DNS Write", effect="deny")],
            True,
        ),
        ([EVERYTHING_POLICY, policy(ACCOUNT_A, "All Write", effect="deny")], [EVERYTHING_POLICY], False),
        ([EVERYTHING_POLICY, policy(ACCOUNT_A, "All Write", effect="deny")], [account_policy(B)], True),
    ],
)
def test_nobody_gives_what_they_do_not_hold(
    own: list[dict[str, Any]], given: list[dict[str, Any]], allowed: bool
) -> None:
    if allowed:
        check_held(own, given, account_of)
    else:
        with pytest.raises(QanatError, match="does not itself hold") as refused:
            check_held(own, given, account_of)
        assert refused.value.code == "token_escalates"


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ([], "policies"),
        ([policy(ACCOUNT_A, "DNS Read")] * 101, "policies"),
        ([policy(ACCOUNT_A, "DNS Read", effect="permit")], "policies[0].effect"),
        ([policy(ACCOUNT_A, "DNS Read"), policy({}, "DNS Read")], "policies[1].resources"),
        ([policy({"com.cloudflare.api.account.zone": "*"}, "DNS Read")], "policies[0].resources"),
        ([policy({f"com.cloudflare.api.account.zone.{Y}": "*"}, "DNS Read")], "policies[0].resources"),
        ([policy({f"com.cloudflare.api.account.{A}": "read"}, "DNS Read")], "policies[0].resources"),
        ([policy({f"com.cloudflare.api.account.{A}": {}}, "DNS Read")], "policies[0].resources"),
        ([policy({f"com.cloudflare.api.account.{A}": ACCOUNT_A}, "DNS Read")], "policies[0].resources"),
        ([policy({f"com.cloudflare.edge.r2.bucket.{A}": "*"}, "DNS Read")], "policies[0].resources"),
        ([policy(ACCOUNT_A)], "policies[0].permission_groups"),
        ([policy(ZONE_Z, "Cloudflare Tunnel Read")], "policies[0].permission_groups"),
        ([policy(ACCOUNT_A, "API Tokens Read")], "policies[0].permission_groups"),
        (
            [{**policy(ACCOUNT_A, "DNS Read"), "permission_groups": [{"id": "0" * 32}]}],
            "policies[0].permission_groups[0].id",
        ),
    ],
)
def test_a_bad_policy_is_named(bad: list[dict[str, Any]], where: str) -> None:
    with pytest.raises(QanatError) as refused:
        check_policies(bad, is_known=lambda resource: resource.id in (A, Z))
    assert (refused.value.code, refused.value.where) == ("token_bad_policy", where)


def test_good_policies_are_kept_as_they_were_sent_with_their_groups_names() -> None:
    sent = [policy(ZONES_OF_A, "DNS Read", "DNS Write"), policy(EVERYTHING, "Account Settings Read")]
    kept = check_policies(sent, is_known=lambda _resource: True)
    assert [each["resources"] for each in kept] == [ZONES_OF_A, EVERYTHING]
    assert [group["name"] for group in kept[0]["permission_groups"]] == ["DNS Read", "DNS Write"]


def test_a_resource_that_is_gone_may_stay_but_not_come() -> None:
    def is_known(resource: Resource) -> bool:
        return resource.id != Z

    with pytest.raises(QanatError):
        check_policies([policy(ZONE_Z, "DNS Read")], is_known=is_known)
    check_policies([policy(ZONE_Z, "DNS Read")], is_known=is_known, before=[policy(ZONE_Z, "DNS Write")])


def _token(allowed: list[str], denied: list[str], expires_on: datetime | None = None) -> ApiToken:
    return ApiToken(allowed_ips=allowed, denied_ips=denied, expires_on=expires_on)


SOON, LATER = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("own", "expires_on", "allowed", "denied", "where"),
    [
        (_token([], []), None, [], [], None),
        (_token([], [], SOON), None, [], [], "expires_on"),
        (_token([], [], SOON), LATER, [], [], "expires_on"),
        (_token([], [], LATER), SOON, [], [], None),
        (_token(["192.0.2.0/24"], []), None, [], [], "condition.request_ip.in"),
        (_token(["192.0.2.0/24"], []), None, ["192.0.2.7", "::1/128"], [], "condition.request_ip.in"),
        (_token(["192.0.2.0/24"], []), None, ["192.0.2.7", "192.0.2.128/25"], [], None),
        (_token([], ["192.0.2.7"]), None, [], [], "condition.request_ip.not_in"),
        (_token([], ["192.0.2.7"]), None, [], ["192.0.2.0/24"], None),
    ],
)
def test_a_bounded_token_gives_no_freer_ones(
    own: ApiToken, expires_on: datetime | None, allowed: list[str], denied: list[str], where: str | None
) -> None:
    if where is None:
        check_bounds(own, expires_on=expires_on, allowed=allowed, denied=denied)
        return
    with pytest.raises(QanatError) as refused:
        check_bounds(own, expires_on=expires_on, allowed=allowed, denied=denied)
    assert (refused.value.code, refused.value.where) == ("token_escalates", where)


@pytest.mark.parametrize(
    "bad", ["", "192.0.2.1/33", "example.test", "192.0.2.1/24", "999.0.2.1", "::ffff:192.0.2.0/120", "' OR 1=1"]
)
def test_a_bad_network_is_named(bad: str) -> None:
    with pytest.raises(QanatError) as refused:
        parse_networks(["192.0.2.0/24", bad], where="condition.request_ip.in")
    assert (refused.value.code, refused.value.where) == ("token_bad_bounds", "condition.request_ip.in[1]")


def test_a_zone_of_a_denied_account_is_not_wanted_at_all() -> None:
    """The policy names a zone and denies its account: nothing of it is held, so that nothing of it is given."""
    reach = Reach(zones=frozenset({"z"}), denied_accounts=frozenset({"a"}))
    assert covers(reach, reach, {"z": "a"}.get)
    assert not covers(reach, Reach(zones=frozenset({"z"})), {"z": "a"}.get)
