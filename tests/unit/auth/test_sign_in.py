"""Signing in (security.md S32, S33, S35): passwords, second factors, one-time tokens, and sessions of one's own."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from qanat.auth import issue, second_factor
from qanat.auth.passwords import check, usual_hasher
from qanat.auth.second_factor import STEP_S, accepted_step
from qanat.auth.sessions import MOST_OF_USER, form_token, is_form_token
from qanat.auth.sign_in import From
from qanat.control import api_tokens, users
from qanat.control.api_tokens import Owner
from qanat.control.policies import EVERYTHING_POLICY, account_policy
from qanat.errors import QanatError, RetryLaterError
from qanat.store import Store
from qanat.store.models import Audit, Authenticator, OneTimeToken, RecoveryCode, SignedIn, User
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from tests.support.people import HERE, PASSWORD, People
from tests.support.writes import written

EVERY = EVERYTHING
EVE = From("198.51.100.9", "Eve/1.0")


@pytest.fixture
def people(store: Store, sealer: Sealer) -> People:
    return People(store, sealer)


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(QanatError) as raised:
        act()
    return raised.value.code


def actions(store: Store) -> list[str]:
    with store.reading() as session:
        return list(session.scalars(select(Audit.action).order_by(Audit.seq)))


@pytest.mark.requirement("S32")
def test_what_is_stored_opens_nothing(people: People, store: Store) -> None:
    """Neither password, cookie, one-time token, authenticator nor recovery code is in a row as it is."""
    user_id = people.add("mir@example.com")
    totp, codes = people.with_authenticator(user_id)
    secret, token = people.enter("mir@example.com").secret, people.one_time(user_id)
    with store.reading() as session:
        rows = [
            session.scalars(select(each)).all() for each in (User, SignedIn, Authenticator, RecoveryCode, OneTimeToken)
        ]
    values = repr([vars(row) for each in rows for row in each])
    assert "$argon2id$" in values
    for each in (PASSWORD, secret, token, totp.secret, codes[0], codes[0].replace("-", "")):
        assert each not in values
    usual = usual_hasher()
    assert (usual.memory_cost, usual.time_cost, usual.parallelism) == (19 * 1024, 2, 1)
    assert usual.type.name == "ID"


def test_a_password_is_asked_for_and_every_refusal_is_the_same(people: People) -> None:
    user_id = people.add("mir@example.com")
    out = people.add("out@example.com")
    written(people.store, users.set_disabled, out, disabled=True, own=[EVERYTHING_POLICY])
    opened = people.enter("MIR@example.com")
    assert (opened.user_id, opened.is_pending) == (user_id, False)
    for number, (email, password) in enumerate(
        [("mir@example.com", "wrong horse battery"), ("nobody@example.com", PASSWORD), ("out@example.com", PASSWORD)]
    ):
        who = From(f"203.0.113.{number}")
        assert refused(lambda: people.enter(email, who, password)) == "sign_in_refused"  # noqa: B023


@pytest.mark.requirement("S35")
def test_a_session_that_was_known_before_is_worth_nothing_after_signing_in(people: People, store: Store) -> None:
    """Session fixation: whatever cookie the browser had, its session ends and another is made."""
    people.add("eve@example.com")
    people.add("mir@example.com")
    planted = people.enter("eve@example.com", EVE).secret
    opened = people.enter("mir@example.com", From("192.0.2.1", "Browser", cookie=planted))
    assert opened.secret != planted
    assert people.sessions.find(planted, address="192.0.2.1") is None
    made_up = people.enter("mir@example.com", From("192.0.2.1", cookie="made up"))
    assert people.sessions.find("made up", address="192.0.2.1") is None
    found = people.sessions.find(made_up.secret, address="192.0.2.1")
    assert found is not None
    assert found.person.user.email == "mir@example.com"


@pytest.mark.requirement("S35")
def test_the_second_factor_makes_another_session(people: People) -> None:
    user_id = people.add("mir@example.com")
    totp, _ = people.with_authenticator(user_id)
    people.clock.move(seconds=STEP_S)
    half = people.enter("mir@example.com")
    assert half.is_pending
    assert people.sessions.find(half.secret, address=HERE.address) is None, "half a sign-in is none"
    opened = people.sign_in.by_code(people.code(totp), From(HERE.address, cookie=half.secret))
    assert opened.secret != half.secret
    assert people.sessions.find(opened.secret, address=HERE.address) is not None
    assert refused(lambda: people.sign_in.by_code("000000", From(HERE.address, cookie=half.secret))) == "sign_in_over"


def test_a_session_ends_when_it_is_idle_old_or_signed_out(people: People, store: Store) -> None:
    user_id = people.add("mir@example.com")
    idle = people.enter("mir@example.com")
    people.clock.move(seconds=29 * 60)
    assert people.sessions.find(idle.secret, address=HERE.address) is not None
    people.clock.move(seconds=29 * 60)
    assert people.sessions.find(idle.secret, address=HERE.address) is not None, "it was used meanwhile"
    people.clock.move(seconds=30 * 60)
    assert people.sessions.find(idle.secret, address=HERE.address) is None
    busy = people.enter("mir@example.com")
    for _ in range(12 * 3 - 1):
        people.clock.move(seconds=20 * 60)
        assert people.sessions.find(busy.secret, address=HERE.address) is not None
    people.clock.move(seconds=20 * 60)
    assert people.sessions.find(busy.secret, address=HERE.address) is None
    assert people.sessions.sweep() == 2
    one, two, three = (people.enter("mir@example.com") for _ in range(3))
    people.sign_in.sign_out(one.secret, address=HERE.address)
    assert people.sessions.find(one.secret, address=HERE.address) is None
    assert written(store, people.sessions.end_all, user_id=user_id, but=two.id) == 1
    assert people.sessions.find(three.secret, address=HERE.address) is None
    assert people.sessions.find(two.secret, address=HERE.address) is not None
    with store.reading() as session:
        assert [row.id for row in people.sessions.listed(session, user_id)] == [two.id]
    assert refused(lambda: written(store, people.sessions.end, two.id, user_id="f" * 32)) == "session_unknown"


def test_a_session_is_as_its_user_is_now(people: People, store: Store, account: str) -> None:
    user_id = people.add("mir@example.com", "operator", account)
    secret = people.enter("mir@example.com").secret

    def may(permission: str) -> bool:
        found = people.sessions.find(secret, address=HERE.address)
        assert found is not None
        try:
            return found.principal.reach(permission).has_account(account)  # type: ignore[arg-type]
        except QanatError:
            return False

    assert may("tunnel.edit")
    written(store, users.set_role, user_id, account_id=account, role="viewer", own=[EVERYTHING_POLICY])
    assert not may("tunnel.edit")
    assert may("tunnel.read")
    other = people.enter("mir@example.com").secret
    written(store, users.set_password, user_id, people.passwords.hashed("another good password"))
    assert people.sessions.find(other, address=HERE.address) is None, "another password signs out everywhere"
    again = people.enter("mir@example.com", password="another good password").secret
    written(store, users.set_disabled, user_id, disabled=True, own=[EVERYTHING_POLICY])
    assert people.sessions.find(again, address=HERE.address) is None


def test_a_session_by_an_api_token_is_bounded_by_it(people: People, store: Store, account: str) -> None:
    ends = people.clock.now + timedelta(hours=1)
    text, row = written(
        store, issue, name="t", policies=[account_policy(account)], expires_on=ends, allowed_ips=["192.0.2.0/24"]
    )
    opened = people.sign_in.by_token(text, HERE)
    assert opened.expires_at == ends
    found = people.sessions.find(opened.secret, address=HERE.address)
    assert found is not None
    assert found.principal.token.id == row.id
    assert not found.principal.reach("tunnel.edit").is_everything
    assert people.sessions.find(opened.secret, address="198.51.100.1") is None
    written(store, api_tokens.delete, row.id, owner=Owner(user_id=row.user_id))
    assert people.sessions.find(opened.secret, address=HERE.address) is None
    assert refused(lambda: people.sign_in.by_token(text, HERE)) == "token_refused"


@pytest.mark.requirement("S33")
def test_who_guesses_waits_and_others_do_not(people: People) -> None:
    people.add("mir@example.com")
    for _ in range(5):
        assert refused(lambda: people.enter("mir@example.com", EVE, "guess number something")) == "sign_in_refused"
    with pytest.raises(RetryLaterError) as waiting:
        people.enter("mir@example.com", EVE)
    assert waiting.value.retry_after_s > 0, "even with the right password: it could be the next guess"
    assert people.enter("mir@example.com").secret, "from elsewhere the owner comes in"


def test_codes_are_limited_too(people: People) -> None:
    user_id = people.add("mir@example.com")
    people.with_authenticator(user_id)
    half = people.enter("mir@example.com").secret
    tried = [refused(lambda: people.sign_in.by_code("000000", From(f"10.0.0.{n}", cookie=half))) for n in range(6)]  # noqa: B023
    assert tried == ["code_refused"] * 5 + ["sign_in_over"]


def test_a_code_is_good_once_and_only_in_its_time(people: People, store: Store) -> None:
    user_id = people.add("mir@example.com")
    totp, codes = people.with_authenticator(user_id)

    def take(code: str) -> str:
        with store.recording() as write:
            return second_factor.take(write, people.sealer, user_id, code)

    first = people.code(totp)
    assert refused(lambda: take(first)) == "code_refused", "it set the authenticator up, and is used"
    people.clock.move(seconds=STEP_S)
    code = people.code(totp)
    assert take(f"{code[:3]} {code[3:]}") == "code"
    assert refused(lambda: take(code)) == "code_refused"
    people.clock.move(seconds=STEP_S)
    late = people.code(totp)
    people.clock.move(seconds=2 * STEP_S)
    assert refused(lambda: take(late)) == "code_refused"
    assert take(codes[3].upper()) == "recovery"
    assert refused(lambda: take(codes[3])) == "code_refused"
    with store.reading() as session:
        assert second_factor.recovery_codes_left(session, user_id) == 9
    other = written(store, second_factor.renew_recovery_codes, user_id)
    assert refused(lambda: take(codes[4])) == "code_refused"
    assert take(other[0]) == "recovery"
    written(store, second_factor.remove, user_id)
    assert not people.enter("mir@example.com").is_pending
    assert refused(lambda: take(other[1])) == "code_refused"


@given(st.integers(0, 2**31), st.integers(-3, 3), st.integers(-3, 3))
def test_a_code_is_taken_within_a_step_of_its_time_and_never_before_the_last_one(
    now: int, drift: int, after: int
) -> None:
    secret = "JBSWY3DPEHPK3PXP" * 2
    step = now // STEP_S + 10
    moment = datetime.fromtimestamp(step * STEP_S, UTC)
    code = pyotp.TOTP(secret).at((step + drift) * STEP_S)
    taken = accepted_step(secret, code, moment, after=step + after)
    # two steps may have the same code, once in a million
    if taken is not None:
        assert abs(taken - step) <= 1
        assert taken > step + after
        assert pyotp.TOTP(secret).at(taken * STEP_S) == code
    else:
        assert abs(drift) > 1 or drift <= after


def test_a_one_time_token_sets_the_password_once(people: People, store: Store) -> None:
    with store.reading() as session:
        first = users.listed(session, reach=EVERY)[0].user
        assert users.nobody_signs_in(session)
    token = people.one_time(first.id)
    assert refused(lambda: people.sign_in.by_one_time_token(token, HERE, password="short")) == "password_weak"
    opened = people.sign_in.by_one_time_token(token, HERE, password=PASSWORD, email="mir@example.com")
    assert opened.user_id == first.id
    assert refused(lambda: people.sign_in.by_one_time_token(token, HERE, password=PASSWORD)) == "one_time_token_refused"
    assert people.enter("mir@example.com").user_id == first.id
    with store.reading() as session:
        assert not users.nobody_signs_in(session)
    late = people.one_time(first.id)
    people.clock.move(seconds=25 * 3600)
    assert refused(lambda: people.sign_in.by_one_time_token(late, HERE, password=PASSWORD)) == "one_time_token_refused"
    before, _ = people.one_time(first.id), people.one_time(first.id)
    assert (
        refused(lambda: people.sign_in.by_one_time_token(before, HERE, password=PASSWORD)) == "one_time_token_refused"
    )


def test_a_users_sessions_are_bounded_and_every_sign_in_is_audited(people: People, store: Store) -> None:
    user_id = people.add("mir@example.com")
    first = people.enter("mir@example.com")
    people.clock.move(seconds=1)
    for _ in range(MOST_OF_USER):
        people.enter("mir@example.com")
    with store.reading() as session:
        assert len(people.sessions.listed(session, user_id)) == MOST_OF_USER
    assert people.sessions.find(first.secret, address=HERE.address) is None
    assert actions(store).count("user.sign_in") == MOST_OF_USER + 1
    refused(lambda: people.enter("mir@example.com", EVE, "not the right password"))
    people.failed.flush(all_now=True)
    assert actions(store)[-1] == "login.failed"


@pytest.mark.requirement("S35")
def test_a_forms_token_is_good_for_its_session_alone() -> None:
    assert is_form_token("secret", form_token("secret"))
    for session, given_ in (
        ("other", form_token("secret")),
        ("secret", ""),
        ("secret", "ü"),
        ("", form_token("secret")),
    ):
        assert not is_form_token(session, given_)
    assert "secret" not in form_token("secret")


def test_weak_passwords_are_refused() -> None:
    for password, email in (
        ("elevenchars", ""),
        ("x" * 257, ""),
        ("aaaaaaaaaaaaaaaa", ""),
        ("mir.muster@example.com", "Mir.Muster@example.com"),
    ):
        assert refused(lambda: check(password, email=email)) == "password_weak"  # noqa: B023
    check("three words more", email="mir@example.com")
