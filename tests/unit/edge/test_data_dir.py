import json
import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from qanat.auth import Verifier, one_time
from qanat.control import tunnels
from qanat.edge.data_dir import DataDir, State
from qanat.errors import QanatError
from qanat.settings import StoreSettings
from qanat.store import SYSTEM
from qanat.store import keys as store_keys
from qanat.store.database import utc_now
from qanat.store.models import Audit
from tests.support.postgres import Postgres
from tests.support.writes import first_account, written

SQLITE = StoreSettings()


@pytest.fixture
def settings(database: Path | str) -> StoreSettings:
    """Those of an edge on each kind of database; a file is the data directory's own."""
    return StoreSettings(url=database, busy_timeout_s=1.0) if isinstance(database, str) else SQLITE


def _open(directory: DataDir, settings: StoreSettings = SQLITE) -> State:
    return directory.open(settings, account="mine")


def _refusal(directory: DataDir, settings: StoreSettings = SQLITE) -> QanatError:
    with pytest.raises(QanatError) as refused:
        _open(directory, settings)
    return refused.value


@pytest.mark.requirement("S35")
def test_a_setup_token_lets_the_first_user_in_once_and_goes_when_somebody_can_sign_in(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "data").lock()
    first = _open(directory)
    text = first.setup_token
    assert text is not None
    assert directory.setup_file.read_text().strip() == text
    assert directory.setup_file.stat().st_mode & 0o777 == 0o600
    first.close()
    again = _open(directory)
    assert again.setup_token is None, "that of before is still good"
    again.store.clock = lambda: utc_now() + timedelta(days=2)
    with again.store.reading() as session:
        assert one_time.find(session, text, at=again.store.clock()) is None
    again.close()
    directory.setup_file.unlink()
    lost = _open(directory)
    assert lost.setup_token not in (None, text)
    with lost.store.recording() as write:
        assert one_time.find(write.session, text, at=write.at) is None
        one_time.use(write, lost.setup_token or "", password_hash="$argon2id$…", email="mir@example.com")
    lost.close()
    done = _open(directory)
    assert done.setup_token is None
    assert not directory.setup_file.exists()
    done.close()
    directory.unlock()


def test_the_first_start_makes_everything_and_the_second_nothing(tmp_path: Path, settings: StoreSettings) -> None:
    directory = DataDir(tmp_path / "data").lock()
    assert directory.path.stat().st_mode & 0o777 == 0o700
    first = _open(directory, settings)
    assert first.first_token is not None
    assert directory.token_file.read_text().strip() == first.first_token
    for file in (directory.token_file, directory.key, *([directory.database] if settings.url is None else [])):
        assert file.stat().st_mode & 0o777 == 0o600
    assert directory.database.exists() == (settings.url is None)
    Verifier(first.store).verify(first.first_token, address="127.0.0.1")
    first.close()
    second = _open(directory, settings)
    assert second.first_token is None
    second.close()
    directory.unlock()


def test_only_one_edge_at_a_time(tmp_path: Path) -> None:
    directory = DataDir(tmp_path).lock()
    with pytest.raises(QanatError) as refused:
        DataDir(tmp_path).lock()
    assert refused.value.code == "data_dir_in_use"
    directory.unlock()
    DataDir(tmp_path).lock().unlock()


def test_only_one_edge_on_a_database_at_a_time(tmp_path: Path, postgres: Postgres) -> None:
    settings = StoreSettings(url=postgres.empty_database(), busy_timeout_s=0.5)
    first = DataDir(tmp_path / "first").lock()
    state = _open(first, settings)
    second = DataDir(tmp_path / "second").lock()
    refusal = _refusal(second, settings)
    assert refusal.code == "store_in_use"
    state.close()
    # With the key of the first it may follow; with none it would seal under one that the first can't open.
    assert _refusal(second, settings).code == "secret_key_missing"
    second.key.write_bytes(first.key.read_bytes())
    second.key.chmod(0o600)
    _open(second, settings).close()


