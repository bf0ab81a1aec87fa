"""The store's contract, on each kind of database."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from qanat.control import tunnels
from qanat.errors import QanatError
from qanat.store import SYSTEM, Notice, NoticeKind, Store, open_store
from qanat.store.models import Account, Audit, Event, Zone
from qanat.store.sealing import Sealer
from tests.support.audits import first_broken
from tests.support.writes import first_account, written


def test_what_was_written_is_there_after_reopening(database: Path | str) -> None:
    first = open_store(database)
    account = first_account(first, name="mine")
    first.close()
    second = open_store(database)
    assert first_account(second, name="other").id == account.id
    second.close()


def test_a_write_that_fails_leaves_nothing_and_says_nothing(store: Store) -> None:
    heard: list[Notice] = []
    store.notices.subscribe(heard.append)
    with store.reading() as session:
        rows = session.scalar(select(func.count()).select_from(Audit))

    def fail_half_way() -> None:
        with store.writing(SYSTEM) as write:
            write.session.add(Account(id="0" * 32, name="half", settings={}, created_at=write.at))
            write.session.flush()
            write.audit("account.create", "0" * 32)
            write.notice(Notice(NoticeKind.API_TOKEN))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with store.reading() as session:
        assert session.get(Account, "0" * 32) is None
        assert session.scalar(select(func.count()).select_from(Audit)) == rows
    assert heard == []


def test_a_write_without_its_audit_row_is_undone(store: Store) -> None:
    with pytest.raises(AssertionError), store.writing(SYSTEM) as write:
        write.session.add(Account(id="0" * 32, name="unaudited", settings={}, created_at=write.at))
    with store.reading() as session:
        assert session.get(Account, "0" * 32) is None


@pytest.mark.parametrize("also_records", [False, True])
def test_what_is_left_to_another_process_is_decided_there_until_it_is_taken_back(
    store: Store, also_records: bool
) -> None:
    account = first_account(store)
    begun, go = Barrier(2), Barrier(2)

    def decide(name: str) -> None:
        with store.writing(SYSTEM) as write:
            write.session.get_one(Account, account.id).name = name
            write.audit("account.update", account.id)
            if name == "first":
                begun.wait()
                go.wait()

    first = Thread(target=decide, args=["first"])
    first.start()
    begun.wait()
    leaving = Thread(target=store.leave_to_other, kwargs={"also_records": also_records})
    leaving.start()
    go.wait()
    first.join()
    leaving.join()
    with pytest.raises(QanatError) as refused:
        decide("second")
    assert refused.value.code == "store_unavailable"
    note = Event(at=store.clock(), kind="lost", tunnel_id=None, detail={})
    if also_records:
        with pytest.raises(QanatError), store.recording():
            pass
    else:
        with store.recording() as write:
            write.session.add(note)
    with store.reading() as session:
        assert session.get_one(Account, account.id).name == "first", "the write under way was waited for"
    store.take_back()
    decide("third")
    with store.reading() as session:
        assert session.get_one(Account, account.id).name == "third"


def test_a_subscriber_that_fails_does_not_fail_the_write(store: Store) -> None:
    heard: list[Notice] = []

    def fail(_: Notice) -> None:
        raise RuntimeError

    store.notices.subscribe(fail)
    store.notices.subscribe(heard.append)
    with store.writing(SYSTEM) as write:
        write.audit("nothing", "")
        write.notice(Notice(NoticeKind.API_TOKEN))
    assert heard == [Notice(NoticeKind.API_TOKEN)]


def test_a_reader_sees_one_snapshot(store: Store) -> None:
    with store.reading() as session:
        before = session.scalar(select(func.count()).select_from(Audit))
        with store.writing(SYSTEM) as write:
            write.audit("meanwhile", "")
        assert session.scalar(select(func.count()).select_from(Audit)) == before
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Audit)) == (before or 0) + 1


def _at_once(count: int, act: Callable[[int], object]) -> list[object]:
    """What each of many threads got or raised."""
    barrier = Barrier(count)
    results: list[object] = [None] * count

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = act(number)
        except QanatError as error:
            results[number] = error.code

    threads = [Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_concurrent_creates_of_one_name_have_one_winner(store: Store, sealer: Sealer, account: str) -> None:
    results = _at_once(
        8,
        lambda _: written(
            store, tunnels.create, sealer, account_id=account, name="same", secret=bytes(32), config_src="local"
        ),
    )
    assert results.count("tunnel_name_taken") == 7
    with store.reading() as session:
        assert first_broken(session) is None


def test_concurrent_writers_make_one_chain(store: Store) -> None:
    def write_some(number: int) -> None:
        for step in range(10):
            with store.writing(SYSTEM) as write:
                write.audit("some", f"{number}.{step}")

    _at_once(6, write_some)
    with store.reading() as session:
        assert first_broken(session) is None
        assert session.scalar(select(func.count()).select_from(Audit).where(Audit.action == "some")) == 60


def test_what_fails_leaves_no_gap_in_the_chain(store: Store) -> None:
    for number in range(6):
        try:
            with store.writing(SYSTEM) as write:
                write.audit("try", str(number))
                write.session.flush()
                if number % 2:
                    raise RuntimeError
        except RuntimeError:
            continue
    with store.reading() as session:
        seqs = list(session.scalars(select(Audit.seq).order_by(Audit.seq)))
        assert first_broken(session) is None
    assert seqs == list(range(1, len(seqs) + 1))


def test_times_keep_their_moment_and_texts_their_characters(store: Store) -> None:
    moment = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    name = "Zähler “ÆØÅ” 水 😀 \x7f\t%s :x"
    with store.recording() as write:
        write.session.add(Account(id="a" * 32, name=name, settings={"ключ": [1, None, "😀"]}, created_at=moment))
    with store.reading() as session:
        row = session.get(Account, "a" * 32)
    assert row is not None
    assert (row.created_at, row.created_at.tzinfo) == (moment, UTC)
    assert row.name == name
    assert row.settings == {"ключ": [1, None, "😀"]}


def test_texts_are_in_the_order_of_code_points_and_like_knows_case(store: Store, account: str) -> None:
    names = ["b", "B", "a", "ä", "a-b", "aa", "_a", "Z"]
    with store.recording() as write:
        for number, name in enumerate(names):
            write.session.add(
                Zone(
                    id=f"{number:032x}",
                    account_id=account,
                    name=name,
                    paused=False,
                    type="full",
                    created_at=write.at,
                    modified_at=write.at,
                )
            )
    with store.reading() as session:
        assert list(session.scalars(select(Zone.name).order_by(Zone.name))) == sorted(names)
        assert list(session.scalars(select(Zone.name).where(Zone.name.startswith("B")))) == ["B"]
        assert set(session.scalars(select(Zone.name).where(Zone.name.istartswith("B")))) == {"B", "b"}


@pytest.mark.parametrize("value", [10**12, 10**30])
def test_a_number_that_does_not_fit_is_told_or_kept(store: Store, value: int) -> None:
    """A column that is too small is no fault of the database's: 400, and nothing written."""
    try:
        with store.recording() as write:
            write.session.add(Event(id=value, at=write.at, kind="x", tunnel_id=None, detail={}))
    except QanatError as error:
        assert error.code == "value_unstorable"
        assert value == 10**30
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == (1 if value == 10**12 else 0)


def test_half_a_surrogate_pair_is_told(store: Store) -> None:
    with pytest.raises(QanatError) as refused, store.recording() as write:
        write.session.add(Account(id="a" * 32, name="\ud800", settings={}, created_at=write.at))
    assert refused.value.code == "value_unstorable"


def test_an_exception_of_the_database_shows_no_values(store: Store, account: str) -> None:
    with pytest.raises(IntegrityError, match="hidden") as raised, store.recording() as write:
        write.session.add(Account(id=account, name="canary-7f3a", settings={}, created_at=write.at))
    assert "canary-7f3a" not in f"{raised.value!r} {raised.value}"
