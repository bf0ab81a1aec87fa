"""People at the dashboard: how they get in, and that no session does what its role may not (security.md S34, S35)."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from html import unescape

import httpx
import pyotp
import pytest

from qanat.auth import Guesses, one_time
from qanat.control import accounts, roles, users
from qanat.control.policies import EVERYTHING_POLICY, reach_of
from qanat.control.roles import ROLES, Role
from qanat.dashboard.app import declared
from qanat.store.models import Audit, CertificateOrder, SignedIn
from tests.support.control import Control, running_control
from tests.support.dashboard import Visitor, shown, visitor
from tests.support.links import register
from tests.support.people import PASSWORD, quick_passwords
from tests.support.writes import written


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """With quick passwords, and nobody waits for having failed."""
    with running_control(tmp_path_factory.mktemp("people"), dashboard=True) as running:
        running.context.passwords = quick_passwords()
        running.context.guesses = Guesses(limit=10**9)
        yield running


@pytest.fixture(scope="module")
def by_role(control: Control) -> Iterator[dict[Role, Visitor]]:
    """Somebody of each role in the first account, signed in."""
    found = {role: somebody(control, f"{role}@example.com", role) for role in ROLES}
    yield found
    for each in found.values():
        each.http.close()


def somebody(control: Control, email: str, role: Role = "viewer", account: str | None = None) -> Visitor:
    place = account or control.account
    person = written(control.store, users.add, email=email, account_id=place, role=role, own=[EVERYTHING_POLICY])
    written(control.store, users.set_password, person.user.id, control.context.passwords.hashed(PASSWORD))
    made = visitor(control)
    assert enter(made, email).status_code == 303
    return made


def enter(who: Visitor, email: str, password: str = PASSWORD) -> httpx.Response:
    return who.http.post("/sign-in", data={"email": email, "password": password})


def csrf(who: Visitor) -> str:
    found = re.search(r'name="csrf" content="([^"]+)"', who.get("/nowhere").text)
    assert found is not None
    return unescape(found[1])


def once(page: str) -> str:
    """What a page shows once."""
    found = re.search(r'class="once".*?<code>(.*?)</code>', page, re.DOTALL)
    assert found is not None
    return unescape(found[1])


def test_a_new_edges_one_time_token_makes_its_first_user(control: Control, stranger: Visitor) -> None:
    with control.store.reading() as session:
        first = accounts.first_user(session).id
    token = written(control.store, one_time.make, first, "setup")
    form = {"token": token, "email": "mir@example.com", "password": PASSWORD, "again": PASSWORD}
    assert stranger.http.post("/enter", data={**form, "again": "something else"}).status_code == 400
    assert stranger.http.post("/enter", data={**form, "email": ""}).status_code == 400
    assert stranger.http.post("/enter", data=form, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    answer = stranger.http.post("/enter", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "mir@example.com" in shown(stranger.page("/me"))
    assert stranger.http.post("/enter", data=form).status_code == 401
    with visitor(control).http as other:
        assert other.post("/sign-in", data={"email": "mir@example.com", "password": PASSWORD}).status_code == 303


@pytest.mark.requirement("S35")
def test_each_step_of_signing_in_makes_a_new_cookie(control: Control) -> None:
    with closing((me := somebody(control, "factor@example.com")).http):
        page = me.post("/me/authenticator", csrf=csrf(me), current=PASSWORD).text
        secret = re.search(r"<code>([A-Z2-7 ]+)</code>", page)
        assert secret is not None
        assert "<svg" in page
        totp = pyotp.TOTP(secret[1].replace(" ", ""))
        assert me.post("/me/authenticator/confirm", csrf=csrf(me), code="000000").status_code == 401
        codes = me.post("/me/authenticator/confirm", csrf=csrf(me), code=totp.now()).text
        recovery = re.findall(r"<li><code>([a-z0-9-]+)</code>", codes)
        assert len(recovery) == 10
        seen = {me.http.cookies["qanat"]}
        assert enter(me, "factor@example.com").headers["location"] == "/sign-in/code"
        seen.add(me.http.cookies["qanat"])
        assert me.get("/me").headers["location"] == "/sign-in?next=%2Fme", "half a sign-in is none"
        assert me.http.post("/sign-in/code", data={"code": "000000"}).status_code == 401
        assert me.http.post("/sign-in/code", data={"code": recovery[0]}).headers["location"] == "/"
        seen.add(me.http.cookies["qanat"])
        assert len(seen) == 3
        assert "9 of your recovery codes" in shown(me.page("/me"))
        for old in seen - {me.http.cookies["qanat"]}:
            assert (
                httpx.get(
                    f"{str(me.http.base_url).rstrip('/')}/me", headers={"cookie": f"qanat={old}"}, verify=False
                ).status_code
                == 303
            )


def test_a_wrong_password_is_refused_without_telling_who_there_is(control: Control, stranger: Visitor) -> None:
    somebody(control, "there@example.com").http.close()
    answers = [
        stranger.http.post("/sign-in", data={"email": email, "password": "not the right one"})
        for email in ("there@example.com", "nobody@example.com")
    ]
    assert [each.status_code for each in answers] == [401, 401]
    told = [shown(each.text.replace("there@example.com", "X").replace("nobody@example.com", "X")) for each in answers]
    assert told[0] == told[1]
    assert "set-cookie" not in answers[0].headers


@pytest.mark.requirement("S34")
@pytest.mark.parametrize("role", ROLES)
def test_a_session_does_what_its_role_may_and_nothing_else(
    control: Control, by_role: dict[Role, Visitor], role: Role
) -> None:
    """Every page and every form that there is; a new one is asked for without being named here."""
    who = by_role[role]
    policies = roles.policies("u" * 32, [(control.account, role)])
    token = csrf(who)
    for page in declared():
        if page.path in ("/me/sessions/end",):
            continue
        path = re.sub(r"\{[^}]*\}", "f" * 32, page.path)
        may = all(
            reach.has_account(control.account) or (reach.user and each.startswith(("user.", "token.")))
            for each in page.needs
            for reach in [reach_of(policies, each)]
        )
        answer = who.get(path) if page.method == "GET" else who.http.post(path, data={"csrf": token})
        assert answer.status_code < 500, (page, answer.text)
        if may:
            assert answer.status_code != 401 or page.path.startswith("/me"), page
            # one's own tokens aren't the account's, of which the page of `tunnel login` makes one
            is_accounts = "on every account" in answer.text or page.path == "/argotunnel"
            assert answer.status_code != 403 or is_accounts, (page, shown(answer.text))
        else:
            assert answer.status_code == 403, page


@pytest.mark.requirement("S35")
def test_no_form_does_anything_without_its_sessions_token(control: Control, by_role: dict[Role, Visitor]) -> None:
    who, others = by_role["owner"], csrf(by_role["viewer"])
    with control.store.reading() as session:
        before = session.query(Audit).count()
    for page in declared():
        if page.method == "POST":
            path = re.sub(r"\{[^}]*\}", "f" * 32, page.path)
            for token in ("", others):
                assert who.http.post(path, data={"csrf": token}).status_code == 403, page
    with control.store.reading() as session:
        assert session.query(Audit).count() == before


def test_what_is_of_another_account_is_not_done_from_here(control: Control) -> None:
    """A role in one account gives nothing in another that is shown as well."""
    other = written(control.store, accounts.create, name="other").id
    with closing((me := somebody(control, "both@example.com", "viewer")).http):
        with control.store.reading() as session:
            found = users.find_by_email(session, "both@example.com")
        assert found is not None
        written(control.store, users.set_role, found.id, account_id=other, role="admin", own=[EVERYTHING_POLICY])
        token = csrf(me)
        for account, expected in ((control.account, 403), (other, 200)):
            assert me.post("/account", csrf=token, account=account).status_code == 303
            answer = me.post("/users", csrf=token, email=f"x{expected}@example.com", role="viewer")
            assert answer.status_code == expected, shown(answer.text)
        assert me.post("/account", csrf=token, account="f" * 32).status_code == 303
        assert me.get("/users").status_code == 200


def test_the_life_of_a_user_from_invitation_to_removal(control: Control, by_role: dict[Role, Visitor]) -> None:
    owner = by_role["owner"]
    token = csrf(owner)
    page = owner.post("/users", csrf=token, email="new@example.com", role="operator")
    invitation = once(page.text)
    assert invitation not in owner.page("/users")
    with visitor(control).http as http:
        form = {"token": invitation, "password": PASSWORD, "again": PASSWORD, "email": "other@example.com"}
        assert http.post("/enter", data=form).status_code == 303
        assert "new@example.com" in http.get("/me").text, "an invited user's address is whoever invited them said"
        with control.store.reading() as session:
            found = users.find_by_email(session, "new@example.com")
        assert found is not None
        path = f"/users/{found.id}"
        assert owner.post(f"{path}/role", csrf=token, role="viewer", account=control.account).status_code == 303
        assert owner.post(f"{path}/remove", csrf=token, name="somebody").status_code == 400
        assert owner.post(f"{path}/disabled", csrf=token, disabled="yes").status_code == 303
        assert http.get("/me").status_code == 303, "who is shut out is out"
    assert owner.post(f"{path}/remove", csrf=token, name="NEW@example.com").status_code == 303
    assert "new@example.com" not in owner.page("/users")


def test_a_password_is_changed_by_who_knows_it_and_ends_the_other_sessions(control: Control) -> None:
    with closing((here := somebody(control, "change@example.com")).http), closing((there := visitor(control)).http):
        enter(there, "change@example.com")
        form = {"password": "another good one", "again": "another good one"}
        assert here.post("/me/password", csrf=csrf(here), current="wrong", **form).status_code == 401
        assert here.post("/me/password", csrf=csrf(here), current=PASSWORD, **form).status_code == 200
        assert there.get("/me").status_code == 303
        assert here.get("/me").status_code == 200
        enter(there, "change@example.com", "another good one")
        assert here.post("/me/sessions/end", csrf=csrf(here)).status_code == 303
        assert there.get("/me").status_code == 303
    with control.store.reading() as session:
        rows = session.query(SignedIn).filter(SignedIn.user_agent.contains("httpx")).all()
    assert all(len(row.sha256) == 32 for row in rows)


def test_a_token_is_shown_once_and_holds_no_more_than_its_maker(control: Control, by_role: dict[Role, Visitor]) -> None:
    viewer, owner = by_role["viewer"], by_role["owner"]
    reading = "group-efea2ab8357b47888938f101ae5e053f"
    writing = "group-c07321b023e944ff818fec44d8203567"
    made = viewer.post("/tokens", csrf=csrf(viewer), name="<i>grafana</i>", of="me", days="30", **{reading: "yes"})
    value = once(made.text)
    assert "<i>grafana" not in made.text
    assert value not in viewer.page("/tokens")
    headers = {"authorization": f"Bearer {value}"}
    assert httpx.get(f"{control.url}{control.tunnels()}", headers=headers, verify=False).status_code == 200
    assert (
        httpx.post(f"{control.url}{control.tunnels()}", json={"name": "x"}, headers=headers, verify=False).status_code
        == 403
    )
    refused = viewer.post("/tokens", csrf=csrf(viewer), name="more", of="me", days="30", **{writing: "yes"})
    assert refused.status_code == 403
    assert (
        viewer.post("/tokens", csrf=csrf(viewer), name="more", of="account", days="30", **{reading: "yes"}).status_code
        == 403
    )
    account = owner.post(
        "/tokens", csrf=csrf(owner), name="ci", of="account", days="", **{"from": "192.0.2.0/24"}, **{writing: "yes"}
    )
    assert "192.0.2.0/24" in shown(account.text)
    token_id = re.findall(r"/tokens/([0-9a-f]{32})/delete", owner.page("/tokens"))[0]
    assert viewer.post(f"/tokens/{token_id}/delete", csrf=csrf(viewer)).status_code == 404
    assert once(owner.post(f"/tokens/{token_id}/roll", csrf=csrf(owner)).text) != once(account.text)
    assert owner.post(f"/tokens/{token_id}/disabled", csrf=csrf(owner), disabled="yes").status_code == 303
    assert "disabled" in shown(owner.page("/tokens"))
    assert owner.post(f"/tokens/{token_id}/delete", csrf=csrf(owner)).status_code == 303


@pytest.mark.requirement("S38")
def test_the_audit_log_is_searched_exported_and_verified(control: Control) -> None:
    with closing((me := somebody(control, "auditor@example.com", "owner", "*")).http):
        found = shown(me.page("/audit", action="user.sign_in"))
        assert "user.sign_in" in found
        assert "zone.create" not in found
        assert "user auditor@example.com" in found, "by name, where that may be seen"
        assert "user.sign_in" in shown(me.page("/audit", actor="Auditor@example.com"))
        assert "No row matches" in shown(me.page("/audit", actor="nobody@example.com"))
        assert me.get("/audit", since="yesterday").status_code == 400
        export = me.get("/audit/export", action="user")
        assert "attachment" in export.headers["content-disposition"]
        rows = [json.loads(line) for line in export.text.splitlines()]
        assert rows
        assert all(row["action"].startswith("user.") for row in rows)
        assert "The log is whole" in shown(me.post("/audit/verify", csrf=csrf(me)).text)
    with closing((other := somebody(control, "ops@example.com", "operator")).http):
        assert other.post("/audit/verify", csrf=csrf(other)).status_code == 403
        assert "auditor" not in other.get("/audit/export").text, "rows of no account are the owners'"


def test_certificates_are_listed_with_what_went_wrong_and_renewed_by_who_may(
    control: Control, by_role: dict[Role, Visitor]
) -> None:
    zone = {"name": "certified.test", "account": {"id": control.account}}
    zone_id = control.call("POST", "/zones", zone)["id"]
    order_id = "5b7c29f2-6a5e-4f43-9f5f-0f1b7c2f9a11"
    with control.store.recording() as write:
        order = CertificateOrder(id=order_id, name="app.certified.test", zone_id=zone_id, state="waiting", failures=2)
        order.sealed_secret = control.sealer.seal(b"key", order_id)
        order.error_code, order.error_reason, order.error_at = "acme_validation_failed", "<b>no answer</b>", write.at
        write.session.add(order)
    admin, operator = by_role["admin"], by_role["operator"]
    page = admin.page("/certificates", search="certified")
    assert "app.certified.test" in page
    assert "<b>no answer" not in page
    assert "<b>no answer" in shown(page)
    assert "Renew now" not in operator.page("/certificates")
    assert operator.post(f"/certificates/{order_id}/renew", csrf=csrf(operator)).status_code == 403
    assert admin.post(f"/certificates/{order_id}/renew", csrf=csrf(admin)).status_code == 303


def test_a_newcomer_makes_a_tunnel_and_sees_the_commands_and_its_state(
    control: Control, by_role: dict[Role, Visitor]
) -> None:
    operator = by_role["operator"]
    made = operator.post("/start", csrf=csrf(operator), name='<i>"web"</i>')
    where = made.headers["location"]
    tunnel_id = where.partition("=")[2]
    page = operator.page(where)
    assert "<i>" not in page
    for command in (
        "cloudflared tunnel --edge 127.0.0.1:7844",
        "qanat tunnel run",
        "docker run",
        "terraform apply",
        "cloud-init",
    ):
        assert command in shown(page), command
    assert "Nobody is connected yet" in shown(page)
    token = control.call("GET", f"{control.tunnels()}/{tunnel_id}/token")
    assert token not in page
    assert token in operator.post("/start/token", csrf=csrf(operator), tunnel=tunnel_id).text
    assert operator.get("/start", tunnel="f" * 32).status_code == 404
    register(control.store, tunnel_id, "f" * 8 + "-0000-4000-8000-" + "0" * 12)
    assert "1 connections of 1 connectors" in shown(operator.page(where))
