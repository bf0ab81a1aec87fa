import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, text

from qanat.errors import QanatError
from qanat.store import SYSTEM, Store, open_store, sqlite
from qanat.store.models import Account, Audit
from qanat.store.sqlite import APPLICATION_ID
from tests.support.writes import first_account


def _refusal(file: Path) -> QanatError:
    with pytest.raises(QanatError) as refused:
        open_store(file)
    return refused.value


def test_a_new_file_is_private_and_marked_as_ours(tmp_path: Path) -> None:
    file = tmp_path / "qanat.db"
    open_store(file).close()
    assert file.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


def test_writes_are_durable_and_foreign_keys_hold(tmp_path: Path) -> None:
    store = open_store(tmp_path / "qanat.db")
    with store.reading() as session:
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1
    store.close()


def test_a_file_that_is_no_database_is_refused_and_untouched(tmp_path: Path) -> None:
    file = tmp_path / "qanat.db"
    file.write_bytes(b"hello, I am a text\n" * 100)
    assert _refusal(file).code == "store_not_ours"
    assert file.read_bytes() == b"hello, I am a text\n" * 100


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "qanat.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE somebody_elses (x)")
    connection.commit()
    connection.close()
    refusal = _refusal(file)
    assert refusal.code == "store_not_ours"
    assert refusal.where == str(file)


def test_a_damaged_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "qanat.db"
    store = open_store(file)
    first_account(store)
    store.close()
    content = bytearray(file.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    file.write_bytes(content)
    refusal = _refusal(file)
    assert refusal.code == "store_damaged"
    assert file.read_bytes() == content


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "qanat.db"
    store = open_store(file)
    first_account(store)
    store.close()
    file.write_bytes(file.read_bytes()[: 4096 * 3])
    assert _refusal(file).code == "store_damaged"


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "qanat.db"
    open_store(file).close()
    connection = sqlite3.connect(file)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    refusal = _refusal(file)
    assert refusal.code == "store_newer"
    assert "9999" in refusal.message


def test_a_full_disk_is_told_as_such_and_loses_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "qanat.db")
    account = first_account(store)

    def write_much() -> None:
        with store.writing(SYSTEM) as write:
            write.session.execute(text("PRAGMA max_page_count = 1"))
            for number in range(2000):
                write.session.add(Account(id=f"{number:032x}", name="x" * 200, settings={}, created_at=write.at))
            write.audit("much", "")

    with pytest.raises(QanatError) as refused:
        write_much()
    assert refused.value.code == "store_full"
    store.close()
    reopened = open_store(tmp_path / "qanat.db")
    with reopened.reading() as session:
        assert list(session.scalars(select(Account.id))) == [account.id]
    reopened.close()


@contextmanager
def _files_at_most(size: int) -> Iterator[None]:
    """As on a full disk: this process can't make a file larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_when_no_file_can_grow_what_was_acknowledged_stays_and_reads_go_on(tmp_path: Path) -> None:
    file = tmp_path / "qanat.db"
    store = open_store(file)
    acknowledged: list[str] = [first_account(store).id]

    def write_until_it_fails() -> None:
        for number in range(1000):
            with store.writing(SYSTEM) as write:
                account_id = f"{number:032x}"
                write.session.add(Account(id=account_id, name="x" * 500, settings={}, created_at=write.at))
                write.audit("account.create", account_id)
            acknowledged.append(account_id)

    wal = file.with_name("qanat.db-wal")
    with _files_at_most(wal.stat().st_size + 100_000), pytest.raises(QanatError) as refused:
        write_until_it_fails()
    assert refused.value.code in ("store_full", "store_unavailable")
    assert "nothing was written" in refused.value.message
    assert len(acknowledged) > 1
    with store.reading() as session:
        assert set(session.scalars(select(Account.id))) == set(acknowledged)
    store.close()
    again = open_store(file)
    with again.reading() as session:
        assert set(session.scalars(select(Account.id))) == set(acknowledged)
    again.close()


def test_a_copy_is_whole_while_writers_go_on(tmp_path: Path) -> None:
    store = open_store(tmp_path / "qanat.db")
    first_account(store)
    for number in range(20):
        with store.writing(SYSTEM) as write:
            write.audit("before", str(number))
        sqlite.copy(tmp_path / "qanat.db", tmp_path / f"copy{number}.db")
        with store.writing(SYSTEM) as write:
            write.audit("after", str(number))
        copied = Store(sqlite.open_file(tmp_path / f"copy{number}.db", busy_timeout_s=1.0))
        with copied.reading() as session:
            last = session.scalars(select(Audit).order_by(Audit.seq.desc())).first()
            assert last is not None
            assert (last.action, last.object_id) == ("before", str(number))
        copied.close()
    assert (tmp_path / "copy0.db").stat().st_mode & 0o777 == 0o600
    store.close()


def test_a_copy_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "qanat.db")
    with _files_at_most(10_000), pytest.raises(QanatError):
        sqlite.copy(tmp_path / "qanat.db", tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy*"))
    store.close()


def test_a_damaged_page_that_is_met_later_is_told(tmp_path: Path) -> None:
    file = tmp_path / "qanat.db"
    store = open_store(file)
    first_account(store)
    store.close()
    engine = sqlite.open_file(file, busy_timeout_s=1.0)
    content = bytearray(file.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    file.write_bytes(content)
    damaged = Store(engine, file=file)
    with pytest.raises(QanatError) as refused, damaged.reading() as session:
        list(session.scalars(select(Account)))
    assert refused.value.code == "store_damaged"
    damaged.close()
