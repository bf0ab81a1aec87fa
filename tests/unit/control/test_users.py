"""Users and roles: a role is a set of grants, nobody gives what they don't hold, and one owner stays."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from qanat.auth import issue
from qanat.control import accounts, roles, users
from qanat.control.api_tokens import Owner
from qanat.control.grants import check_held
from qanat.control.policies import EVERYTHING_POLICY, account_policy, reach_of
from qanat.control.roles import ROLES, Role
from qanat.errors import QanatError
from qanat.store import Store
from qanat.store.models import ApiToken
from qanat.store.reach import EVERYTHING, PERMISSIONS, Permission
from tests.support.writes import written

A, B = "a" * 32, "b" * 32
READS: set[Permission] = {"account.read", "tunnel.read", "zone.read", "dns.read", "edge.read"}
HELD: dict[Role, set[Permission]] = {
    "owner": set(PERMISSIONS) - {"user.read", "user.edit"},
    "admin": set(PERMISSIONS) - {"user.read", "user.edit", "edge.edit"},
    "operator": READS | {"tunnel.edit", "dns.edit", "audit.read", "request.read", "request.edit"},
    "viewer": READS,
}


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(QanatError) as raised:
        act()
    return raised.value.code


@pytest.mark.requirement("S34")
@pytest.mark.parametrize("role", ROLES)
def test_a_role_holds_these_permissions_in_its_account_and_no_others(role: Role) -> None:
    policies = roles.policies("u" * 32, [(A, role)])
    for permission in PERMISSIONS:
        reach = reach_of(policies, permission)
        assert reach.has_account(A) is (permission in HELD[role]) or permission.startswith("user."), permission
        assert not reach.has_account(B), permission
        assert reach.user is (permission.startswith(("user.", "token."))), permission
    assert reach_of(roles.policies("u" * 32, [("*", role)]), "tunnel.read").is_everything


def test_each_role_holds_what_the_next_one_holds() -> None:
    for higher, lower in pairwise(ROLES):
        check_held(roles.policies("u", [(A, higher)]), roles.granting(A, lower), lambda _: None)
        with pytest.raises(QanatError):
            check_held(roles.policies("u", [(A, lower)]), roles.granting(A, higher), lambda _: None)


def test_nobody_gives_or_takes_a_role_that_they_do_not_hold(store: Store, account: str) -> None:
    other = written(store, accounts.create, name="other").id
    admin = roles.policies("x" * 32, [(account, "admin")])
    add: dict[str, Any] = {"email": "mir@example.com", "account_id": account}
    assert refused(lambda: written(store, users.add, **add, role="owner", own=admin)) == "token_escalates"
    elsewhere: dict[str, Any] = {"email": "mir@example.com", "account_id": other, "role": "viewer"}
    assert refused(lambda: written(store, users.add, **elsewhere, own=admin)) == "token_escalates"
    everywhere: dict[str, Any] = {"email": "mir@example.com", "account_id": "*", "role": "viewer"}
    assert refused(lambda: written(store, users.add, **everywhere, own=admin)) == "token_escalates"
    viewer = written(store, users.add, **add, role="viewer", own=admin)
    owner = written(store, users.add, email="o@example.com", account_id=account, role="owner", own=[EVERYTHING_POLICY])
    to_admin: dict[str, Any] = {"account_id": account, "role": "admin", "own": admin}
    assert refused(lambda: written(store, users.set_role, owner.user.id, **to_admin)) == "token_escalates"
    assert refused(lambda: written(store, users.remove, owner.user.id, own=admin, heir="x")) == "token_escalates"
    assert written(store, users.set_role, viewer.user.id, **to_admin).roles == {account: "admin"}
    assert refused(lambda: written(store, users.add, **add, role="viewer", own=admin)) == "user_bad_field"
    assert (
        refused(lambda: written(store, users.add, **{**add, "email": "no address"}, role="viewer", own=admin))
        == "user_bad_field"
    )
    assert refused(lambda: roles.check("root")) == "user_bad_role"


def test_the_last_owner_stays(store: Store) -> None:
    with store.reading() as session:
        first = users.listed(session, reach=EVERYTHING)[0]
    assert first.roles == {"*": "owner"}
    own = {"own": [EVERYTHING_POLICY]}
    for act in (
        lambda: written(store, users.set_role, first.user.id, account_id="*", role="admin", **own),
        lambda: written(store, users.set_disabled, first.user.id, disabled=True, **own),
        lambda: written(store, users.remove, first.user.id, heir="x", **own),
    ):
        assert refused(act) == "user_last_owner"
    second = written(store, users.add, email="mir@example.com", account_id="*", role="owner", **own).user
    assert refused(lambda: written(store, users.remove, second.id, heir=second.id, **own)) == "user_is_self"
    written(store, users.remove, first.user.id, heir=second.id, **own)
    with store.reading() as session:
        assert [each.user.id for each in users.listed(session, reach=EVERYTHING)] == [second.id]


def test_tokens_lose_with_their_user_what_the_role_no_longer_gives(store: Store, account: str) -> None:
    own = {"own": [EVERYTHING_POLICY]}
    mir = written(store, users.add, email="mir@example.com", account_id=account, role="admin", **own).user

    def token(policies: list[object], owner: Owner) -> str:
        return written(store, issue, name="t", policies=policies, owner=owner)[1].id  # type: ignore[arg-type]

    of_user, of_account = Owner(user_id=mir.id), Owner(user_id=mir.id, account_id=account)
    reading = token(list(roles.granting(account, "viewer")), of_user)
    writing = token(list(roles.granting(account, "admin")), of_user)
    accounts_own = token([account_policy(account)], of_account)

    def disabled() -> dict[str, bool]:
        with store.reading() as session:
            return {row.id: row.disabled for row in session.query(ApiToken)}

    written(store, users.set_role, mir.id, account_id=account, role="viewer", **own)
    assert disabled() == {reading: False, writing: True, accounts_own: False}
    written(store, users.set_disabled, mir.id, disabled=True, **own)
    assert disabled() == {reading: True, writing: True, accounts_own: False}
    with store.reading() as session:
        first = accounts.first_user(session).id
    written(store, users.remove, mir.id, heir=first, **own)
    assert disabled() == {accounts_own: False}
    with store.reading() as session:
        kept = session.get(ApiToken, accounts_own)
        assert kept is not None
        assert kept.user_id == first


def test_users_of_other_accounts_are_not_seen(store: Store, account: str) -> None:
    other = written(store, accounts.create, name="other").id
    own = {"own": [EVERYTHING_POLICY]}
    here = written(store, users.add, email="here@example.com", account_id=account, role="admin", **own).user.id
    there = written(store, users.add, email="there@example.com", account_id=other, role="admin", **own).user.id
    reach = reach_of(roles.policies(here, [(account, "admin")]), "account.read")
    with store.reading() as session:
        assert [each.user.id for each in users.listed(session, reach=reach)] == [here]
        assert refused(lambda: users.visible(session, there, reach=reach)) == "user_unknown"
        assert refused(lambda: users.visible(session, "f" * 32, reach=reach)) == "user_unknown"
