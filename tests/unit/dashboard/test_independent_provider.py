"""Signing in by an OpenID provider that isn't ours (oidc-provider-mock, on Authlib): what both make of the same standards."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import oidc_provider_mock
import pytest
from oidc_provider_mock import User

from qanat.auth import Guesses
from qanat.control import users
from qanat.control.policies import EVERYTHING_POLICY
from qanat.settings.people import OidcSettings
from tests.support.control import Control, running_control
from tests.support.dashboard import Visitor, shown
from tests.support.writes import written

# what it uses of Authlib is on its way out there
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CLIENT, SECRET = "qanat", "a secret with : and %"


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """Its URL; it knows three people."""
    people = [
        User(sub="1", claims={"email": "invited@example.com", "email_verified": True}),
        User(sub="2", claims={"email": "staff@example.com", "email_verified": True, "groups": ["staff"]}),
        User(sub="3", claims={"email": "invited@example.com", "email_verified": False}),
    ]
    with oidc_provider_mock.run_server_in_thread(user_claims=people, require_nonce=True) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, provider: str) -> Iterator[Control]:
    folder: Path = tmp_path_factory.mktemp("independent")
    (folder / "client-secret").write_text(SECRET)
    with running_control(folder, dashboard=True) as running:
        running.context.guesses = Guesses(limit=10**9)
        running.context.oidc = OidcSettings(
            issuer=provider,
            client_id=CLIENT,
            client_secret_file=folder / "client-secret",
            admits="everyone",
            roles=("staff=operator",),
        )
        yield running


def come_back(who: Visitor, subject: str) -> httpx.Response:
    """There and back, as somebody whom the provider knows."""
    there = who.get("/sign-in/oidc")
    assert there.status_code == 303
    allowed = httpx.post(there.headers["location"], data={"sub": subject}, trust_env=False)
    assert allowed.status_code == 302, allowed.text
    query = {name: each[0] for name, each in parse_qs(urlsplit(allowed.headers["location"]).query).items()}
    return who.http.get("/sign-in/oidc/callback", params=query)


def test_who_was_invited_comes_in_by_a_verified_address(control: Control, stranger: Visitor) -> None:
    written(
        control.store,
        users.add,
        email="invited@example.com",
        account_id=control.account,
        role="viewer",
        own=[EVERYTHING_POLICY],
    )
    answer = come_back(stranger, "1")
    assert answer.status_code == 303, shown(answer.text)
    assert "invited@example.com" in stranger.page("/me")
    assert stranger.get("/audit").status_code == 403, "a viewer"


def test_a_group_of_the_provider_gives_a_role(control: Control, stranger: Visitor) -> None:
    assert come_back(stranger, "2").status_code == 303
    assert "staff@example.com" in stranger.page("/me")
    assert stranger.get("/audit").status_code == 200, "an operator"


def test_an_address_that_is_not_verified_makes_nobody_come_in(control: Control, stranger: Visitor) -> None:
    answer = come_back(stranger, "3")
    assert answer.status_code == 401
    assert "names no verified email address" in shown(answer.text)


def test_a_code_is_taken_once_and_by_the_browser_that_asked(control: Control, stranger: Visitor) -> None:
    there = stranger.get("/sign-in/oidc").headers["location"]
    allowed = httpx.post(there, data={"sub": "2"}, trust_env=False).headers["location"]
    query = {name: each[0] for name, each in parse_qs(urlsplit(allowed).query).items()}
    stranger.http.cookies.clear()
    assert stranger.http.get("/sign-in/oidc/callback", params=query).status_code == 401
