import re
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from threading import Barrier, Event

import pytest
from sqlalchemy.orm import Session

from qanat.auth import Verifier, issue
from qanat.auth.tokens import is_well_formed, make_token, may_come_from, token_hash
from qanat.control import api_tokens
from qanat.control.api_tokens import Owner, TokenContent
from qanat.errors import QanatError
from qanat.store import Store
from qanat.store.models import ApiToken, Audit
from tests.support.clock import MovedClock
from tests.support.writes import written

REFUSED = {"code": "token_refused", "message": "Invalid access token", "where": "Authorization"}


def disable(store: Store, row: ApiToken) -> None:
    content = TokenContent(name=row.name, policies=row.policies, disabled=True)
    owner = Owner(user_id=row.user_id)
    written(store, api_tokens.change, row.id, content, owner=owner, permit=lambda _session, _token: None)


def test_a_token_has_the_form_that_stock_clients_demand() -> None:
    token = make_token()
    assert re.fullmatch(r"[0-9A-Za-z_-]{40}", token)
    assert token.startswith("qnt_")
    assert is_well_formed(token)
    assert make_token() != token


def test_one_wrong_character_is_seen_without_the_database() -> None:
    token = make_token()
    for place in range(4, 40):
        other = "A" if token[place] != "A" else "B"
        assert not is_well_formed(token[:place] + other + token[place + 1 :])


def test_a_good_token_names_its_principal_and_its_use_is_noted(store: Store, account: str) -> None:
    text, row = written(store, issue, name="mine", account_id=account)
    principal = Verifier(store).verify(text, address="192.0.2.1")
    assert principal.token.id == row.id
    assert principal.reach("dns.read").accounts == frozenset({account})
    with store.reading() as session:
        used = session.get(ApiToken, row.id)
    assert used is not None
    assert used.last_used_from == "192.0.2.1"
    assert used.last_used_at is not None
    assert used.sha256 == token_hash(text)


@pytest.mark.parametrize(
    "why",
    ["unknown", "malformed", "expired", "not yet", "disabled", "empty", "not ASCII", "elsewhere", "denied", "deleted"],
)
def test_every_bad_token_gets_the_same_answer(store: Store, why: str) -> None:
    now = store.clock()
    text, row = written(
        store,
        issue,
        name="mine",
        expires_on=now - timedelta(seconds=1) if why == "expired" else None,
        not_before=now + timedelta(hours=1) if why == "not yet" else None,
        allowed_ips=["198.51.100.0/24", "2001:db8::/32"] if why == "elsewhere" else [],
        denied_ips=["192.0.2.0/28"] if why == "denied" else [],
    )
    match why:
        case "unknown":
            text = make_token()
        case "malformed":
            text = text[:-1]
        case "disabled":
            disable(store, row)
        case "deleted":
            written(store, api_tokens.delete, row.id, owner=Owner(user_id=row.user_id))
        case "empty":
            text = ""
        case "not ASCII":
            text = "qnt_" + "é" * 36
    with pytest.raises(QanatError) as refused:
        Verifier(store).verify(text, address="192.0.2.1")
    assert refused.value.as_dict() == REFUSED


@pytest.mark.parametrize(
    ("allowed", "denied", "address", "good"),
    [
        ([], [], "", True),
        (["192.0.2.0/24"], [], "192.0.2.9", True),
        (["192.0.2.0/24"], [], "::ffff:192.0.2.9", True),
        (["192.0.2.0/24"], [], "2001:db8::1", False),
        (["2001:db8::/32"], [], "2001:db8::1%eth0", True),
        (["192.0.2.0/24"], ["192.0.2.9/32"], "192.0.2.9", False),
        ([], ["192.0.2.9"], "192.0.2.8", True),
        (["0.0.0.0/0"], [], "", False),
        ([], ["192.0.2.9"], "no address", False),
    ],
)
def test_address_bounds(store: Store, allowed: list[str], denied: list[str], address: str, good: bool) -> None:
    _, row = written(store, issue, name="bound", allowed_ips=allowed, denied_ips=denied)
    assert may_come_from(row, address) is good


def test_a_token_in_memory_is_refused_from_its_change_on(store: Store) -> None:
    verifier = Verifier(store)
    text, row = written(store, issue, name="mine")
    owner = Owner(user_id=row.user_id)
    assert verifier.verify(text, address="").token.id == row.id
    other = make_token()
    written(store, api_tokens.roll, row.id, sha256=token_hash(other), owner=owner, permit=lambda _session, _token: None)
    with pytest.raises(QanatError):
        verifier.verify(text, address="")
    assert verifier.verify(other, address="").token.id == row.id
    written(store, api_tokens.delete, row.id, owner=owner)
    with pytest.raises(QanatError):
        verifier.verify(other, address="")


def test_a_token_in_memory_expires_on_time(store: Store) -> None:
    clock = MovedClock(store)
    verifier = Verifier(store)
    text, _ = written(store, issue, name="mine", expires_on=store.clock() + timedelta(seconds=10))
    verifier.verify(text, address="")
    clock.move(seconds=11)
    with pytest.raises(QanatError):
        verifier.verify(text, address="")


