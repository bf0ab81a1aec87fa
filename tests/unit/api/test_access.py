import json
from typing import Any

import httpx
import pytest

from qanat.auth import issue
from qanat.store import SYSTEM
from qanat.store.models import Account
from tests.support.control import Control, check_failure
from tests.support.writes import written


def _answer(control: Control, path: str, headers: dict[str, str]) -> tuple[int, int, list[int]]:
    answer = httpx.get(control.url + path, headers=headers, verify=False)
    check_failure(answer)
    error = answer.json()["errors"][0]
    return answer.status_code, error["code"], [each["code"] for each in error.get("error_chain", [])]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (400, 6003, [6112])),
        ({"authorization": "Basic eDp5"}, (400, 6003, [6111])),
        ({"authorization": "Bearer"}, (400, 6003, [6111])),
        ({"authorization": "Bearer nonsense"}, (403, 9109, [])),
        ({"x-auth-key": "0" * 37, "x-auth-email": "a@example.test"}, (403, 9103, [])),
        ({"x-auth-key": "0" * 36, "x-auth-email": "a@example.test"}, (400, 6003, [6103])),
        ({"x-auth-key": "A" * 37, "x-auth-email": "a@example.test"}, (400, 6003, [6103])),
        ({"x-auth-email": "a@example.test"}, (400, 6003, [6103])),
        ({"x-auth-key": "0" * 37}, (400, 6003, [6102])),
        ({"x-auth-key": "0" * 37, "x-auth-email": "nobody"}, (400, 6003, [6102])),
        ({"x-auth-user-service-key": "v1.0-x"}, (403, 10000, [])),
    ],
)
def test_bad_credentials(control: Control, headers: dict[str, str], expected: tuple[int, int, list[int]]) -> None:
    for path in ("/zones", "/no-such-endpoint", "/qanat/status", "/qanat/openapi.json"):
        assert _answer(control, path, headers) == expected


def test_a_bad_token_on_verify(control: Control) -> None:
    assert _answer(control, "/user/tokens/verify", {"authorization": "Bearer nonsense"}) == (401, 1000, [])


def test_a_good_token_on_verify(control: Control) -> None:
    result = control.call("GET", "/user/tokens/verify")
    assert result["status"] == "active"
    assert len(result["id"]) == 32
    assert control.call("GET", f"/accounts/{control.account}/tokens/verify") == result
    assert control.call("GET", "/user")["email"]


def test_the_bearer_wins_over_key_and_email(control: Control) -> None:
    answer = control.http.get("/user", headers={"x-auth-key": "0" * 37, "x-auth-email": "a@example.test"})
    assert answer.status_code == 200


def _foreign_token(control: Control) -> str:
    with control.store.writing(SYSTEM) as write:
        write.session.add(Account(id="f" * 32, name="other", settings={}, created_at=write.at))
        write.audit("account.create", "f" * 32)
    text, _ = written(control.store, issue, name="other", account_id="f" * 32)
    return text


def test_another_accounts_things_are_not_there(control: Control) -> None:
    tunnel, zone = control.create_tunnel(), control.create_zone()
    record = control.create_record(zone["id"], name="app", type="A", content="192.0.2.1")
    control.http.headers["authorization"] = f"Bearer {_foreign_token(control)}"
    one = f"{control.tunnels()}/{tunnel['id']}"
    unknown = "/accounts/" + "0" * 32
    config = {"config": {"ingress": [{"service": "http_status:404"}]}}
    of_account: list[tuple[str, str, Any]] = [
        ("GET", f"/accounts/{control.account}", None),
        ("GET", control.tunnels(), None),
        ("POST", control.tunnels(), {"name": "mine"}),
        ("GET", one, None),
        ("PATCH", one, {"name": "mine"}),
        ("DELETE", one, None),
        ("GET", f"{one}/token", None),
        ("GET", f"{one}/connections", None),
        ("DELETE", f"{one}/connections", None),
        ("GET", f"{one}/connectors/{tunnel['id']}", None),
        ("GET", f"{one}/configurations", None),
        ("PUT", f"{one}/configurations", config),
    ]
    for method, path, body in of_account:
        there = control.refused(method, path, body)
        nowhere = control.refused(method, path.replace(f"/accounts/{control.account}", unknown), body)
        assert there == nowhere == (404, 7003, "no such account")
    of_zone: list[tuple[str, str, Any]] = [
        ("GET", f"/zones/{zone['id']}", None),
        ("PATCH", f"/zones/{zone['id']}", {"paused": True}),
        ("DELETE", f"/zones/{zone['id']}", None),
        ("GET", f"/zones/{zone['id']}/dns_records", None),
        ("POST", f"/zones/{zone['id']}/dns_records", {"name": "x", "type": "A", "content": "192.0.2.2"}),
        ("GET", f"/zones/{zone['id']}/dns_records/{record['id']}", None),
        ("PUT", f"/zones/{zone['id']}/dns_records/{record['id']}", {"name": "x", "type": "A", "content": "192.0.2.2"}),
        ("PATCH", f"/zones/{zone['id']}/dns_records/{record['id']}", {"ttl": 60}),
        ("DELETE", f"/zones/{zone['id']}/dns_records/{record['id']}", None),
    ]
    for method, path, body in of_zone:
        assert control.refused(method, path, body)[:2] == (404, 7003)
    assert control.refused("GET", f"/qanat/tunnels/{tunnel['id']}")[0] == 404
    assert control.call("GET", "/zones") == []
    assert [each["id"] for each in control.call("GET", "/accounts")] == ["f" * 32]


def test_a_zone_next_to_another_accounts_is_refused(control: Control) -> None:
    control.create_zone("example.test")
    token = _foreign_token(control)
    control.http.headers["authorization"] = f"Bearer {token}"
    for name in ("example.test", "sub.example.test", "EXAMPLE.test."):
        assert control.refused("POST", "/zones", {"name": name})[:2] == (400, 1061)
    control.create_zone("notexample.test")


def test_a_record_can_not_point_to_another_accounts_tunnel(control: Control) -> None:
    tunnel = control.create_tunnel()
    control.http.headers["authorization"] = f"Bearer {_foreign_token(control)}"
    zone = control.create_zone("other.test")
    refusal = control.refused(
        "POST",
        f"/zones/{zone['id']}/dns_records",
        {"name": "app", "type": "CNAME", "content": f"{tunnel['id']}.cfargotunnel.com", "proxied": True},
    )
    assert refusal[:2] == (400, 9007)


def test_no_answer_and_no_audit_row_holds_a_secret(control: Control) -> None:
    secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="
    tunnel = control.create_tunnel(tunnel_secret=secret)
    one = f"{control.tunnels()}/{tunnel['id']}"
    for path in (control.tunnels(), one, f"{one}/configurations", f"/qanat/tunnels/{tunnel['id']}"):
        answer = control.http.get(path)
        assert secret not in answer.text
        assert "tunnel_secret" not in json.dumps(answer.json())
