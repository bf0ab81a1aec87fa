"""Where `tunnel login` ends: who may allow it, what for, and that only the client that asked gets the certificate, once."""

import re
import threading
from collections.abc import Callable, Iterator
from html import unescape
from secrets import token_urlsafe
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select

from qanat.auth import origin_certificates
from qanat.cli.stock.certificate import decode
from qanat.control import roles, users
from qanat.control.policies import EVERYTHING_POLICY
from qanat.dashboard import handing
from qanat.store.models import ApiToken, Audit, WaitingCertificate
from tests.support.clock import MovedClock
from tests.support.control import Control, running_control
from tests.support.dashboard import Visitor, shown
from tests.support.people import PASSWORD, quick_passwords
from tests.support.waiting import wait_until
from tests.support.writes import written


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with running_control(tmp_path_factory.mktemp("login"), dashboard=True) as running:
        running.context.passwords = quick_passwords()
        running.create_zone("login.example")
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits in vain is told at once."""
    monkeypatch.setattr(handing, "LONGEST_S", 0.0)


@pytest.fixture
def key() -> str:
    return token_urlsafe(32) + "="


@pytest.fixture
def zone_id(control: Control) -> str:
    return str(control.call("GET", "/zones", name="login.example")[0]["id"])


def callback(who: Visitor, key: str) -> str:
    return f"{str(who.http.base_url).rstrip('/')}/argotunnel/{key}"


def fetched(who: Visitor, key: str, **headers: str) -> httpx.Response:
    """As the client asks, which has no cookie."""
    base = str(who.http.base_url).rstrip("/")
    path = f"/{key}" if "host" in headers else f"/argotunnel/{key}"
    return httpx.get(base + path, headers=headers, trust_env=False, verify=False, timeout=60.0)


def test_the_client_that_made_the_key_gets_the_certificate_once(
    control: Control, me: Visitor, key: str, zone_id: str
) -> None:
    page = shown(me.page("/argotunnel", aud="", callback=callback(me, key)))
    assert f"ends in {key[-8:]}" in page, "so that nobody allows what another has begun"
    assert "login.example" in page
    assert "change its records" in page
    assert fetched(me, key).status_code == 404, "nothing was allowed yet"
    assert "Allowed" in shown(me.post("/argotunnel", zone=zone_id, callback=callback(me, key)).text)
    with control.store.reading() as session:
        row = session.get(WaitingCertificate, origin_certificates._id(key))
        assert row is not None
        assert b"TUNNEL TOKEN" not in row.sealed_secret
    answer = fetched(me, key)
    assert answer.headers["cache-control"] == "no-store"
    certificate = decode(answer.text)
    assert (certificate.zone_id, certificate.account_id) == (zone_id, control.account)
    assert certificate.api_url == f"{str(me.http.base_url).rstrip('/')}/client/v4"
    assert fetched(me, key).status_code == 404, "it is good once"
    answers = me.post("/argotunnel", zone=zone_id, callback=callback(me, key))
    assert answers.status_code == 400
    assert "allowed already" in answers.text
    with httpx.Client(
        base_url=control.url, headers={"authorization": f"Bearer {certificate.api_token}"}, verify=False
    ) as its:
        assert its.get(f"accounts/{control.account}/cfd_tunnel").status_code == 200
        assert its.get(f"zones/{zone_id}/dns_records").status_code == 200
        assert its.get(f"accounts/{control.account}/tokens").status_code == 403
        assert its.post("zones", json={"name": "x.example"}).status_code in (400, 403)
        assert "origin certificate of login.example" in shown(me.page("/tokens")), "where it is taken back"
        with control.store.reading() as session:
            token = session.scalars(select(ApiToken).where(ApiToken.kind == "origin_cert")).first()
            assert token is not None
            actions = set(session.scalars(select(Audit.action).where(Audit.object_id == token.id)))
        assert {"origin_certificate.grant", "origin_certificate.fetch"} <= actions
        me.post(f"/tokens/{token.id}/delete")
        assert its.get(f"zones/{zone_id}/dns_records").status_code in (401, 403)


def test_a_client_that_waits_is_shown_to_who_allows_it_and_answered_at_once(
    monkeypatch: pytest.MonkeyPatch, me: Visitor, key: str, zone_id: str
) -> None:
    monkeypatch.setattr(handing, "LONGEST_S", 60.0)
    got: list[httpx.Response] = []
    client = threading.Thread(target=lambda: got.append(fetched(me, key, **{"user-agent": "cloudflared/test"})))
    client.start()

    def is_shown() -> bool:
        return "cloudflared/test" in me.page("/argotunnel", callback=callback(me, key))

    wait_until(is_shown, "the page shows who waits", timeout_s=60.0)
    assert "has its certificate" in shown(me.post("/argotunnel", zone=zone_id, callback=callback(me, key)).text)
    client.join(60.0)
    assert decode(got[0].text).zone_id == zone_id


def test_it_is_given_at_stocks_own_address_where_that_leads_here(me: Visitor, key: str, zone_id: str) -> None:
    theirs = f"https://login.cloudflareaccess.org/{key}"
    assert "keep the certificate as a file" in shown(me.page("/argotunnel", callback=theirs))
    assert me.post("/argotunnel", zone=zone_id, callback=theirs).status_code == 200
    assert fetched(me, key, host="elsewhere.example").status_code == 421
    there = {"host": "login.cloudflareaccess.org"}
    assert httpx.get(f"{str(me.http.base_url).rstrip('/')}/sign-in", headers=there, verify=False).status_code == 404
    assert decode(fetched(me, key, **there).text).zone_id == zone_id


def test_it_can_be_kept_as_a_file(me: Visitor, key: str, zone_id: str) -> None:
    for more in ({"callback": callback(me, key)}, {}):
        answer = me.post("/argotunnel", zone=zone_id, keep="yes", **more)
        assert answer.headers["content-disposition"] == 'attachment; filename="cert.pem"'
        assert decode(answer.text).zone_id == zone_id
    assert fetched(me, key).status_code == 404


@pytest.mark.parametrize(
    "bad",
    [
        lambda me, key: f"https://evil.example/argotunnel/{key}",
        lambda me, key: f"https://login.cloudflareaccess.org.evil.example/{key}",
        lambda me, key: callback(me, "short"),
        lambda me, key: f"javascript:alert(1)/{key}",
        lambda me, key: callback(me, f"../{key}"),
    ],
)
def test_a_callback_of_elsewhere_is_refused(
    me: Visitor, key: str, zone_id: str, bad: Callable[[Visitor, str], str]
) -> None:
    text = bad(me, key)
    assert me.get("/argotunnel", callback=text).status_code == 400
    assert me.post("/argotunnel", zone=zone_id, callback=text).status_code == 400


@pytest.mark.requirement("S34")
@pytest.mark.parametrize(("role", "status"), [("owner", 200), ("admin", 200), ("operator", 403), ("viewer", 403)])
def test_who_may_not_make_tokens_allows_nothing(
    control: Control, stranger: Visitor, key: str, zone_id: str, role: str, status: int
) -> None:
    email = f"{role}@login.example"
    somebody = written(
        control.store,
        users.add,
        email=email,
        account_id=control.account,
        role=roles.check(role),
        own=[EVERYTHING_POLICY],
    )
    written(control.store, users.set_password, somebody.user.id, control.context.passwords.hashed(PASSWORD))
    stranger.http.post("/sign-in", data={"email": email, "password": PASSWORD})
    assert stranger.get("/argotunnel", callback=callback(stranger, key)).status_code == status
    assert stranger.post("/argotunnel", zone=zone_id, callback=callback(stranger, key)).status_code == status
    assert fetched(stranger, key).status_code == (200 if status == 200 else 404)


def test_what_nobody_fetched_is_taken_back_with_its_token(
    control: Control, me: Visitor, key: str, zone_id: str
) -> None:
    usual, clock = control.store.clock, MovedClock(control.store)
    clock.move(seconds=2 * origin_certificates.WAITS.total_seconds())
    origin_certificates.sweep(control.store)
    with control.store.reading() as session:
        before = set(session.scalars(select(ApiToken.id)))
    try:
        assert me.sign_in().status_code == 303
        me.post("/argotunnel", zone=zone_id, callback=callback(me, key))
        clock.move(seconds=origin_certificates.WAITS.total_seconds() + 1)
        assert origin_certificates.fetch(control.store, control.sealer, key, address="192.0.2.1") is None
        assert origin_certificates.sweep(control.store) == 1
    finally:
        control.store.clock = usual
    with control.store.reading() as session:
        assert set(session.scalars(select(ApiToken.id))) == before


def test_who_has_to_sign_in_first_comes_back_to_it(control: Control, stranger: Visitor, key: str) -> None:
    asked = stranger.get("/argotunnel", aud="", callback=callback(stranger, key))
    assert asked.status_code == 303
    page = stranger.page(asked.headers["location"])
    (following,) = {unescape(each) for each in re.findall(r'name="next" value="([^"]+)"', page)}
    answer = stranger.http.post("/sign-in", data={"token": control.token, "next": following})
    assert parse_qs(urlsplit(answer.headers["location"]).query)["callback"] == [callback(stranger, key)]
    assert key[-8:] in stranger.page(answer.headers["location"])


@pytest.mark.parametrize(
    "bad", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "x", "/" + "a" * 2048]
)
def test_nobody_is_led_elsewhere_after_signing_in(control: Control, stranger: Visitor, bad: str) -> None:
    answer = stranger.http.post("/sign-in", data={"token": control.token, "next": bad})
    assert answer.headers["location"] == "/"
