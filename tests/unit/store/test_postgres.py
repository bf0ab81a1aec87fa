"""What only PostgreSQL can do to us: other processes, a server that goes away, databases that aren't ours."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from sqlalchemy import func, select, text

from qanat.errors import QanatError
from qanat.settings import load_edge_settings
from qanat.store import SYSTEM, Store, open_store
from qanat.store.failures import failure_of
from qanat.store.lease import Lease
from qanat.store.models import Account, Audit, Tunnel
from qanat.store.postgres import LOCKS, connect, read_password, shown
from qanat.store.postgres import WRITER as WRITER_LOCK
from tests.support.audits import first_broken
from tests.support.postgres import Postgres, running_postgres
from tests.support.writes import first_account

WRITER = """
import sys
from qanat.errors import QanatError
from qanat.control import tunnels
from qanat.store import SYSTEM, open_store
from qanat.store.sealing import Sealer

url, account, name, count = sys.argv[1:]
store = open_store(url)
won = 0
for number in range(int(count)):
    with store.writing(SYSTEM) as write:
        write.audit("some", f"{name}.{number}")
    try:
        with store.writing(SYSTEM) as write:
            tunnels.create(write, Sealer(bytes(32)), account_id=account, name=f"t{number}", secret=bytes(32), config_src="local")
        won += 1
    except QanatError as error:
        assert error.code == "tunnel_name_taken", error
print(won)
"""


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture
def pg_store(url: str) -> Iterator[Store]:
    opened = open_store(url, busy_timeout_s=0.5)
    first_account(opened)
    yield opened
    opened.close()


def _refusal(url: str, **more: object) -> QanatError:
    with pytest.raises(QanatError) as refused:
        open_store(url, **more)  # type: ignore[arg-type]
    return refused.value


def test_writers_in_several_processes_make_one_chain_and_a_name_has_one_winner(pg_store: Store, url: str) -> None:
    account = first_account(pg_store).id
    count = 20
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, account, f"w{number}", str(count)], stdout=subprocess.PIPE, text=True
        )
        for number in range(3)
    ]
    won = [int(writer.communicate(timeout=200)[0]) for writer in writers]
    assert sum(won) == count
    with pg_store.reading() as session:
        assert first_broken(session) is None
        assert session.scalar(select(func.count()).select_from(Audit).where(Audit.action == "some")) == 3 * count
        assert session.scalar(select(func.count()).select_from(Tunnel)) == count


def test_what_is_acknowledged_is_on_the_disk_whatever_the_servers_default(postgres: Postgres, url: str) -> None:
    postgres.execute(f"ALTER DATABASE {url.partition('@/')[2].partition('?')[0]} SET synchronous_commit = off")
    store = open_store(url)
    with store.reading() as session:
        assert session.execute(text("SHOW synchronous_commit")).scalar() == "on"
        assert session.execute(text("SHOW transaction_isolation")).scalar() == "repeatable read"
        assert session.execute(text("SHOW transaction_read_only")).scalar() == "on"
    with store.recording() as write:
        assert write.session.execute(text("SHOW transaction_isolation")).scalar() == "read committed"
        assert write.session.execute(text("SHOW transaction_read_only")).scalar() == "off"
    store.close()


def test_a_writer_that_can_not_have_the_lock_is_refused_in_time(pg_store: Store, url: str) -> None:
    with connect(url, None) as other:
        other.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {WRITER_LOCK})")
        with pytest.raises(QanatError) as refused, pg_store.writing(SYSTEM) as write:
            write.audit("late", "")
        assert refused.value.code == "store_unavailable"
        with pg_store.reading() as session:
            assert session.scalar(select(func.count()).select_from(Account)) == 1
    with pg_store.writing(SYSTEM) as write:
        write.audit("in time", "")


def _cut(url: str) -> None:
    """Ends every connection of the database but this one, as a restart does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_connection_that_was_cut_between_requests_costs_nobody_one(pg_store: Store, url: str) -> None:
    _cut(url)
    with pg_store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Account)) == 1
    _cut(url)
    with pg_store.writing(SYSTEM) as write:
        write.audit("after", "")


def test_a_connection_that_is_cut_within_a_write_leaves_nothing(pg_store: Store, url: str) -> None:
    with pytest.raises(QanatError) as refused, pg_store.writing(SYSTEM) as write:
        write.session.add(Account(id="a" * 32, name="half", settings={}, created_at=write.at))
        write.audit("account.create", "a" * 32)
        write.session.flush()
        _cut(url)
    assert refused.value.code == "store_unavailable"
    with pg_store.reading() as session:
        assert session.get(Account, "a" * 32) is None
        assert first_broken(session) is None


def test_a_commit_whose_answer_is_lost_is_not_called_undone(pg_store: Store, url: str) -> None:
    with pytest.raises(QanatError) as refused, pg_store.writing(SYSTEM) as write:
        write.audit("some", "")
        write.session.flush()
        # Deferred to the commit itself: there the connection goes away.
        write.session.execute(
            text(
                "CREATE FUNCTION end_it() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
            )
        )
        write.session.execute(
            text(
                "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION end_it()"
            )
        )
        write.session.execute(text("INSERT INTO events (at, kind, detail) VALUES (now(), 'x', '{}')"))
    assert refused.value.code == "store_unavailable"
    assert "as a whole or not at all" in refused.value.message
    assert "nothing was written" not in refused.value.message


