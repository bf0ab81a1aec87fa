"""Signing in by an OpenID provider: what it takes to be believed, who is let in, and what an outage costs."""

import base64
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError
from sqlalchemy import select

from qanat.auth.oidc import fetching, identities
from qanat.auth.oidc.fetching import LOOPBACK, PRIVATE, PUBLIC, fetch
from qanat.auth.oidc.provider import AGAIN_S, FRESH_S, Claims, Provider
from qanat.control import users
from qanat.control.policies import EVERYTHING_POLICY
from qanat.errors import QanatError
from qanat.settings.people import OidcSettings
from qanat.store import Store
from qanat.store.models import Audit
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from tests.support.openid import CLIENT, SECRET, OpenId, new_key, openid_provider
from tests.support.people import HERE, PASSWORD, People
from tests.support.writes import written

BACK = "https://edge.example/sign-in/oidc/callback"


@pytest.fixture
def openid() -> Iterator[OpenId]:
    with openid_provider() as provider:
        yield provider


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    return file


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(openid: OpenId, secret: Path, clock: Clock) -> Provider:
    settings = OidcSettings(issuer=openid.url, client_id=CLIENT, client_secret_file=secret)
    return Provider(settings, clock=clock)


def finished(provider: Provider, openid: OpenId, **changed: str) -> Claims:
    url, begun = provider.begin(BACK)
    return provider.finish(begun, {**openid.allow(url), **changed})


def refused(provider: Provider, openid: OpenId, **changed: str) -> QanatError:
    with pytest.raises(QanatError) as error:
        finished(provider, openid, **changed)
    assert error.value.code == "oidc_refused", error.value
    return error.value


def test_who_the_provider_has_signed_for_this_sign_in_is_believed(provider: Provider, openid: OpenId) -> None:
    assert finished(provider, openid) == Claims(openid.url, "subject-1", "mir@example.com", ("staff",))
    openid.changed = {"email_verified": False}
    assert finished(provider, openid).email == ""
    openid.changed = {"groups": "one", "aud": [CLIENT], "exp": int(time()) - 30}
    assert finished(provider, openid).groups == ("one",), "a clock may be a minute off"
    openid.changed = {"aud": [CLIENT, "other"], "azp": CLIENT}
    assert finished(provider, openid).subject == "subject-1"


# of the clock they would not be the same tests in each worker
LONG_AGO, FAR_AHEAD = 1_000_000_000, 4_000_000_000


@pytest.mark.parametrize(
    "lie",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": None},
        {"aud": [CLIENT, "other"]},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"azp": "other"},
        {"exp": LONG_AGO},
        {"exp": None},
        {"iat": FAR_AHEAD},
        {"iat": None},
        {"nbf": FAR_AHEAD},
        {"iss": "https://other.example"},
        {"iss": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 300},
    ],
    ids=str,
)
def test_an_id_token_of_another_sign_in_client_issuer_or_time_is_refused(
    provider: Provider, openid: OpenId, lie: dict[str, Any]
) -> None:
    openid.changed = lie
    refused(provider, openid)


def test_an_id_token_that_the_provider_did_not_sign_is_refused(provider: Provider, openid: OpenId) -> None:
    unsigned = {"alg": "none", "typ": "JWT", "kid": "one"}

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    openid.token = lambda claims: f"{part(unsigned)}.{part(claims)}."
    assert "'none'" in refused(provider, openid).message
    public = openid.keys["one"].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def by_public_key(claims: dict[str, Any]) -> str:
        signed = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(claims)}"
        mac = hmac.new(public, signed.encode(), "sha256").digest()
        return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    openid.token = by_public_key
    assert "'HS256'" in refused(provider, openid).message, "a public key is no secret"
    openid.token = lambda claims: jwt.encode(claims, new_key(), algorithm="ES256", headers={"kid": "one"})
    refused(provider, openid)
    openid.token = lambda claims: jwt.encode(claims, new_key(), algorithm="ES256", headers={"kid": "strange"})
    refused(provider, openid)
    openid.token = lambda claims: "nonsense"
    refused(provider, openid)
    large = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    openid.token = lambda claims: jwt.encode(claims, large, algorithm="RS256", headers={"kid": "one"})
    refused(provider, openid)


def test_what_the_id_token_leaves_out_is_asked_of_userinfo_and_believed_of_the_same_subject(
    provider: Provider, openid: OpenId
) -> None:
    openid.userinfo = {"sub": "subject-1", "email": "told@example.com", "email_verified": True, "groups": ["more"]}
    assert finished(provider, openid).email == "mir@example.com"
    assert "/userinfo" not in openid.asked, "the ID token says it all"
    openid.changed = {"email": None, "email_verified": True}
    found = finished(provider, openid)
    assert (found.email, found.groups) == ("told@example.com", ("staff",))
    openid.userinfo["email_verified"] = False
    assert finished(provider, openid).email == "", "that an address is verified is said by who says the address"
    openid.userinfo["sub"] = "subject-2"
    assert "of somebody else" in str(refused(provider, openid))