def test_a_directory_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(QanatError) as refused:
        DataDir(tmp_path / "file" / "data").lock()
    assert refused.value.code == "data_dir_unusable"


@pytest.mark.parametrize("left", [None, b""])
def test_a_lost_database_is_not_replaced_by_an_empty_one(tmp_path: Path, left: bytes | None) -> None:
    directory = DataDir(tmp_path).lock()
    _open(directory).close()
    directory.database.unlink()
    if left is not None:
        directory.database.write_bytes(left)
    assert _refusal(directory).code == "store_missing"
    directory.unlock()


def test_an_empty_database_at_the_url_is_not_taken_for_the_one_before(tmp_path: Path, postgres: Postgres) -> None:
    directory = DataDir(tmp_path).lock()
    _open(directory, StoreSettings(url=postgres.empty_database())).close()
    refusal = _refusal(directory, StoreSettings(url=postgres.empty_database()))
    assert refusal.code == "store_missing"
    assert refusal.where == "store.url"
    # Nor is a file that isn't there, when the URL was forgotten.
    assert _refusal(directory).code == "store_missing"
    assert not directory.database.exists()


def test_a_lost_key_is_not_replaced_once_something_is_sealed(tmp_path: Path, settings: StoreSettings) -> None:
    directory = DataDir(tmp_path / "data").lock()
    state = _open(directory, settings)
    account = first_account(state.store, name="mine")
    written(
        state.store, tunnels.create, state.sealer, account_id=account.id, name="t", secret=bytes(32), config_src="local"
    )
    state.close()
    directory.key.unlink()
    assert _refusal(directory, settings).code == "secret_key_missing"
    assert not directory.key.exists()
    directory.unlock()


def test_another_key_is_refused_before_anything_is_sealed_with_it(tmp_path: Path, settings: StoreSettings) -> None:
    directory = DataDir(tmp_path / "data").lock()
    _open(directory, settings).close()
    directory.key.write_text("ab" * 32 + "\n")
    assert _refusal(directory, settings).code == "secret_key_wrong"


def test_a_start_that_was_cut_before_the_key_was_made_goes_on(
    tmp_path: Path, settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = DataDir(tmp_path / "data").lock()

    def cut(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("qanat.edge.data_dir.make_key", cut)
        _open(directory, settings)
    state = _open(directory, settings)
    assert directory.key.exists()
    assert state.first_token is not None
    state.close()
    directory.unlock()


def test_the_key_may_come_from_a_command_and_is_never_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "elsewhere"
    kept.write_text("cd" * 32 + "\n")
    settings = StoreSettings(key_command=("cat", str(kept)))
    directory = DataDir(tmp_path / "data").lock()
    state = _open(directory, settings)
    state.close()
    assert not directory.key.exists()
    directory.database.unlink()
    assert _refusal(directory, settings).code == "store_missing"
    for content in (file.read_bytes() for file in directory.path.rglob("*") if file.is_file()):
        assert b"cdcdcd" not in content
    assert "cdcdcd" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("false",), "key_command_failed"),
        (("/nonexistent/kms",), "key_command_failed"),
        (("echo", "deadbeef"), "secret_key_bad"),
        (("true",), "secret_key_bad"),
    ],
)
def test_a_key_command_that_gives_no_key_is_refused_without_telling_it(
    tmp_path: Path, command: tuple[str, ...], code: str
) -> None:
    refusal = _refusal(DataDir(tmp_path).lock(), StoreSettings(key_command=command))
    assert refusal.code == code
    assert "deadbeef" not in str(refusal)


