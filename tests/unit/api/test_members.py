"""Members of an account, as a stock client adds, changes and removes them: users with one of our roles."""

from collections.abc import Iterator
from typing import Any

import cloudflare
import pytest

from qanat.api.v4.role_shapes import ROLE_ID, role_id
from qanat.control import users
from qanat.control.policies import EVERYTHING_POLICY
from qanat.store.reach import EVERYTHING
from tests.support.control import Control
from tests.support.writes import written


@pytest.fixture
def sdk(control: Control) -> Iterator[Any]:
    """The Python SDK, which reads every answer by its own types."""
    with cloudflare.Cloudflare(
        api_token=control.token, base_url=control.url, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.mark.filterwarnings("ignore:Use /accounts:DeprecationWarning")
def test_a_stock_client_adds_changes_and_removes_members(control: Control, sdk: Any) -> None:
    account = control.account
    roles = {each.id: each for each in sdk.accounts.roles.list(account_id=account)}
    assert set(roles) == {role_id("owner"), role_id("admin"), role_id("operator"), role_id("viewer")}
    assert (
        roles[role_id("operator")].permissions.dns_records.write,
        roles[role_id("viewer")].permissions.zones.write,
    ) == (
        True,
        False,
    )
    assert sdk.accounts.roles.get(ROLE_ID, account_id=account).name.startswith("Super Administrator")
    made = sdk.accounts.members.create(account_id=account, email="mir@example.com", roles=[role_id("viewer")])
    assert (made.status, made.user.email, [each.id for each in made.roles]) == (
        "accepted",
        "mir@example.com",
        [role_id("viewer")],
    )
    assert sdk.accounts.members.get(made.id, account_id=account) == made
    changed = sdk.accounts.members.update(made.id, account_id=account, roles=[roles[role_id("operator")].to_dict()])
    assert [each.id for each in changed.roles] == [role_id("operator")]
    with control.store.reading() as session:
        found = users.find_by_email(session, "mir@example.com")
        assert found is not None
        assert users.get(session, found.id).roles == {account: "operator"}
    assert [each.email for each in sdk.accounts.members.list(account_id=account)][-1] == "mir@example.com"
    assert sdk.accounts.members.delete(made.id, account_id=account).id == made.id
    assert "mir@example.com" not in [each.email for each in sdk.accounts.members.list(account_id=account)]
    again = sdk.accounts.members.create(account_id=account, email="MIR@example.com", roles=[role_id("admin")])
    assert again.id == made.id, "the user was still there, with another role"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"email": "a@example.com", "roles": []}, "one role"),
        ({"email": "a@example.com", "roles": [ROLE_ID, ROLE_ID]}, "one role"),
        ({"email": "a@example.com", "policies": [{"access": "allow"}]}, "no policies"),
        ({"email": "nonsense", "roles": [ROLE_ID]}, "email address"),
    ],
)
def test_what_is_no_member_of_ours_is_refused(control: Control, body: dict[str, Any], said: str) -> None:
    answer = control.http.post(f"accounts/{control.account}/members", json=body)
    assert answer.status_code == 400
    assert said in answer.text


def test_a_role_that_is_for_every_account_is_not_changed_from_one(control: Control) -> None:
    path = f"/accounts/{control.account}/members"
    [owner] = control.call("GET", path)
    for method, body in (("PUT", {"roles": [{"id": role_id("viewer")}]}), ("DELETE", None)):
        answer = control.http.request(method, f"{path.lstrip('/')}/{owner['id']}", json=body)
        assert answer.status_code == 400
        assert "every account" in answer.text
    control.call("POST", path, {"email": "b@example.com", "roles": [role_id("viewer")]})
    answer = control.http.post(path.lstrip("/"), json={"email": "b@example.com", "roles": [role_id("admin")]})
    assert "member already" in answer.text


@pytest.mark.requirement("S34")
def test_nobody_gives_a_role_that_they_do_not_hold(control: Control) -> None:
    person = written(
        control.store,
        users.add,
        email="admin@example.com",
        account_id=control.account,
        role="admin",
        own=[EVERYTHING_POLICY],
    )
    path = f"accounts/{control.account}/members"
    groups = control.call("GET", f"/accounts/{control.account}/tokens/permission_groups")
    wanted = [{"id": each["id"]} for each in groups if each["name"] == "Account Settings Write"]
    resources = {f"com.cloudflare.api.account.{control.account}": "*"}
    policies = [{"effect": "allow", "resources": resources, "permission_groups": wanted}]
    token = control.call("POST", f"/accounts/{control.account}/tokens", {"name": "lesser", "policies": policies})[
        "value"
    ]
    headers = {"authorization": f"Bearer {token}"}
    answer = control.http.post(path, json={"email": "c@example.com", "roles": [ROLE_ID]}, headers=headers)
    assert answer.status_code == 403
    with control.store.reading() as session:
        assert [each.user.id for each in users.listed(session, reach=EVERYTHING)][-1] == person.user.id