def test_groups_of_userinfo_count_where_groups_have_roles(openid: OpenId, secret: Path, clock: Clock) -> None:
    settings = OidcSettings(issuer=openid.url, client_id=CLIENT, client_secret_file=secret, roles=("more=viewer",))
    openid.userinfo = {"sub": "subject-1", "groups": ["more"]}
    openid.changed = {"groups": None}
    assert finished(Provider(settings, clock=clock), openid).groups == ("more",)


def test_of_two_keys_the_named_one_counts_and_new_ones_are_fetched(
    provider: Provider, openid: OpenId, clock: Clock
) -> None:
    openid.keys["two"] = new_key()
    openid.signing = ("two", openid.keys["two"], "ES256")
    finished(provider, openid)
    openid.signing = (None, openid.keys["two"], "ES256")
    assert "which of" in refused(provider, openid).message
    openid.keys = {"three": new_key()}
    openid.signing = ("three", openid.keys["three"], "ES256")
    clock.now += AGAIN_S
    finished(provider, openid)
    asked = openid.asked.count("/keys")
    openid.signing = ("four", new_key(), "ES256")
    for _ in range(5):
        refused(provider, openid)
    assert openid.asked.count("/keys") <= asked + 1, "no token makes us ask as often as it likes"
    openid.signing = ("two", openid.keys["three"], "ES256")
    clock.now += FRESH_S
    refused(provider, openid)


def test_a_state_of_another_sign_in_is_refused_and_a_code_is_good_once(provider: Provider, openid: OpenId) -> None:
    refused(provider, openid, state="another")
    refused(provider, openid, state="")
    refused(provider, openid, code="")
    refused(provider, openid, error="access_denied", error_description="no\x1b[31m")
    url, begun = provider.begin(BACK)
    answer = openid.allow(url)
    provider.finish(begun, answer)
    with pytest.raises(QanatError):
        provider.finish(begun, answer)


def test_issuers_are_not_mixed_up(provider: Provider, openid: OpenId, secret: Path) -> None:
    refused(provider, openid, iss="https://other.example")
    finished(provider, openid, iss=openid.url)
    openid.metadata = {"authorization_response_iss_parameter_supported": True}
    other = Provider(provider.settings)
    refused(other, openid)
    finished(other, openid, iss=openid.url)
    openid.metadata = {"issuer": "https://other.example"}
    with pytest.raises(QanatError, match="not of") as error:
        Provider(provider.settings).begin(BACK)
    assert error.value.code == "oidc_failed"


def test_a_provider_that_is_down_keeps_nobody_else_out_and_is_not_asked_by_everybody(
    provider: Provider, openid: OpenId, clock: Clock, people: People
) -> None:
    openid.down = True
    for _ in range(3):
        with pytest.raises(QanatError) as error:
            provider.begin(BACK)
        assert error.value.code == "oidc_failed"
    assert len(openid.asked) == 1
    people.add("owner@example.com", "owner")
    assert people.enter("owner@example.com").user_id
    openid.down = False
    clock.now += AGAIN_S
    finished(provider, openid)
    openid.down = True
    clock.now += 2 * FRESH_S
    provider.begin(BACK)


def test_no_document_makes_the_edge_ask_its_own_network(openid: OpenId, provider: Provider) -> None:
    for closest in (PUBLIC, PRIVATE):
        with pytest.raises(QanatError):
            fetch(openid.url.replace("http:", "https:"), closest=closest)
    assert openid.asked == []
    for url in (
        "https://169.254.169.254/x",
        "https://[fe80::1]/",
        "https://0.0.0.0/",
        "ftp://a/",
        "https://u@127.0.0.1/",
    ):
        with pytest.raises(QanatError) as error:
            fetch(url, closest=LOOPBACK)
        assert error.value.code == "oidc_failed"
    with pytest.raises(QanatError, match="closer"):
        fetch("https://10.0.0.1/", closest=PUBLIC)
    with pytest.raises(QanatError, match="not https"):
        fetch("http://192.0.2.1/", closest=PUBLIC)
    openid.metadata = {"token_endpoint": "http://169.254.169.254/latest"}
    with pytest.raises(QanatError, match="no provider's address"):
        finished(Provider(provider.settings), openid)


