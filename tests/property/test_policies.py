"""Policies: nobody grants more than they hold, what is denied is never reached, and queries filter by the same rule."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import Session

from qanat.control.grants import check_held
from qanat.control.permissions import ACCOUNT, GROUPS, USER, ZONE
from qanat.control.policies import reach_of
from qanat.errors import QanatError
from qanat.store.database import utc_now
from qanat.store.models import Account, Base, Zone
from qanat.store.reach import PERMISSIONS, Reach

# The last account and the last zone are named by no policy: they come later.
ACCOUNTS = ("a" * 32, "b" * 32, "c" * 32)
ZONES = {
    "1" * 32: ACCOUNTS[0],
    "2" * 32: ACCOUNTS[0],
    "3" * 32: ACCOUNTS[1],
    "4" * 32: ACCOUNTS[2],
    "5" * 32: ACCOUNTS[0],
}
NAMED_ACCOUNTS, NAMED_ZONES = ACCOUNTS[:2], list(ZONES)[:3]

resources = st.one_of(
    st.sampled_from([*NAMED_ACCOUNTS, "*"]).map(lambda each: {f"{ACCOUNT}.{each}": "*"}),
    st.sampled_from([*NAMED_ZONES, "*"]).map(lambda each: {f"{ZONE}.{each}": "*"}),
    st.sampled_from([*NAMED_ACCOUNTS, "*"]).map(lambda each: {f"{ACCOUNT}.{each}": {f"{ZONE}.*": "*"}}),
    st.just({f"{USER}.u": "*"}),
)
policies = st.lists(
    st.builds(
        lambda effect, some, groups: {
            "effect": effect,
            "resources": {key: value for each in some for key, value in each.items()},
            "permission_groups": [{"id": group.id} for group in groups],
        },
        st.sampled_from(["allow", "allow", "deny"]),
        st.lists(resources, min_size=1, max_size=3),
        st.lists(st.sampled_from(GROUPS), min_size=1, max_size=3),
    ),
    max_size=4,
)
reaches = st.builds(
    Reach,
    accounts=st.none() | st.frozensets(st.sampled_from(ACCOUNTS)),
    zones=st.frozensets(st.sampled_from(list(ZONES))),
    denied_accounts=st.frozensets(st.sampled_from(ACCOUNTS)),
    denied_zones=st.frozensets(st.sampled_from(list(ZONES))),
)


def touched(reach: Reach) -> set[str]:
    """All that a reach holds."""
    found = {account for account in ACCOUNTS if reach.has_account(account)}
    found |= {zone for zone, account in ZONES.items() if reach.has_zone(zone, account)}
    return found | ({"user"} if reach.user else set())


@given(own=policies, wanted=policies)
def test_nothing_is_granted_that_the_giver_does_not_hold(
    own: list[dict[str, Any]], wanted: list[dict[str, Any]]
) -> None:
    try:
        check_held(own, wanted, ZONES.get)
    except QanatError as error:
        assert error.code == "token_escalates"
        return
    for permission in PERMISSIONS:
        assert touched(reach_of(wanted, permission)) <= touched(reach_of(own, permission))


@given(own=policies)
def test_everybody_may_grant_what_they_hold(own: list[dict[str, Any]]) -> None:
    check_held(own, own, ZONES.get)


@given(some=policies, more=policies)
def test_a_denial_only_takes_away_and_an_allowance_only_adds(
    some: list[dict[str, Any]], more: list[dict[str, Any]]
) -> None:
    for permission in PERMISSIONS:
        before = touched(reach_of(some, permission))
        denied = [{**policy, "effect": "deny"} for policy in more]
        allowed = [{**policy, "effect": "allow"} for policy in more]
        assert (
            touched(reach_of([*some, *denied], permission))
            <= before
            <= touched(reach_of([*some, *allowed], permission))
        )


@given(some=policies)
def test_edit_implies_read_and_order_does_not_matter(some: list[dict[str, Any]]) -> None:
    for permission in PERMISSIONS:
        reach = reach_of(some, permission)
        assert touched(reach) == touched(reach_of(some[::-1], permission))
        if permission.endswith(".edit") and not any(policy["effect"] == "deny" for policy in some):
            read = permission.replace(".edit", ".read")
            assert touched(reach) <= touched(reach_of(some, read))  # type: ignore[arg-type]


@given(reach=reaches)
def test_queries_filter_by_the_same_rule(reach: Reach) -> None:
    with Session(_engine()) as session:
        accounts = set(session.scalars(select(Account.id).where(reach.accounts_where(Account.id))))
        zones = set(session.scalars(select(Zone.id).where(reach.zones_where(Zone.id, Zone.account_id))))
    assert accounts | zones == touched(reach)


def _engine() -> Any:
    if not _MADE:
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine, tables=[Base.metadata.tables[name] for name in ("accounts", "zones")])
        with engine.begin() as connection:
            now = utc_now()
            connection.execute(
                insert(Account), [{"id": each, "name": each, "settings": {}, "created_at": now} for each in ACCOUNTS]
            )
            connection.execute(
                insert(Zone),
                [
                    {
                        "id": zone,
                        "account_id": account,
                        "name": f"{zone}.test",
                        "paused": False,
                        "type": "full",
                        "created_at": now,
                        "modified_at": now,
                    }
                    for zone, account in ZONES.items()
                ],
            )
        _MADE.append(engine)
    return _MADE[0]


_MADE: list[Any] = []