def test_a_deletion_while_a_token_is_read_does_not_leave_it_in_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = Verifier(store)
    text, row = written(store, issue, name="mine")
    from qanat.control import api_tokens

    find = api_tokens.find_by_sha256

    def read_and_lose(asked: Session, sha256: bytes) -> ApiToken | None:
        found = find(asked, sha256)
        monkeypatch.setattr(api_tokens, "find_by_sha256", find)
        written(store, api_tokens.delete, row.id, owner=Owner(user_id=row.user_id))
        return found

    monkeypatch.setattr(api_tokens, "find_by_sha256", read_and_lose)
    verifier.verify(text, address="")  # it was good when it was read
    with pytest.raises(QanatError):
        verifier.verify(text, address="")


def test_use_is_written_once_a_minute_and_for_each_new_address(store: Store) -> None:
    clock = MovedClock(store)
    verifier = Verifier(store)
    text, row = written(store, issue, name="mine")

    def noted() -> tuple[object, str | None, int]:
        with store.reading() as session:
            used = session.get(ApiToken, row.id)
            assert used is not None
            return (
                used.last_used_at,
                used.last_used_from,
                session.query(Audit).filter_by(action="token.used_from").count(),
            )

    for _ in range(3):
        verifier.verify(text, address="192.0.2.1")
    first = noted()
    assert first[1:] == ("192.0.2.1", 1)
    for address in ("192.0.2.2", "192.0.2.1", "192.0.2.2", "192.0.2.1"):
        verifier.verify(text, address=address)
    assert noted()[1:] == ("192.0.2.2", 2)
    clock.move(seconds=61)
    verifier.verify(text, address="192.0.2.1")
    last = noted()
    assert last[1:] == ("192.0.2.1", 2)
    assert last[0] != first[0]


def test_a_full_disk_keeps_no_good_token_from_reading(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(*_: object, **__: object) -> None:
        raise QanatError("store_full", "the disk is full")

    monkeypatch.setattr(api_tokens, "note_use", full)
    text, row = written(store, issue, name="mine")
    assert Verifier(store).verify(text, address="192.0.2.1").token.id == row.id


def test_what_is_recalled_needs_neither_reading_nor_writing(store: Store) -> None:
    clock = MovedClock(store)
    verifier = Verifier(store)
    text, row = written(store, issue, name="mine", expires_on=clock.now + timedelta(hours=1), denied_ips=["192.0.2.9"])
    assert verifier.recall(text, address="192.0.2.1") is None
    verifier.verify(text, address="192.0.2.1")
    recalled = verifier.recall(text, address="192.0.2.1")
    if store.file is None:
        assert recalled is None  # on PostgreSQL another node may have taken it away
        return
    assert recalled is not None
    assert recalled.token.id == row.id
    assert verifier.recall(text, address="192.0.2.2") is None
    assert verifier.recall(text, address="192.0.2.9") is None
    assert verifier.recall(text[:-1], address="192.0.2.1") is None
    clock.move(seconds=61)
    assert verifier.recall(text, address="192.0.2.1") is None
    verifier.verify(text, address="192.0.2.1")
    assert verifier.recall(text, address="192.0.2.1") is not None
    disable(store, row)
    assert verifier.recall(text, address="192.0.2.1") is None


def test_no_thread_accepts_a_token_after_its_deletion_was_answered(store: Store) -> None:
    verifier = Verifier(store)
    for _ in range(5):
        text, row = written(store, issue, name="mine")
        deleted, stop = Event(), Event()
        late: list[str] = []
        tried = Barrier(5)

        def ask(
            text: str = text,
            deleted: Event = deleted,
            stop: Event = stop,
            late: list[str] = late,
            tried: Barrier = tried,
        ) -> None:
            verifier.verify(text, address="")
            tried.wait()
            while not stop.is_set():
                was_deleted = deleted.is_set()
                try:
                    verifier.verify(text, address="")
                except QanatError:
                    if was_deleted:
                        return
                else:
                    if was_deleted:
                        late.append(text)

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            tried.wait()
            written(store, api_tokens.delete, row.id, owner=Owner(user_id=row.user_id))
            deleted.set()
            done, _ = wait(asking, timeout=20)
            stop.set()
        assert len(done) == 4
        assert [each.exception() for each in asking] == [None] * 4
        assert not late


@pytest.mark.requirement("S33")
def test_every_refusal_costs_one_reading(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """security.md S33: not even the time tells an unknown token from one that is good elsewhere or was good."""
    verifier = Verifier(store)
    now = store.clock()
    elsewhere, _ = written(store, issue, name="elsewhere", denied_ips=["192.0.2.1"])
    expired, _ = written(store, issue, name="expired", expires_on=now - timedelta(seconds=1))
    disabled, _ = written(store, issue, name="disabled", disabled=True)
    verifier.verify(elsewhere, address="192.0.2.2")
    from qanat.control import api_tokens

    find, reads = api_tokens.find_by_sha256, []

    def counted(asked: Session, sha256: bytes) -> ApiToken | None:
        reads.append(sha256)
        return find(asked, sha256)

    monkeypatch.setattr(api_tokens, "find_by_sha256", counted)
    for text in (make_token(), elsewhere, expired, disabled) * 2:
        reads.clear()
        with pytest.raises(QanatError):
            verifier.verify(text, address="192.0.2.1")
        assert len(reads) == 1
