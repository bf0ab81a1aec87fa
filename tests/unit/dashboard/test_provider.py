"""Signing in by an OpenID provider at the dashboard: there and back in one browser, and every other way in beside it."""

import re
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from qanat.auth import Guesses
from qanat.control import users
from qanat.control.policies import EVERYTHING_POLICY
from qanat.settings.people import OidcSettings
from tests.support.control import Control, running_control
from tests.support.dashboard import Visitor, shown, visitor
from tests.support.openid import CLIENT, SECRET, OpenId, openid_provider
from tests.support.people import PASSWORD, quick_passwords
from tests.support.writes import written


@pytest.fixture(scope="module")
def openid() -> Iterator[OpenId]:
    with openid_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, openid: OpenId) -> Iterator[Control]:
    folder: Path = tmp_path_factory.mktemp("provider")
    (folder / "client-secret").write_text(SECRET)
    with running_control(folder, dashboard=True) as running:
        running.context.passwords = quick_passwords()
        running.context.guesses = Guesses(limit=10**9)
        running.context.oidc = OidcSettings(
            issuer=openid.url, client_id=CLIENT, client_secret_file=folder / "client-secret", label="Example <ID>"
        )
        yield running


@pytest.fixture(autouse=True)
def honest(openid: OpenId) -> None:
    openid.changed = {}


def invited(control: Control, email: str, password: str = "") -> str:
    person = written(
        control.store, users.add, email=email, account_id=control.account, role="viewer", own=[EVERYTHING_POLICY]
    )
    if password:
        written(control.store, users.set_password, person.user.id, control.context.passwords.hashed(password))
    return person.user.id


def begun(who: Visitor, **query: str) -> str:
    answer = who.get("/sign-in/oidc", **query)
    assert answer.status_code == 303
    return answer.headers["location"]


def back(who: Visitor, openid: OpenId, url: str, **changed: str) -> httpx.Response:
    """As the provider leads a browser back."""
    answer = {**openid.allow(url), **changed}
    return who.http.get("/sign-in/oidc/callback", params=answer, headers={"sec-fetch-site": "cross-site"})


def test_an_invited_user_comes_in_and_where_they_wanted_to(control: Control, stranger: Visitor, openid: OpenId) -> None:
    invited(control, "invited@example.com")
    openid.changed = {"email": "invited@example.com", "sub": "invited"}
    page = stranger.page("/sign-in", next="/tunnels")
    assert "Sign in with Example &lt;ID&gt;" in page
    url = begun(stranger, next="/tunnels")
    assert url.startswith(f"{openid.url}/authorize?")
    asked = parse_qs(urlsplit(url).query)
    assert asked["redirect_uri"] == [f"{str(stranger.http.base_url).rstrip('/')}/sign-in/oidc/callback"]
    stranger.http.cookies.set("qanat", "planted", domain="127.0.0.1")
    answer = back(stranger, openid, url)
    assert (answer.status_code, answer.headers["location"]) == (303, "/tunnels")
    assert "invited@example.com" in shown(stranger.page("/me"))
    left = stranger.post("/sign-out")
    assert left.headers["location"] == "/sign-in?left="
    assert "Sign out of Example" in shown(stranger.page("/sign-in", left=""))
    there = stranger.get("/sign-in/oidc/leave")
    assert there.headers["location"].startswith(f"{openid.url}/leave?client_id={CLIENT}&post_logout_redirect_uri=")


def test_what_another_browser_began_is_not_finished_here_nor_twice(
    control: Control, stranger: Visitor, openid: OpenId
) -> None:
    invited(control, "replay@example.com")
    openid.changed = {"email": "replay@example.com", "sub": "replay"}
    url = begun(stranger)
    with closing((victim := visitor(control)).http):
        assert back(victim, openid, url).status_code == 401, "nobody is signed in as another"
        begun(victim)
        assert back(victim, openid, url).status_code == 401, "nor with a sign-in of their own on the way"
        assert "qanat" not in victim.http.cookies
    assert back(stranger, openid, url, state="forged").status_code == 401
    url = begun(stranger)
    assert back(stranger, openid, url).status_code == 303
    assert back(stranger, openid, url).status_code == 401


def test_a_refusal_says_why_and_leaves_the_other_ways(control: Control, stranger: Visitor, openid: OpenId) -> None:
    openid.changed = {"email": "nobody@example.com", "sub": "nobody"}
    answer = back(stranger, openid, begun(stranger))
    assert answer.status_code == 401
    assert "nobody has invited this address" in answer.text
    assert 'name="password"' in answer.text
    told = {"error": "access_denied", "error_description": "<script>alert(1)</script>"}
    answer = back(stranger, openid, begun(stranger), **told)
    assert "<script>alert" not in answer.text
    assert "access_denied" in answer.text


def test_who_is_signed_in_links_their_account_after_their_password(
    control: Control, stranger: Visitor, openid: OpenId
) -> None:
    invited(control, "link@example.com", PASSWORD)
    openid.changed = {"email": "elsewhere@example.com", "sub": "linked"}
    stranger.http.post("/sign-in", data={"email": "link@example.com", "password": PASSWORD})
    assert stranger.post("/me/provider", current="not the right one").status_code == 401
    page = stranger.post("/me/provider", current=PASSWORD).text
    found = re.search(r'href="([^"]+/authorize[^"]+)"', page)
    assert found is not None
    url = unescape(found[1])
    assert back(stranger, openid, url).headers["location"] == "/me"
    assert "elsewhere@example.com" in shown(stranger.page("/me"))
    stranger.post("/sign-out")
    assert back(stranger, openid, begun(stranger)).headers["location"] == "/"
    assert stranger.post("/me/provider/remove", current=PASSWORD).status_code == 303
    assert back(stranger, openid, begun(stranger)).status_code == 401


def test_a_link_that_was_begun_is_of_that_session_alone(control: Control, stranger: Visitor, openid: OpenId) -> None:
    invited(control, "mine@example.com", PASSWORD)
    openid.changed = {"email": "theirs@example.com", "sub": "theirs"}
    credentials = {"email": "mine@example.com", "password": PASSWORD}
    stranger.http.post("/sign-in", data=credentials)
    found = re.search(r'href="([^"]+/authorize[^"]+)"', stranger.post("/me/provider", current=PASSWORD).text)
    assert found is not None
    stranger.http.post("/sign-in", data=credentials)
    assert "signed out in the meantime" in unescape(back(stranger, openid, unescape(found[1])).text)


def test_an_outage_of_the_provider_leaves_the_page_and_passwords(
    control: Control, stranger: Visitor, openid: OpenId
) -> None:
    invited(control, "local@example.com", PASSWORD)
    desk = control.beside
    assert desk is not None
    url = begun(stranger)
    openid.down = True
    try:
        answer = back(stranger, openid, url)
        assert answer.status_code == 503
        assert "answered 503" in answer.text
        signed = stranger.http.post("/sign-in", data={"email": "local@example.com", "password": PASSWORD})
        assert signed.headers["location"] == "/"
    finally:
        openid.down = False
