"""Backup, restore and key rotation over the API."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from qanat.api.qanat import upkeep
from qanat.auth import issue
from qanat.control import tunnels
from qanat.edge.backup import check_backup, restore_backup
from qanat.errors import QanatError
from qanat.store import open_store
from qanat.store.models import Audit, Tunnel
from qanat.store.sealing import load_key
from qanat.store.sqlite import APPLICATION_ID
from tests.support.audits import first_broken
from tests.support.control import Control, check_failure, running_control
from tests.support.writes import written

BACKUP = "/qanat/backup"
ROTATE = "/qanat/keys/rotate"


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Control]:
    """For what only SQLite has."""
    with running_control(tmp_path) as running:
        yield running


def _take(control: Control, file: Path) -> bytes:
    answer = control.http.get(BACKUP)
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["content-type"] == "application/vnd.sqlite3"
    assert answer.headers["content-disposition"].startswith('attachment; filename="qanat-')
    assert answer.headers["cache-control"] == "no-store"
    file.write_bytes(answer.content)
    return answer.content


def test_a_backup_is_a_whole_database_and_leaves_no_file(on_sqlite: Control, tmp_path: Path) -> None:
    made = on_sqlite.create_tunnel("t1")
    before = {file.name for file in tmp_path.iterdir()}
    content = _take(on_sqlite, tmp_path / "copy")
    assert {file.name for file in tmp_path.iterdir()} - before == {"copy"}
    found = check_backup(tmp_path / "copy")
    assert (found["tunnels"], found["accounts"], found["bytes"]) == (1, 1, len(content))
    with sqlite3.connect(tmp_path / "copy") as connection:
        assert connection.execute("SELECT id FROM tunnels").fetchall() == [(made["id"],)]
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()
    with on_sqlite.store.reading() as session:
        row = session.scalars(select(Audit).order_by(Audit.seq.desc())).first()
        assert row is not None
        assert row.action == "backup.take"
        assert first_broken(session) is None


def test_a_client_that_leaves_in_the_middle_leaves_no_file(on_sqlite: Control, tmp_path: Path) -> None:
    with on_sqlite.http.stream("GET", BACKUP) as answer:
        next(answer.iter_raw(100))
    assert not list(tmp_path.glob("*.tmp"))


def test_an_answer_that_is_never_begun_holds_no_file_open(on_sqlite: Control) -> None:
    """Its client may be gone by then: the copy would take its place on the disk for as long as the edge runs."""
    who = on_sqlite.context.verifier.verify(on_sqlite.token, address="127.0.0.1")
    answer = upkeep.get_backup(on_sqlite.context, who)
    assert _open_copies() == 1
    del answer
    assert _open_copies() == 0


def _open_copies() -> int:
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(link.readlink()))
    return sum("/backup-" in target for target in links)


def test_no_key_and_no_open_secret_is_in_a_backup(on_sqlite: Control, tmp_path: Path) -> None:
    on_sqlite.create_tunnel("t1", tunnel_secret="Y2FuYXJ5LXNlY3JldC1jYW5hcnktc2VjcmV0LTEyMzQ=")
    content = _take(on_sqlite, tmp_path / "copy")
    assert b"canary-secret" not in content
    key = (tmp_path / "secret.key").read_text().strip()
    assert bytes.fromhex(key) not in content
    assert key.encode() not in content.lower()
    assert on_sqlite.token.encode() not in content


def test_a_restored_backup_is_what_was_there_and_the_one_before_is_kept(tmp_path: Path) -> None:
    with running_control(tmp_path) as control:
        control.create_tunnel("before")
        _take(control, tmp_path / "backup")
        control.create_tunnel("after")
    done = restore_backup(tmp_path / "backup", tmp_path)
    assert done["tunnels"] == 1
    assert done["has_key"] is True
    store = open_store(tmp_path / "qanat.db")
    with store.reading() as session:
        assert list(session.scalars(select(Tunnel.name))) == ["before"]
        row = session.scalars(select(Tunnel)).one()
        assert tunnels.open_secret(load_key(tmp_path / "secret.key"), row)
        assert first_broken(session) is None
    store.close()
    kept = open_store(Path(str(done["kept"])))
    with kept.reading() as session:
        assert set(session.scalars(select(Tunnel.name))) == {"before", "after"}
    kept.close()
    assert (tmp_path / "qanat.db").stat().st_mode & 0o777 == 0o600


def test_a_restore_is_refused_while_the_edge_runs(tmp_path: Path) -> None:
    from qanat.edge.data_dir import DataDir

    with running_control(tmp_path) as control:
        _take(control, tmp_path / "backup")
    edge = DataDir(tmp_path).lock()
    with pytest.raises(QanatError) as refused:
        restore_backup(tmp_path / "backup", tmp_path)
    assert refused.value.code == "data_dir_in_use"
    edge.unlock()


@pytest.mark.parametrize("damage", ["cut", "text", "foreign", "newer", "missing", "damaged", "no tables"])
def test_a_bad_backup_is_refused_and_changes_nothing(tmp_path: Path, damage: str) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with running_control(data) as control:
        control.create_tunnel("t1")
        content = bytearray(_take(control, tmp_path / "backup"))
    backup = tmp_path / "backup"
    match damage:
        case "cut":
            backup.write_bytes(content[: len(content) // 2])
        case "text":
            backup.write_bytes(b"not a database\n" * 100)
        case "missing":
            backup.unlink()
        case "damaged":
            for page in range(1, len(content) // 4096):
                content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
            backup.write_bytes(content)
        case _:
            with sqlite3.connect(backup) as connection:
                connection.execute(
                    {
                        "foreign": "PRAGMA application_id = 7",
                        "newer": "UPDATE alembic_version SET version_num = '9999'",
                        "no tables": "DROP TABLE records",
                    }[damage]
                )
            connection.close()
    before = (data / "qanat.db").read_bytes()
    names = {file.name for file in data.iterdir()}
    with pytest.raises(QanatError) as refused:
        restore_backup(backup, data)
    assert refused.value.code in {"store_damaged", "store_not_ours", "store_newer", "backup_unreadable"}
    assert str(backup) in f"{refused.value.where} {refused.value.message}" or damage == "newer"
    assert (data / "qanat.db").read_bytes() == before
    assert {file.name for file in data.iterdir()} - names <= {"lock"}


@pytest.mark.parametrize("cut", ["before the first rename", "between the renames"])
def test_a_restore_that_was_cut_is_undone_or_finished_by_the_next_start(
    tmp_path: Path, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qanat.store import restore

    with running_control(tmp_path) as control:
        control.create_tunnel("before")
        _take(control, tmp_path / "backup")
        control.create_tunnel("after")
    rename = Path.rename
    renames: list[Path] = []

    def crash(self: Path, target: Path) -> Path:
        if len(renames) == (0 if cut == "before the first rename" else 1):
            raise KeyboardInterrupt
        renames.append(self)
        return rename(self, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", crash)
        restore_backup(tmp_path / "backup", tmp_path)
    restore.clean(tmp_path)
    store = open_store(tmp_path / "qanat.db")
    with store.reading() as session:
        names = set(session.scalars(select(Tunnel.name)))
    store.close()
    assert names == ({"before", "after"} if cut == "before the first rename" else {"before"})
    assert not list(tmp_path.glob("*.restoring*"))


def test_on_postgres_a_backup_is_refused_and_pg_dump_named(control: Control) -> None:
    if control.store.file is not None:
        assert control.http.get(BACKUP).status_code == 200
        return
    status, code, message = control.refused("GET", BACKUP)
    assert (status, code) == (409, 10409)
    assert "pg_dump" in message


def test_a_rotation_over_the_api(control: Control, tmp_path: Path) -> None:
    tunnel = control.create_tunnel("t1")
    token = control.call("GET", f"{control.tunnels()}/{tunnel['id']}/token")
    before = (tmp_path / "secret.key").read_text()
    done = control.call("POST", ROTATE)
    assert done["secrets"] == 1
    assert "backup" in done["next"]
    after = (tmp_path / "secret.key").read_text()
    assert after != before
    assert len(after.split()) == 1
    assert after.strip() not in str(done)
    assert control.call("GET", f"{control.tunnels()}/{tunnel['id']}/token") == token
    control.create_tunnel("t2")


@pytest.mark.parametrize(("method", "path"), [("GET", BACKUP), ("POST", ROTATE)])
def test_a_token_of_one_account_may_neither(control: Control, method: str, path: str) -> None:
    text, _ = written(control.store, issue, name="bounded", account_id=control.account)
    answer = control.http.request(method, path, headers={"authorization": f"Bearer {text}"})
    check_failure(answer)
    assert answer.status_code == 403
