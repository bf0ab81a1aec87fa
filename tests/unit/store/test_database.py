import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from qanat.errors import QanatError
from qanat.store import SYSTEM, Notice, NoticeKind, Store, open_store
from qanat.store.accounts import ensure_first_account
from qanat.store.database import APPLICATION_ID
from qanat.store.models import Account, Audit
from qanat.store.schema import downgrade, migrate


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


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    first = open_store(tmp_path / "qanat.db")
    account = ensure_first_account(first, SYSTEM, name="mine")
    first.close()
    second = open_store(tmp_path / "qanat.db")
    assert ensure_first_account(second, SYSTEM, name="other").id == account.id
    second.close()


def test_writes_are_durable_and_foreign_keys_hold(store: Store) -> None:
    with store.reading() as session:
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1


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
    ensure_first_account(store, SYSTEM, name="first")
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
    ensure_first_account(store, SYSTEM, name="first")
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


def test_a_write_that_fails_leaves_nothing_and_says_nothing(store: Store) -> None:
    heard: list[Notice] = []
    store.notices.subscribe(heard.append)
    with store.reading() as session:
        rows = session.scalar(select(func.count()).select_from(Audit))

    def fail_half_way() -> None:
        with store.writing(SYSTEM) as write:
            write.session.add(Account(id="0" * 32, name="half", created_at=write.at))
            write.session.flush()
            write.audit("account.create", "0" * 32)
            write.notice(Notice(NoticeKind.ACCOUNT))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with store.reading() as session:
        assert session.get(Account, "0" * 32) is None
        assert session.scalar(select(func.count()).select_from(Audit)) == rows
    assert heard == []


def test_a_write_without_its_audit_row_is_undone(store: Store) -> None:
    with pytest.raises(AssertionError), store.writing(SYSTEM) as write:
        write.session.add(Account(id="0" * 32, name="unaudited", created_at=write.at))
    with store.reading() as session:
        assert session.get(Account, "0" * 32) is None


def test_a_subscriber_that_fails_does_not_fail_the_write(store: Store) -> None:
    heard: list[Notice] = []

    def fail(_: Notice) -> None:
        raise RuntimeError

    store.notices.subscribe(fail)
    store.notices.subscribe(heard.append)
    with store.writing(SYSTEM) as write:
        write.audit("nothing", "")
        write.notice(Notice(NoticeKind.ACCOUNT))
    assert heard == [Notice(NoticeKind.ACCOUNT)]


def test_a_full_disk_is_told_as_such_and_loses_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "qanat.db")
    account = ensure_first_account(store, SYSTEM, name="first")

    def write_much() -> None:
        with store.writing(SYSTEM) as write:
            write.session.execute(text("PRAGMA max_page_count = 1"))
            for number in range(2000):
                write.session.add(Account(id=f"{number:032x}", name="x" * 200, created_at=write.at))
            write.audit("much", "")

    with pytest.raises(QanatError) as refused:
        write_much()
    assert refused.value.code == "store_full"
    store.close()
    reopened = open_store(tmp_path / "qanat.db")
    with reopened.reading() as session:
        assert list(session.scalars(select(Account.id))) == [account.id]
    reopened.close()


def test_down_and_up_again(tmp_path: Path) -> None:
    store = open_store(tmp_path / "qanat.db")
    engine = store._engine
    downgrade(engine, "base")
    with engine.connect() as connection:
        tables = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars())
    assert tables <= {"alembic_version", "sqlite_sequence"}
    migrate(engine)
    ensure_first_account(store, SYSTEM, name="again")
    store.close()
