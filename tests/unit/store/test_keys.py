"""The key ring: rotation, crashes on the way, and rotation beside writers."""

from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import select

from qanat.control import tunnels
from qanat.errors import QanatError
from qanat.store import SYSTEM, Actor, Store, keys
from qanat.store.keys import KeyRing, check_key, is_current
from qanat.store.models import Audit, Base, KeyCheck, Tunnel
from qanat.store.sealing import FIRST_FORM, Sealer, load_key, make_key, read_keys
from tests.support.audits import first_broken
from tests.support.writes import written

STEPS = ("key written", "sealed anew", "old key dropped")


@pytest.fixture
def ring(tmp_path: Path, store: Store) -> KeyRing:
    """A ring on a key file, which has sealed something."""
    file = tmp_path / "secret.key"
    ring = KeyRing(make_key(file), file=file)
    check_key(store, ring.sealer)
    return ring


def _create(store: Store, sealer: Sealer, account: str, name: str) -> bytes:
    secret = name.encode().ljust(32, b"-")
    written(store, tunnels.create, sealer, account_id=account, name=name, secret=secret, config_src="cloudflare")
    return secret


def _secrets(store: Store, sealer: Sealer) -> list[bytes]:
    with store.reading() as session:
        return sorted(tunnels.open_secret(sealer, row) for row in session.scalars(select(Tunnel)))


def test_every_table_with_sealed_secrets_is_known() -> None:
    found = {
        table.name for table in Base.metadata.tables.values() for column in table.c if column.name.startswith("sealed")
    }
    assert {model.__tablename__ for model in keys.SEALED} == found


def test_after_a_rotation_only_the_new_key_is_there_and_opens_everything(
    store: Store, account: str, ring: KeyRing, tmp_path: Path
) -> None:
    wanted = sorted(_create(store, ring.sealer, account, f"t{number}") for number in range(3))
    before = read_keys(tmp_path / "secret.key")
    done = ring.rotate(store, Actor(kind="token", name="abc"))
    assert done.secrets == 3
    after = read_keys(tmp_path / "secret.key")
    assert len(after) == 1
    assert not set(after) & set(before)
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert _secrets(store, load_key(tmp_path / "secret.key")) == wanted
    with pytest.raises(QanatError):
        _secrets(store, Sealer(*before))
    with store.reading() as session:
        row = session.scalars(select(Audit).order_by(Audit.seq.desc())).first()
        assert first_broken(session) is None
    assert row is not None
    assert (row.action, row.actor, row.object_id) == ("key.rotate", "abc", done.key_id)
    assert after[0].hex() not in row.detail


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_point_of_a_rotation_leaves_everything_openable(
    store: Store, account: str, ring: KeyRing, tmp_path: Path, step: str
) -> None:
    file = tmp_path / "secret.key"
    wanted = [_create(store, ring.sealer, account, "t")]

    def crash(reached: str) -> None:
        if reached == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ring.rotate(store, SYSTEM, reached=crash)
    started = KeyRing(load_key(file), file=file)
    check_key(store, started.sealer)
    assert _secrets(store, started.sealer) == wanted
    # The next rotation leaves one key again.
    started.rotate(store, SYSTEM)
    assert len(read_keys(file)) == 1
    assert _secrets(store, load_key(file)) == wanted


def test_a_rotation_that_can_not_open_a_secret_changes_no_row(
    store: Store, account: str, ring: KeyRing, tmp_path: Path
) -> None:
    _create(store, Sealer(bytes(32)), account, "foreign")
    mine = _create(store, ring.sealer, account, "mine")
    with pytest.raises(QanatError) as refused:
        ring.rotate(store, SYSTEM)
    assert refused.value.code == "secret_key_wrong"
    with store.reading() as session:
        row = session.scalar(select(Tunnel).where(Tunnel.name == "mine"))
    assert row is not None
    assert tunnels.open_secret(load_key(tmp_path / "secret.key"), row) == mine


def test_what_is_written_beside_a_rotation_opens_with_the_new_key_alone(
    store: Store, account: str, ring: KeyRing, tmp_path: Path
) -> None:
    stop = Event()
    created: list[bytes] = []

    def write() -> None:
        while not stop.is_set():
            created.append(_create(store, ring.sealer, account, f"t{len(created)}"))

    writer = Thread(target=write)
    writer.start()
    for _ in range(5):
        ring.rotate(store, SYSTEM)
    stop.set()
    writer.join()
    sealer = load_key(tmp_path / "secret.key")
    assert is_current(store, sealer)
    assert _secrets(store, sealer) == sorted(created)


def test_a_secret_in_the_form_before_key_ids_still_opens(
    store: Store, account: str, ring: KeyRing, tmp_path: Path
) -> None:
    secret = _create(store, ring.sealer, account, "old")
    with store.recording() as write:
        row = write.session.scalars(select(Tunnel)).one()
        row.sealed_secret = FIRST_FORM + row.sealed_secret[5:]
        check = write.session.get(KeyCheck, "newest")
        assert check is not None
        write.session.delete(check)
    started = KeyRing(load_key(tmp_path / "secret.key"), file=tmp_path / "secret.key")
    check_key(store, started.sealer)
    assert _secrets(store, started.sealer) == [secret]
    assert started.rotate(store, SYSTEM).secrets == 1
    assert _secrets(store, load_key(tmp_path / "secret.key")) == [secret]


def test_a_key_file_that_can_not_be_written_is_told_and_stays(store: Store, ring: KeyRing, tmp_path: Path) -> None:
    before = (tmp_path / "secret.key").read_bytes()
    (tmp_path / "secret.key.new").mkdir()
    with pytest.raises(QanatError) as refused:
        ring.rotate(store, SYSTEM)
    assert refused.value.code == "data_dir_unusable"
    assert (tmp_path / "secret.key").read_bytes() == before
    (tmp_path / "secret.key.new").rmdir()
    ring.rotate(store, SYSTEM)


def test_one_damaged_secret_is_no_wrong_key(store: Store, account: str, ring: KeyRing) -> None:
    """A database of before the key check: the key is judged by some secrets, not by the first."""
    for number in range(3):
        _create(store, ring.sealer, account, f"t{number}")
    with store.recording() as write:
        check = write.session.get_one(KeyCheck, "newest")
        write.session.delete(check)
        first = write.session.scalars(select(Tunnel).order_by(Tunnel.id)).first()
        assert first is not None
        first.sealed_secret = b"damaged"
    check_key(store, ring.sealer)
    with store.recording() as write:
        write.session.delete(write.session.get_one(KeyCheck, "newest"))
    with pytest.raises(QanatError) as refused:
        check_key(store, Sealer(bytes(32)))
    assert refused.value.code == "secret_key_wrong"
