"""Who gets in, and what a session is good for."""

import httpx
import pytest

from qanat.auth import issue
from tests.support.control import Control
from tests.support.dashboard import Visitor, shown
from tests.support.writes import written


def test_a_stranger_is_led_to_the_sign_in_page(stranger: Visitor) -> None:
    answer = stranger.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert "API token" in shown(stranger.page("/sign-in"))


def test_a_good_token_becomes_a_session_that_scripts_and_other_sites_cannot_use(stranger: Visitor) -> None:
    answer = stranger.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert stranger.control.token not in answer.headers["set-cookie"]
    assert stranger.get("/").status_code == 200


def test_each_sign_in_makes_a_new_session_key(control: Control, stranger: Visitor) -> None:
    planted = "planted-by-somebody-else"
    stranger.http.cookies.set("qanat", planted, domain="127.0.0.1")
    answer = stranger.sign_in()
    assert planted not in answer.headers["set-cookie"]
    assert stranger.http.get("/", headers={"cookie": f"qanat={planted}"}).status_code == 303


@pytest.mark.parametrize("token", ["", "qnt_" + "a" * 36, "zzz", "<b>z</b>"])
def test_a_bad_token_is_refused_and_not_shown(stranger: Visitor, token: str) -> None:
    answer = stranger.sign_in(token)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    if token:
        assert token not in answer.text


def test_a_session_ends_with_its_token(control: Control, stranger: Visitor) -> None:
    text, row = written(control.store, issue, name="short-lived")
    stranger.sign_in(text)
    assert stranger.get("/").status_code == 200
    control.call("DELETE", f"/user/tokens/{row.id}")
    assert stranger.get("/").status_code == 303


def test_signing_out_ends_the_session_on_the_server(me: Visitor) -> None:
    key = me.http.cookies["qanat"]
    assert me.post("/sign-out").status_code == 303
    assert me.http.get("/", headers={"cookie": f"qanat={key}"}).status_code == 303


def test_a_form_without_the_sessions_own_token_does_nothing(me: Visitor) -> None:
    assert me.post("/sign-out", csrf="").status_code == 403
    assert me.post("/sign-out", csrf="another").status_code == 403
    assert me.get("/").status_code == 200


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}]
)
def test_another_site_cannot_sign_anybody_in(control: Control, stranger: Visitor, headers: dict[str, str]) -> None:
    answer = stranger.http.post("/sign-in", data={"token": control.token}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_every_answer_forbids_inline_scripts_other_hosts_and_frames(me: Visitor) -> None:
    for answer in (me.get("/"), me.get("/sign-in"), me.get("/nowhere"), me.get("/static/0/dashboard.css")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert me.get("/").headers["cache-control"] == "no-store"


@pytest.mark.requirement("S36")
def test_a_name_that_was_made_to_point_here_gets_no_page(me: Visitor) -> None:
    answer = me.http.get("/", headers={"host": "rebound.example"})
    assert answer.status_code == 421


def test_a_page_that_is_not_there_says_so(me: Visitor) -> None:
    answer = me.get("/nowhere")
    assert answer.status_code == 404
    assert "there is no such page" in shown(answer.text)


def test_programs_are_still_answered_in_json(control: Control) -> None:
    answer = httpx.get(
        control.url.removesuffix("/client/v4") + "/zones",
        headers={"authorization": f"Bearer {control.token}"},
        trust_env=False,
        verify=False,
    )
    assert answer.headers["content-type"] == "application/json"
    assert answer.status_code == 404


def test_files_are_named_by_their_content_and_kept_for_ever(me: Visitor) -> None:
    page = me.page("/")
    found = [part.split('"')[0] for part in page.split('href="')[1:] if part.startswith("/static/")]
    assert found
    for path in found:
        answer = me.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        tag = path.split("/")[2]
        assert me.get(path.replace(tag, "0" * 16)).status_code == 404