def test_a_rotation_with_a_command_says_what_to_do_and_then_takes_the_new_key(tmp_path: Path) -> None:
    kept = tmp_path / "elsewhere"
    old, new = "cd" * 32, "ef" * 32
    kept.write_text(f"{old}\n")
    settings = StoreSettings(key_command=("cat", str(kept)))
    directory = DataDir(tmp_path / "data").lock()
    state = _open(directory, settings)
    with pytest.raises(QanatError) as refused:
        state.keys.rotate(state.store, SYSTEM)
    assert refused.value.code == "key_rotation_elsewhere"
    kept.write_text(f"{new}\n{old}\n")
    assert state.keys.rotate(state.store, SYSTEM).left == 1
    kept.write_text(f"{new}\n")
    state.close()
    state = _open(directory, settings)
    assert store_keys.is_current(state.store, state.sealer)
    state.close()


def test_what_a_cut_backup_left_is_cleared_away(tmp_path: Path) -> None:
    directory = DataDir(tmp_path).lock()
    (tmp_path / "backup-0123.tmp").write_bytes(b"half")
    (tmp_path / "qanat.db.restoring").write_bytes(b"half")
    _open(directory).close()
    assert not list(tmp_path.glob("*.tmp"))
    assert not list(tmp_path.glob("*.restoring"))


def test_a_data_directory_that_others_own_is_told(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(QanatError) as refused:
        DataDir(tmp_path / "data").lock()
    assert refused.value.code == "data_dir_unusable"


def test_who_has_the_host_gets_a_new_token(tmp_path: Path, settings: StoreSettings) -> None:
    directory = DataDir(tmp_path / "data").lock()
    with pytest.raises(QanatError) as refused:
        directory.new_token(settings, account="mine")
    assert (refused.value.code, directory.token_file.exists()) == ("store_missing", False)
    first = _open(directory, settings)
    before = first.first_token
    first.close()
    directory.token_file.chmod(0o644)
    directory.new_token(settings, account="mine")
    text = directory.token_file.read_text().strip()
    assert directory.token_file.stat().st_mode & 0o777 == 0o600
    second = _open(directory, settings)
    assert second.first_token is None
    assert before is not None and text != before
    for token in (before, text):
        Verifier(second.store).verify(token, address="127.0.0.1")
    with second.store.reading() as session:
        newest = session.scalars(select(Audit).where(Audit.action == "token.create").order_by(Audit.seq.desc())).first()
    assert newest is not None
    assert (newest.action, newest.actor_kind, json.loads(newest.detail)["name"]) == (
        "token.create",
        "system",
        "made on the edge's host",
    )
    second.close()
    directory.unlock()


def test_a_token_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    directory = DataDir(tmp_path / "data").lock()
    _open(directory).close()
    before = directory.token_file.read_text()
    with monkeypatch.context() as patched, pytest.raises(QanatError, match="No space"):
        patched.setattr("qanat.store.secret_file.os.fsync", full)
        directory.new_token(SQLITE, account="mine")
    assert directory.token_file.read_text() == before
    directory.unlock()


def test_a_process_beside_the_one_that_writes_opens_what_is_there_and_writes_nothing(
    tmp_path: Path, settings: StoreSettings
) -> None:
    first = DataDir(tmp_path / "data").lock()
    running = _open(first, settings)
    begun = first.path / "backup-of-an-api-call.tmp"
    begun.touch()
    second = DataDir(tmp_path / "data").inherit(os.dup(first.lock_file))
    assert second.is_current(settings)
    beside = second.open(settings, account="another", beside=True)
    assert beside.first_token is None
    assert first_account(beside.store).id == first_account(running.store).id
    assert begun.exists(), "a start of its own would clean it away"
    assert beside.lease is None or not beside.lease.is_held
    running.close()
    first.unlock()
    with pytest.raises(QanatError) as refused:
        DataDir(tmp_path / "data").lock()
    assert refused.value.code == "data_dir_in_use", "the lock has never come free"
    if beside.lease is not None:
        beside.lease.acquire(wait_s=5.0)
        assert beside.lease.is_held
    beside.close()
    second.unlock()
    third = DataDir(tmp_path / "data").lock()
    third.unlock()


def test_a_schema_of_another_version_is_not_current(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "data").lock()
    _open(directory).close()
    with sqlite3.connect(directory.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    assert not directory.is_current(SQLITE)
    directory.unlock()
