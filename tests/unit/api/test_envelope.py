from collections.abc import Iterator

import httpx
import pytest
import structlog

from qanat.control import accounts
from tests.support.control import Control, check_failure


@pytest.mark.parametrize(
    ("method", "path", "content", "expected"),
    [
        ("GET", "/no-such-endpoint", None, (404, 7000)),
        ("GET", "/zones//", None, (404, 7000)),
        ("GET", "/qanat/nothing", None, (404, 7000)),
        ("PUT", "/zones", b"{}", (405, 10405)),
        ("PATCH", "/accounts/0/cfd_tunnel", b"{}", (405, 10405)),
        ("POST", "/zones", None, (400, 6007)),
        ("POST", "/zones", b"", (400, 6007)),
        ("POST", "/zones", b"{", (400, 6007)),
        ("POST", "/zones", b"[]", (400, 6007)),
        ("POST", "/zones", b'"x"', (400, 6007)),
        ("POST", "/zones", b'{"name":5}', (400, 6007)),
        ("POST", "/zones", b'{"name":null}', (400, 6007)),
        ("POST", "/zones", b"\xff\xfe", (400, 6007)),
        ("POST", "/zones", b'{"name":"\\ud800.test"}', (400, 6007)),
        ("POST", "/zones", b'{"x":["\\u0000"],"name":"a.test"}', (400, 6007)),
        ("POST", "/zones", b'{"\\uDFFF":1,"name":"a.test"}', (400, 6007)),
        ("POST", "/zones", b"[" * 100_000, (400, 6007)),
        ("POST", "/zones", b'{"name":' * 100_000, (400, 6007)),
        ("POST", "/zones", b"1" * 10_000, (400, 6007)),
        ("POST", "/zones", b'{"name":"a.test","x":NaN}', (400, 6007)),
        ("POST", "/zones", b'{"name":"a.test","x":1e999}', (400, 6007)),
        ("POST", "/zones", b" " * (1024 * 1024 + 1), (400, 10413)),
    ],
)
def test_every_failure_is_an_envelope(
    control: Control, method: str, path: str, content: bytes | None, expected: tuple[int, int]
) -> None:
    answer = control.http.request(method, path, content=content)
    check_failure(answer)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == expected


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/zones", "GET, POST"),
        ("/accounts/0/cfd_tunnel", "GET, POST"),
        (f"/zones/{'0' * 32}/dns_records/{'0' * 32}", "DELETE, GET, PATCH, PUT"),
        ("/user/tokens/verify", "GET"),
        (f"/zones/{'0' * 32}/dns_records/batch", "POST"),
        ("/qanat/status", "GET"),
        ("/qanat/openapi.json", "GET, HEAD"),
        ("/tunnel", "POST"),
    ],
)
def test_a_method_that_is_not_there_names_those_that_are(control: Control, path: str, methods: str) -> None:
    """RFC 9110, 15.5.6."""
    answer = control.http.request("TRACE", path)
    check_failure(answer)
    assert answer.status_code == 405
    assert answer.headers["allow"] == methods


def test_a_body_of_unknown_length_is_bounded_too(control: Control) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 65536

    answer = control.http.post("/zones", content=endless())
    check_failure(answer)
    assert answer.json()["errors"][0]["code"] == 10413


def test_outside_of_the_prefix_there_is_nothing(control: Control) -> None:
    for path in ("/", "/docs", "/openapi.json", "/client/v5/zones", "/client/v4"):
        answer = httpx.get(control.url.removesuffix("/client/v4") + path, verify=False)
        check_failure(answer)
        assert answer.status_code == 404


def test_a_bug_of_ours_is_an_envelope_too(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise ZeroDivisionError("with details that nobody outside should see")

    monkeypatch.setattr(accounts, "get_user", fail)
    with structlog.testing.capture_logs() as log:
        answer = control.http.get("/user")
    check_failure(answer)
    assert answer.status_code == 500
    assert [(entry["event"], entry["path"]) for entry in log] == [("the API failed", "/client/v4/user")]
    assert "details" not in answer.text
    assert answer.headers["cf-ray"] in answer.text


def test_a_success_has_no_messages_and_no_charset(control: Control) -> None:
    answer = control.http.get("/accounts")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cf-ray"].endswith("-lab01")
    assert {key: answer.json()[key] for key in ("success", "errors", "messages")} == {
        "success": True,
        "errors": [],
        "messages": [],
    }


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/x"])
def test_a_body_is_json_whatever_it_is_called(control: Control, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = control.http.post("/zones", content=b'{"name":"example.test"}', headers=headers)
    assert answer.status_code == 200, answer.text


def test_bodies_where_none_belongs_are_ignored(control: Control) -> None:
    tunnel = control.create_tunnel()
    answer = control.http.request("DELETE", f"{control.tunnels()}/{tunnel['id']}", content=b"{}")
    assert answer.status_code == 200
    answer = control.http.request("GET", "/zones", content=b"not json", headers={"content-type": "application/json"})
    assert answer.status_code == 200


def test_what_qanat_does_not_have_is_counted_without_ids(control: Control) -> None:
    for account in ("0" * 32, "1" * 32):
        control.http.get(f"/accounts/{account}/magic/c1744f8b-faa1-48a4-9e5c-02ac921467fa")
    misses = control.call("GET", "/qanat/status")["unknown_endpoints"]
    assert misses == {"GET /client/v4/accounts/{id}/magic/{id}": 2}


def test_the_number_of_counted_endpoints_is_bounded(control: Control) -> None:
    for number in range(1100):
        control.context.miss(f"GET /{number}")
    assert len(control.context.misses) == 1001
    assert control.context.misses["…"] == 100