def test_a_large_answer_and_a_redirect_are_not_taken(openid: OpenId, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MOST_BYTES", 10)
    with pytest.raises(QanatError, match="more than"):
        fetch(f"{openid.url}/keys", closest=LOOPBACK)
    monkeypatch.undo()
    with pytest.raises(QanatError, match="answered 400"):
        fetch(f"{openid.url}/nowhere", closest=LOOPBACK)


# ---------------------------------------------------------------- who it is here
@pytest.fixture
def people(store: Store, sealer: Sealer) -> People:
    made = People(store, sealer)
    made.add("first@example.com", "owner")
    return made


def said(email: str = "mir@example.com", subject: str = "s", groups: tuple[str, ...] = ()) -> Claims:
    return Claims("https://id.example", subject, email, groups)


def settings(**values: Any) -> OidcSettings:
    return OidcSettings(issuer="https://id.example", client_id="x", **values)


def found(people: People, claims: Claims, **values: Any) -> str:
    with people.store.recording() as write:
        return identities.find(write, settings(**values), claims, address="192.0.2.1")


def nobody(people: People, claims: Claims, **values: Any) -> None:
    with pytest.raises(QanatError) as error:
        found(people, claims, **values)
    assert error.value.code == "oidc_refused"


def invited(people: People, email: str) -> str:
    person = written(people.store, users.add, email=email, account_id="*", role="viewer", own=[EVERYTHING_POLICY])
    return person.user.id


def test_only_who_was_invited_is_let_in_by_their_verified_address(people: People) -> None:
    nobody(people, said("stranger@example.com"))
    mir = invited(people, "Mir@example.com")
    nobody(people, said(""))
    nobody(people, said(), links="none")
    assert found(people, said()) == mir
    assert found(people, said("new-address@example.com")) == mir, (
        "the subject is who it is, whatever the address becomes"
    )
    nobody(people, said(subject="another"))
    with people.store.reading() as session:
        assert "user.link" in session.scalars(select(Audit.action)).all()


def test_who_has_a_password_is_linked_by_an_address_only_where_that_is_allowed(people: People) -> None:
    mir = people.add("mir@example.com")
    nobody(people, said())
    written(people.store, identities.link, said(), mir)
    assert found(people, said()) == mir
    with pytest.raises(QanatError, match="another user"):
        written(people.store, identities.link, said(), people.add("eve@example.com"))
    other = people.add("other@example.com")
    assert found(people, said("other@example.com", "o"), links="any") == other
    written(people.store, identities.unlink, other)
    nobody(people, said("other@example.com", "o"))


def test_domains_and_being_shut_out_hold_for_those_who_came_before_too(people: People) -> None:
    mir = invited(people, "mir@example.com")
    assert found(people, said(), domains=("example.com",)) == mir
    nobody(people, said(), domains=("other.example",))
    nobody(people, said("mir@example.com.evil.example"), domains=("example.com",))
    written(people.store, users.set_disabled, mir, disabled=True, own=[EVERYTHING_POLICY])
    nobody(people, said())


def test_whoever_has_a_group_with_a_role_is_let_in_where_that_is_set_and_the_role_follows(people: People) -> None:
    open_to_all = {"admits": "everyone", "roles": ("staff=viewer@*", "ops=operator@*", "ops=viewer")}
    nobody(people, said(), **open_to_all)
    nobody(people, said("", groups=("ops",)), **open_to_all)
    mir = found(people, said(groups=("staff", "ops")), **open_to_all)

    def role() -> str | None:
        with people.store.reading() as session:
            return users.get(session, mir).roles.get("*")

    assert role() == "operator", "the highest"
    assert found(people, said(groups=("staff",)), **open_to_all) == mir
    assert role() == "viewer"
    found(people, said(), **open_to_all)
    assert role() is None
    kept = invited(people, "kept@example.com")
    assert found(people, said("kept@example.com", "k", ("ops",)), **open_to_all) == kept
    with people.store.reading() as session:
        assert users.get(session, kept).roles == {"*": "viewer"}, "who was invited keeps the role they were given"


def test_the_last_owner_stays_one_whatever_the_groups_say(people: People) -> None:
    rule = {"admits": "everyone", "roles": ("root=owner@*",)}
    root = found(people, said(groups=("root",)), **rule)
    with people.store.reading() as session:
        others = [each.user.id for each in users.listed(session, reach=EVERYTHING) if each.user.id != root]
    for each in others:
        written(people.store, users.set_disabled, each, disabled=True, own=[EVERYTHING_POLICY])
    assert found(people, said(), **rule) == root
    with people.store.reading() as session:
        assert users.get(session, root).roles == {"*": "owner"}


def test_a_second_factor_that_was_set_here_is_still_asked_for(people: People) -> None:
    mir = people.add("mir@example.com", password=PASSWORD)
    assert not people.sign_in.by_user(mir, "oidc", HERE).is_pending
    people.with_authenticator(mir)
    assert people.sign_in.by_user(mir, "oidc", HERE).is_pending


@pytest.mark.parametrize(
    "bad",
    [
        {"issuer": "http://id.example"},
        {"issuer": "https://id.example?x=1"},
        {"issuer": "id.example"},
        {"issuer": "https://id.example", "client_id": ""},
        {"admits": "everyone"},
        {"roles": ("staff",)},
        {"roles": ("staff=king",)},
        {"roles": ("=viewer",)},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OidcSettings(**{"client_id": "x", **bad})
