from pathlib import Path

import pytest

from qanat.auth import verify
from qanat.edge.data_dir import DataDir, State
from qanat.errors import QanatError
from qanat.store import SYSTEM, tunnels
from qanat.store.accounts import ensure_first_account


def _open(directory: DataDir) -> State:
    return directory.open(account="mine", busy_timeout_s=1.0)


def _refusal(directory: DataDir) -> str:
    with pytest.raises(QanatError) as refused:
        _open(directory)
    return refused.value.code


def test_the_first_start_makes_everything_and_the_second_nothing(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "data").lock()
    assert directory.path.stat().st_mode & 0o777 == 0o700
    first = _open(directory)
    assert first.first_token is not None
    assert directory.token_file.read_text().strip() == first.first_token
    for file in (directory.token_file, directory.key, directory.database):
        assert file.stat().st_mode & 0o777 == 0o600
    verify(first.store, first.first_token, address="127.0.0.1")
    first.store.close()
    second = _open(directory)
    assert second.first_token is None
    second.store.close()
    directory.unlock()


def test_only_one_edge_at_a_time(tmp_path: Path) -> None:
    directory = DataDir(tmp_path).lock()
    with pytest.raises(QanatError) as refused:
        DataDir(tmp_path).lock()
    assert refused.value.code == "data_dir_in_use"
    directory.unlock()
    DataDir(tmp_path).lock().unlock()


def test_a_directory_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(QanatError) as refused:
        DataDir(tmp_path / "file" / "data").lock()
    assert refused.value.code == "data_dir_unusable"


@pytest.mark.parametrize("left", [None, b""])
def test_a_lost_database_is_not_replaced_by_an_empty_one(tmp_path: Path, left: bytes | None) -> None:
    directory = DataDir(tmp_path).lock()
    _open(directory).store.close()
    directory.database.unlink()
    if left is not None:
        directory.database.write_bytes(left)
    assert _refusal(directory) == "store_missing"
    directory.unlock()


def test_a_lost_key_is_not_replaced_once_something_is_sealed(tmp_path: Path) -> None:
    directory = DataDir(tmp_path).lock()
    state = _open(directory)
    account = ensure_first_account(state.store, SYSTEM, name="mine")
    tunnels.create_tunnel(
        state.store, SYSTEM, state.sealer, account_id=account.id, name="t", secret=bytes(32), config_src="local"
    )
    state.store.close()
    directory.key.unlink()
    assert _refusal(directory) == "secret_key_missing"
    assert not directory.key.exists()
    directory.unlock()


def test_a_start_that_was_cut_before_the_key_was_made_goes_on(tmp_path: Path) -> None:
    directory = DataDir(tmp_path).lock()
    _open(directory).store.close()
    directory.key.unlink()
    directory.token_file.unlink()
    state = _open(directory)
    assert directory.key.exists()
    state.store.close()
    directory.unlock()
