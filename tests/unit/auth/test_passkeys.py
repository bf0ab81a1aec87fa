"""Passkeys: what a device signed is taken once, for the user, name and origin that it was made for, and for nothing else."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from qanat.auth import passkey_answers, passkeys, second_factor
from qanat.auth.passkeys import Challenge, Row, Site, new_challenge
from qanat.auth.sessions import Opened
from qanat.auth.sign_in import From
from qanat.control import users
from qanat.control.policies import EVERYTHING_POLICY
from qanat.errors import QanatError
from qanat.store import Store
from qanat.store.models import Audit, RecoveryCode
from qanat.store.sealing import Sealer
from tests.support.authenticator import Device, encoded
from tests.support.people import HERE, PASSWORD, People
from tests.support.writes import written

SITE = Site("edge.example", "https://edge.example:8443")


@pytest.fixture
def people(store: Store, sealer: Sealer) -> People:
    return People(store, sealer)


@pytest.fixture
def mir(people: People) -> str:
    people.add("owner@example.com", "owner")
    return people.add("mir@example.com")


def add(people: People, user_id: str, device: Device, site: Site = SITE, name: str = "Laptop") -> tuple[Row, list[str]]:
    challenge = new_challenge(site, user_id)
    with people.store.reading() as session:
        options = passkey_answers.registration_options(session, challenge)
    return written(people.store, passkey_answers.register, challenge, device.make(options), name=name)


def begin(people: People, who: From = HERE, site: Site = SITE) -> tuple[str, str]:
    """The key of a challenge, and the options that the browser gets."""
    with people.store.reading() as session:
        challenge = new_challenge(site, people.sign_in.awaits(session, who))
        options = passkey_answers.authentication_options(session, challenge)
    people.sign_in.challenges.put("browser", challenge, address=who.address)
    return "browser", options


def enter(people: People, device: Device, who: From = HERE, **changed: Any) -> Opened:
    begun, options = begin(people, who)
    return people.sign_in.by_passkey(device.sign(options, **changed), who, begun=begun)


def refused(people: People, device: Device, who: From = HERE, **changed: Any) -> str:
    with pytest.raises(QanatError) as error:
        enter(people, device, who, **changed)
    return error.value.code


def test_a_device_that_verifies_its_user_signs_in_without_a_password(people: People, mir: str) -> None:
    device = Device(SITE.origin)
    row, codes = add(people, mir, device)
    assert len(codes) == second_factor.RECOVERY_CODES, "the first second factor comes with its way back"
    assert add(people, mir, Device(SITE.origin), name="Phone")[1] == []
    opened = enter(people, device)
    assert (opened.user_id, opened.is_pending) == (mir, False)
    with people.store.reading() as session:
        found = {each.name: each.last_used_at for each in passkeys.listed(session, mir)}
        assert set(found) == {"Laptop", "Phone"}
        assert found["Laptop"] is not None
        assert found["Phone"] is None
        ways = session.scalars(select(Audit.detail).where(Audit.action == "user.sign_in")).all()
    assert json.loads(ways[-1])["way"] == "passkey"
    assert row.rp_id == "edge.example"


def test_a_device_that_does_not_verify_is_a_second_factor_only(people: People, mir: str) -> None:
    device = Device(SITE.origin, verifies=False)
    add(people, mir, device)
    assert refused(people, device) == "passkey_refused"
    half = people.enter("mir@example.com")
    assert half.is_pending, "a passkey is asked for after the password"
    assert people.sessions.find(half.secret, address=HERE.address) is None
    whole = enter(people, device, From(HERE.address, cookie=half.secret))
    assert not whole.is_pending
    assert whole.secret != half.secret
    assert people.sessions.find(half.secret, address=HERE.address) is None


def test_another_users_passkey_is_no_second_factor(people: People, mir: str) -> None:
    theirs, mine = Device(SITE.origin), Device(SITE.origin)
    other = people.add("other@example.com")
    add(people, other, theirs)
    add(people, mir, mine)
    half = From(HERE.address, cookie=people.enter("mir@example.com").secret)
    assert refused(people, theirs, half) == "passkey_refused"
    begun, options = begin(people, half)
    with pytest.raises(QanatError, match="in the meantime"):
        people.sign_in.by_passkey(mine.sign(options), HERE, begun=begun)
    assert enter(people, mine, half).user_id == mir


def test_a_challenge_is_good_once_and_for_one_browser(people: People, mir: str) -> None:
    device = Device(SITE.origin)
    add(people, mir, device)
    begun, options = begin(people)
    answer = device.sign(options)
    with pytest.raises(QanatError, match="took too long"):
        people.sign_in.by_passkey(answer, HERE, begun="another browser")
    assert people.sign_in.by_passkey(answer, HERE, begun=begun).user_id == mir
    with pytest.raises(QanatError, match="took too long"):
        people.sign_in.by_passkey(answer, HERE, begun=begun)
    people.sign_in.challenges.put(begun, new_challenge(SITE), address=HERE.address)
    with pytest.raises(QanatError) as error:
        people.sign_in.by_passkey(answer, HERE, begun=begun)
    assert error.value.code == "passkey_refused", "an answer to another challenge"


def test_what_is_not_of_this_site_and_key_is_refused(people: People, mir: str) -> None:
    device = Device(SITE.origin)
    add(people, mir, device)
    assert refused(people, device, rp_id="evil.example") == "passkey_refused"
    assert refused(people, device, signature=encoded(b"nonsense")) == "passkey_refused"
    assert refused(people, device, challenge=encoded(bytes(32))) == "passkey_refused"
    assert refused(people, device, userHandle=encoded(bytes(16))) == "passkey_refused"
    device.origin = "https://evil.example"
    assert refused(people, device) == "passkey_refused"
    device.origin = SITE.origin
    assert refused(people, Device(SITE.origin)) == "passkey_refused", "one that nobody registered"
    for nonsense in ("", "{}", "[]", "null", json.dumps({"id": 1}), '{"rawId": "é"}'):
        begun, _ = begin(people)
        with pytest.raises(QanatError) as error:
            people.sign_in.by_passkey(nonsense, HERE, begun=begun)
        assert error.value.code == "passkey_refused", nonsense
    assert people.failed.flush(all_now=True), "refused ones are told in the audit log"
    assert enter(people, device).user_id == mir


def test_a_copied_device_is_noticed_by_its_counter(people: People, mir: str) -> None:
    device = Device(SITE.origin)
    add(people, mir, device)
    enter(people, device)
    enter(people, device)
    device.count -= 2
    assert refused(people, device) == "passkey_refused"
    still = Device(SITE.origin, counts=False)
    add(people, mir, still)
    assert enter(people, still).user_id == enter(people, still).user_id == mir, "not all devices count"


def test_a_registration_for_another_challenge_or_of_a_known_key_is_refused(people: People, mir: str) -> None:
    device = Device(SITE.origin)
    challenge = new_challenge(SITE, mir)
    with people.store.reading() as session:
        answer = device.make(passkey_answers.registration_options(session, challenge))
    for other in (
        new_challenge(SITE, mir),
        Challenge(challenge.value, Site("edge.example", "https://evil.example"), mir),
    ):
        with pytest.raises(QanatError) as error:
            written(people.store, passkey_answers.register, other, answer, name="x")
        assert error.value.code == "passkey_refused"
    written(people.store, passkey_answers.register, challenge, answer, name="x")
    with pytest.raises(QanatError, match="registered already"):
        written(people.store, passkey_answers.register, challenge, answer, name="again")


def test_a_lost_device_is_replaced_by_a_recovery_code_or_by_an_owner(people: People, mir: str) -> None:
    row, codes = add(people, mir, Device(SITE.origin))
    half = From(HERE.address, cookie=people.enter("mir@example.com").secret)
    assert people.sign_in.by_code(codes[0], half).user_id == mir
    written(people.store, passkeys.rename, row.id, user_id=mir, name="Lost one")
    with pytest.raises(QanatError, match="no such passkey"):
        written(people.store, passkeys.remove, row.id, user_id="0" * 32)
    written(people.store, passkeys.remove, row.id, user_id=mir)
    with people.store.reading() as session:
        assert session.scalars(select(RecoveryCode)).all() == [], "those of no factor are none"
    assert not people.enter("mir@example.com").is_pending
    add(people, mir, Device(SITE.origin))
    written(people.store, users.forget_password, mir, own=[EVERYTHING_POLICY], second_factor=True)
    with people.store.reading() as session:
        assert passkeys.listed(session, mir) == []
        assert not users.get(session, mir).has_second_factor


def test_who_is_shut_out_has_no_passkey_to_come_in_by(people: People, mir: str) -> None:
    device = Device(SITE.origin)
    add(people, mir, device)
    written(people.store, users.set_disabled, mir, disabled=True, own=[EVERYTHING_POLICY])
    assert refused(people, device) == "passkey_refused"


def test_an_app_and_a_passkey_are_each_a_second_factor(people: People, mir: str) -> None:
    device = Device(SITE.origin)
    row, _ = add(people, mir, device)
    totp, _codes = people.with_authenticator(mir)
    people.clock.move(seconds=60)
    half = From(HERE.address, cookie=people.enter("mir@example.com", password=PASSWORD).secret)
    assert people.sign_in.by_code(people.code(totp), half).user_id == mir
    written(people.store, passkeys.remove, row.id, user_id=mir)
    assert people.enter("mir@example.com").is_pending, "the app is still there"
