"""`/qanat/users`: people get no more than whoever lets them in holds, and what lets them in is told once."""

from typing import Any

import httpx
import pytest

from qanat.auth import issue
from qanat.control import roles
from qanat.store.models import Audit
from tests.support.control import Control
from tests.support.people import PASSWORD, quick_passwords
from tests.support.writes import written


@pytest.fixture
def people(control: Control) -> Control:
    control.context.passwords = quick_passwords()
    return control


def add(control: Control, email: str = "mir@example.com", role: str = "operator", **more: object) -> Any:
    return control.call("POST", "/qanat/users", {"email": email, "role": role, "account": control.account, **more})


def test_the_life_of_a_user(people: Control) -> None:
    made = add(people)
    assert made["one_time_token"]
    assert (made["roles"], made["has_password"]) == ({people.account: "operator"}, False)
    path = f"/qanat/users/{made['id']}"
    shown = people.call("GET", path)
    assert "one_time_token" not in shown
    assert shown["email"] == "mir@example.com"
    assert [each["id"] for each in people.call("GET", "/qanat/users")][1:] == [made["id"]]
    assert people.call("PUT", f"{path}/role", {"account": people.account, "role": "viewer"})["roles"] == {
        people.account: "viewer"
    }
    assert people.call("PUT", f"{path}/role", {"account": "*", "role": "owner"})["roles"] == {
        people.account: "viewer",
        "*": "owner",
    }
    assert people.call("PUT", f"{path}/role", {"account": "*", "role": None})["roles"] == {people.account: "viewer"}
    assert people.call("PATCH", path, {"disabled": True})["disabled"]
    done = people.call("POST", f"{path}/reset", {"password": PASSWORD})
    assert (done["has_password"], done["one_time_token"]) == (True, None)
    assert people.call("POST", f"{path}/reset", {})["one_time_token"]
    assert people.call("DELETE", path) == {"id": made["id"]}
    assert people.refused("GET", path)[:2] == (404, 7003)


def test_no_password_or_one_time_token_is_in_the_audit_log(people: Control) -> None:
    token = add(people)["one_time_token"]
    add(people, "other@example.com", password=PASSWORD)
    with people.store.reading() as session:
        details = " ".join(row.detail for row in session.query(Audit))
    assert PASSWORD not in details
    assert token not in details
    assert "mir@example.com" in details


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"role": "root"}, 1001),
        ({"email": "nobody"}, 1001),
        ({"email": "owner@qanat.invalid"}, 1001),
        ({"password": "short"}, 1001),
        ({"account": "f" * 32}, 7003),
    ],
)
def test_what_a_user_cannot_be(people: Control, change: dict[str, str], code: int) -> None:
    body = {"email": "mir@example.com", "role": "viewer", "account": people.account, **change}
    assert people.refused("POST", "/qanat/users", body)[1] == code


@pytest.mark.requirement("S34")
def test_an_admins_token_manages_users_below_owners_and_of_its_own_account(people: Control) -> None:
    text, _ = written(
        people.store, issue, name="admin", policies=[dict(each) for each in roles.granting(people.account, "admin")]
    )
    owner = people.call("GET", "/qanat/users")[0]["id"]
    headers = {"authorization": f"Bearer {text}"}

    def ask(method: str, path: str, body: object = None) -> int:
        return httpx.request(method, people.url + path, json=body, headers=headers, verify=False).status_code

    one = {"email": "a@example.com", "role": "admin", "account": people.account}
    assert ask("POST", "/qanat/users", one) == 200
    assert ask("POST", "/qanat/users", {**one, "email": "o@example.com", "role": "owner"}) == 403
    assert ask("POST", "/qanat/users", {**one, "email": "o@example.com", "account": "*"}) == 403
    assert ask("GET", f"/qanat/users/{owner}") == 404, "who is nobody of the account isn't seen"
    mine = add(people, "owner2@example.com", "owner")["id"]
    for method, path, body in (
        ("PATCH", "", {"disabled": True}),
        ("PUT", "/role", {"account": people.account, "role": "viewer"}),
        ("POST", "/reset", {}),
        ("DELETE", "", None),
    ):
        assert ask(method, f"/qanat/users/{mine}{path}", body) == 403, (method, path)
