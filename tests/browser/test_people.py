"""People in a real browser: passkeys of a virtual device, codes of an app, and that what an owner changes holds at once."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pyotp
import pytest
from playwright.sync_api import expect

from qanat.auth import Guesses
from qanat.control import users
from qanat.control.policies import EVERYTHING_POLICY
from qanat.control.roles import Role
from tests.browser.conftest import Opener
from tests.browser.watched import Watched
from tests.support.control import Control, running_control
from tests.support.people import PASSWORD, quick_passwords
from tests.support.writes import written

pytestmark = pytest.mark.browser
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Control]:
    with running_control(tmp_path_factory.mktemp("people"), dashboard=True) as running:
        running.context.passwords = quick_passwords()
        running.context.guesses = Guesses(limit=10**9)
        yield running


Entering = Callable[..., Watched]
Shoot = Callable[[Any, str], None]


@pytest.fixture
def somebody(control: Control, open_page: Opener) -> Entering:
    """A new user with a role, signed in by their password, at `localhost`: passkeys need a name."""

    def enters(email: str, role: Role = "viewer", *, place: str = "*") -> Watched:
        person = written(control.store, users.add, email=email, account_id=place, role=role, own=[EVERYTHING_POLICY])
        written(control.store, users.set_password, person.user.id, control.context.passwords.hashed(PASSWORD))
        watched = open_page(control.url.removesuffix("/client/v4").replace("127.0.0.1", "localhost"))
        watched.page.set_default_timeout(WAIT_MS)
        sign_in(watched.page, email)
        return watched

    return enters


def sign_in(page: Any, email: str) -> None:
    page.goto("/sign-in")
    page.get_by_label("Email address").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Any) -> None:
    page.evaluate("document.querySelector('form[action=\"/sign-out\"]').submit()")
    page.wait_for_url("**/sign-in")


def device_of(watched: Watched, *, verifies: bool = True) -> tuple[Any, str]:
    """A virtual authenticator, by Chromium's own protocol, and its id."""
    cdp = watched.context.new_cdp_session(watched.page)
    cdp.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": verifies,
        "automaticPresenceSimulation": True,
    }
    return cdp, cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]


def test_a_passkey_is_made_and_signs_in_alone_and_after_the_password(
    somebody: Entering, axe: str, shoot: Shoot
) -> None:
    watched = somebody("passkey@example.com")
    page = watched.page
    cdp, device = device_of(watched)
    page.goto("/me")
    page.get_by_label("A name for it").fill("<b>Laptop</b>")
    page.locator("#passkey-current").fill(PASSWORD)
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    shoot(page, "recovery-codes-light")
    page.goto("/me")
    expect(page.get_by_role("table", name="Your passkeys")).to_contain_text("<b>Laptop</b>")
    assert watched.axe(axe) == []
    shoot(page, "me-light")
    sign_out(page)
    shoot(page, "sign-in-light")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(lambda url: url.endswith("/"))
    sign_out(page)
    sign_in(page, "passkey@example.com")
    page.wait_for_url("**/sign-in/code*")
    assert watched.axe(axe) == []
    shoot(page, "code-light")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(lambda url: url.endswith("/"))
    page.goto("/me")
    expect(page.get_by_role("table", name="Your passkeys")).not_to_contain_text("never")
    page.locator("summary[aria-label^='Change <b>']").click()
    page.locator("form[action$='/name'] input[name=name]").fill("Phone")
    page.get_by_role("button", name="Rename it").click()
    expect(page.get_by_role("table", name="Your passkeys")).to_contain_text("Phone")
    page.locator("summary[aria-label='Change Phone']").click()
    page.locator("form[action$='/remove'] input[name=current]").fill(PASSWORD)
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_role("table", name="Your passkeys")).to_have_count(0)
    sign_out(page)
    watched.expected.append("401")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("alert").first).to_contain_text("isn't known here")
    cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": device})


def test_an_app_and_its_recovery_codes_are_asked_for(somebody: Entering, shoot: Shoot) -> None:
    watched = somebody("app@example.com")
    page = watched.page
    planted = {"name": "qanat", "value": "planted", "url": page.url}
    page.goto("/me")
    page.locator("#app-current").fill(PASSWORD)
    page.get_by_role("button", name="Set up an app").click()
    shoot(page, "authenticator-light")
    secret = page.locator("code", has_text=re.compile(r"^[A-Z2-7 ]{19,}$")).inner_text().replace(" ", "")
    page.get_by_label("The code that the app shows now").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="That's it").click()
    listed = page.get_by_role("list", name="Recovery codes").locator("code")
    expect(listed).to_have_count(10)
    codes = listed.all_inner_texts()
    sign_out(page)
    watched.context.add_cookies([planted])
    watched.expected.append("401")
    sign_in(page, "app@example.com")
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert").first).to_contain_text("isn't good")
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(lambda url: url.endswith("/"))
    cookies = {each["name"]: each["value"] for each in watched.context.cookies()}
    assert cookies["qanat"] != "planted", "nobody uses a session that another has planted"
    page.goto("/me")
    expect(page.locator("main")).to_contain_text("9 of your recovery codes are left")
    expect(page.get_by_role("table", name="Your sessions")).to_contain_text("this one")


def test_what_an_owner_changes_holds_at_once_in_an_open_session(control: Control, somebody: Entering) -> None:
    owner, member = (
        somebody("owner@example.com", "owner"),
        somebody("member@example.com", "admin", place=control.account),
    )
    member.page.goto("/tokens")
    expect(member.page.get_by_role("heading", name="Make a token")).to_be_visible()
    page = owner.page
    page.goto("/users")
    page.locator("summary[aria-label='Change member@example.com']").click()
    sheet = page.locator("tr", has_text="member@example.com")
    sheet.get_by_label("Role", exact=True).select_option("viewer")
    sheet.get_by_role("button", name="Set the role").click()
    expect(page.locator("tr", has_text="member@example.com").locator("td[data-label=here]")).to_have_text("viewer")
    member.expected.append("403")
    member.page.locator("form[action='/tokens'] input[name=name]").fill("more than a viewer")
    member.page.locator("#of").select_option("account")
    member.page.get_by_role("button", name="Make it").click()
    expect(member.page.get_by_role("alert").first).to_be_visible()
    page.goto("/users")
    owner.expected.append("409")
    page.locator("summary[aria-label='Change owner@example.com']").click()
    mine = page.locator("tr", has_text="owner@example.com")
    mine.get_by_role("button", name="Shut out").click()
    expect(page.get_by_role("alert").first).to_contain_text("nobody shuts themselves out")


def test_a_form_of_another_session_changes_nothing(somebody: Entering) -> None:
    one, other = somebody("one@example.com", "owner"), somebody("two@example.com", "owner")
    token = other.page.locator("meta[name=csrf]").get_attribute("content")
    answer = one.page.request.post("/me/sessions/end", form={"csrf": token})
    assert answer.status == 403
    answer = one.page.request.post(
        "/sign-in", form={"email": "a", "password": "b"}, headers={"origin": "https://evil.example"}
    )
    assert answer.status == 403