def test_a_server_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    with running_postgres() as server:
        store = open_store(server.database())
        first_account(store)
        server.stop(at_once=True)
        for _ in range(2):
            with pytest.raises(QanatError) as refused, store.writing(SYSTEM) as write:
                write.audit("away", "")
            assert refused.value.code == "store_unavailable"
            with pytest.raises(QanatError) as refused, store.reading() as session:
                session.scalar(select(Account.id))
            assert refused.value.code == "store_unavailable"
        server.start()
        with store.writing(SYSTEM) as write:
            write.audit("back", "")
        with store.reading() as session:
            assert "away" not in list(session.scalars(select(Audit.action)))
            assert first_broken(session) is None
        store.close()


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("53100", "store_full"),
        ("53300", "store_unavailable"),
        ("40001", "store_unavailable"),
        ("40P01", "store_unavailable"),
        ("57P01", "store_unavailable"),
        ("25006", "store_unavailable"),
        ("42501", None),
        ("XX001", "store_damaged"),
        ("22021", "value_unstorable"),
        ("23505", None),
    ],
)
def test_each_failure_of_the_server_has_its_code(pg_store: Store, state: str, code: str | None) -> None:
    from sqlalchemy.exc import DBAPIError

    statement = text(f"DO $$ BEGIN RAISE EXCEPTION 'simulated' USING ERRCODE = '{state}'; END $$")
    with pytest.raises(DBAPIError) as raised, pg_store._engine.connect() as connection:
        connection.execute(statement)
    told = failure_of(raised.value, committing=False)
    assert (told.code if told is not None else None) == code
    if told is not None:
        assert "\n" not in told.message


def test_another_programs_database_is_refused(postgres: Postgres) -> None:
    url = postgres.empty_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE somebody_elses (x int)")
    refusal = _refusal(url)
    assert refusal.code == "store_not_ours"
    assert "somebody_elses" in refusal.message
    with psycopg.connect(url, autocommit=True) as connection:
        # Another program with Alembic is another program, too.
        connection.execute("ALTER TABLE somebody_elses RENAME TO alembic_version")
    assert _refusal(url).code == "store_not_ours"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA ours")
    store = open_store(url + "&options=-csearch_path%3Dours")
    first_account(store, name="beside")
    store.close()


def test_a_database_of_another_encoding_is_refused(postgres: Postgres) -> None:
    postgres.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    refusal = _refusal(postgres.url("latin"))
    assert refusal.code == "store_unsuitable"
    assert "LATIN1" in refusal.message


def test_texts_are_in_the_order_of_code_points_in_a_database_of_another_locale(postgres: Postgres) -> None:
    postgres.execute(
        "CREATE DATABASE german TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LOCALE 'C.UTF-8'"
    )
    store = open_store(postgres.url("german"))
    names = ["b", "B", "a", "ä", "_a"]
    with store.recording() as write:
        for number, name in enumerate(names):
            write.session.add(Account(id=f"{number:032x}", name=name, settings={}, created_at=write.at))
    with store.reading() as session:
        assert list(session.scalars(select(Account.name).order_by(Account.name))) == sorted(names)
    store.close()


def test_a_database_that_is_not_there_is_told(postgres: Postgres) -> None:
    refusal = _refusal(postgres.url("nowhere"))
    assert refusal.code == "store_unavailable"
    assert 'database "nowhere" does not exist' in refusal.message


def test_edges_that_start_together_migrate_once(postgres: Postgres) -> None:
    url = postgres.empty_database()
    failed: list[BaseException] = []

    def start() -> None:
        try:
            open_store(url).close()
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_the_lease_is_taken_again_after_the_server_was_away(url: str) -> None:
    lease = Lease.take(url, password_file=None, wait_s=1.0)
    _cut(url)
    lease.keep()  # notices, and takes it again
    with pytest.raises(QanatError) as refused:
        Lease.take(url, password_file=None, wait_s=0.1)
    assert refused.value.code == "store_in_use"
    lease.close()
    Lease.take(url, password_file=None, wait_s=1.0).close()


CANARY = "canary-password-5511"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{CANARY}@127.0.0.1:1/db",
        f"postgresql://127.0.0.1:1/db?user=me&password={CANARY}",
        f"postgresql://me:{CANARY}@127.0.0.1:nonsense/db",
        f"postgresql://me:{CANARY}@[::1/db",
    ],
)
def test_no_error_shows_the_password(url: str) -> None:
    for failed in (_refusal(url), *([] if "nonsense" in url or "[" in url else [QanatError("x", shown(url))])):
        cause: BaseException | None = failed
        while cause is not None:
            assert CANARY not in f"{cause} {cause!r}"
            cause = cause.__cause__


def test_the_password_comes_from_a_file_and_never_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{CANARY}\nmore\n")
    assert read_password(file) == CANARY
    for content in (b"", b"\n", b"\xff\n"):
        file.write_bytes(content)
        with pytest.raises(QanatError) as refused:
            read_password(file)
        assert refused.value.code == "password_file_unreadable"
    with pytest.raises(QanatError) as refused:
        load_edge_settings(flags={"store.url": f"postgresql://me:{CANARY}@db/qanat"})
    assert refused.value.where == "store.url"
    assert CANARY not in str(refused.value)


def test_settings_do_not_show_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANAT_STORE__URL", f"postgresql://me:{CANARY}@db/qanat")
    settings = load_edge_settings()
    assert settings.store.url is not None
    assert CANARY not in f"{settings} {settings!r}"
    monkeypatch.setenv("QANAT_STORE__URL", f"mysql://me:{CANARY}@db/qanat")
    with pytest.raises(QanatError) as refused:
        load_edge_settings()
    assert CANARY not in str(refused.value)


def test_a_migration_that_is_cut_leaves_nothing_and_the_next_start_makes_it(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.empty_database()

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("qanat.store.postgres.finish_migration", cut)
        open_store(url)
    store = open_store(url)
    first_account(store)
    store.close()
