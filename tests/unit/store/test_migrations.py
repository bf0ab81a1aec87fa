"""The migrations, up and down, on each kind of database."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError

from qanat.control.permissions import DNS_READ
from qanat.control.policies import EVERYTHING_POLICY, account_policy
from qanat.errors import QanatError
from qanat.store import SYSTEM, Store, open_store, postgres, schema, sqlite
from qanat.store.models import ApiToken, Base, Connection, Record, Tunnel
from qanat.store.schema import NEWEST_SQL, alembic_config, downgrade, migrate, newest_revision, revisions
from scripts.schema import migrated, statements
from tests.support.audits import first_broken
from tests.support.postgres import Postgres
from tests.support.writes import first_account

FIRST = "0001"
ID = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32
UUID = "00000000-0000-4000-8000-000000000001"
AT = "2026-01-02 03:04:05.678901"
FALSE = "false"

ROWS_0001 = (
    f"INSERT INTO accounts (id, name, created_at) VALUES ('{ID}', 'first', '{AT}'), ('{OTHER}', 'second', '{AT}')",
    f"INSERT INTO users (id, email, created_at) VALUES ('{ID}', 'owner@qanat.invalid', '{AT}')",
    f"INSERT INTO zones (id, account_id, name, paused, type, created_at, modified_at)"
    f" VALUES ('{ID}', '{ID}', 'example.test', {FALSE}, 'full', '{AT}', '{AT}')",
    f"INSERT INTO records (id, zone_id, name, type, content, content_key, ttl, proxied, tags, settings, created_at,"
    f" modified_at) VALUES ('{ID}', '{ID}', 'example.test', 'A', '192.0.2.1', '192.0.2.1', 1, {FALSE}, '[\"a:b\"]',"
    f" '{{}}', '{AT}', '{AT}')",
    f'INSERT INTO connections (id, tunnel_id, connector_id, "index", protocol, origin_ip, location, opened_at,'
    f" config_error) VALUES ('{UUID}', '{UUID}', '{UUID}', 0, 'quic', '192.0.2.1', 'lab', '{AT}', '')",
)
TUNNEL_0001 = (
    "INSERT INTO tunnels (id, account_id, name, sealed_secret, config_src, created_at)"
    f" VALUES ('{UUID}', '{ID}', 't', :bytes, 'cloudflare', '{AT}')"
)
TOKEN_0001 = (
    "INSERT INTO api_tokens (id, user_id, account_id, name, sha256, disabled, created_at)"
    f" VALUES (:id, '{ID}', :account_id, 'n', :bytes, {FALSE}, '{AT}')"
)


@pytest.fixture
def engine(request: pytest.FixtureRequest, database: Path | str) -> Iterator[Engine]:
    """On an empty database without tables."""
    if isinstance(database, Path):
        made = sqlite.open_file(database.with_name("empty.db"), busy_timeout_s=1.0)
    else:
        server: Postgres = request.getfixturevalue("postgres")
        made = postgres.open_url(server.empty_database(), password_file=None, busy_timeout_s=1.0)
    yield made
    made.dispose()


def test_the_migrations_make_what_the_models_say(engine: Engine) -> None:
    migrate(engine, newest_revision())
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": engine.dialect.name == "postgresql"})
        assert compare_metadata(context, Base.metadata) == []


def test_a_new_file_is_what_the_migrations_make(tmp_path: Path) -> None:
    """It is made without them: after a new migration, run scripts/schema.py."""
    assert NEWEST_SQL.read_text(encoding="utf-8") == migrated()
    open_store(tmp_path / "qanat.db").close()
    assert statements(tmp_path / "qanat.db") == migrated()


def test_a_new_file_that_could_not_be_made_is_left_empty_and_made_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = NEWEST_SQL.read_text(encoding="utf-8")
    broken = tmp_path / "newest.sql"
    broken.write_text(made[: made.index("CREATE TRIGGER")] + "INSERT INTO nowhere VALUES (1);")
    monkeypatch.setattr(schema, "NEWEST_SQL", broken)
    with pytest.raises(QanatError, match="no such table: nowhere") as refused:
        open_store(tmp_path / "qanat.db")
    assert refused.value.code == "store_unavailable"
    monkeypatch.undo()
    open_store(tmp_path / "qanat.db").close()
    assert statements(tmp_path / "qanat.db") == made


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_sql_can_be_read_before_it_is_run(dialect: str) -> None:
    output = io.StringIO()
    config = alembic_config()
    config.set_main_option("sqlalchemy.url", f"{dialect}+psycopg://" if dialect == "postgresql" else "sqlite://")
    config.output_buffer = output
    command.upgrade(config, "head", sql=True)
    assert "CREATE TABLE tunnels" in output.getvalue()
    assert "CREATE TRIGGER audit_never_changes" in output.getvalue()
    assert "UPDATE api_tokens SET policies" in output.getvalue()


def _tables(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars()
        else:
            names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
        return set(names) - {"alembic_version", "sqlite_sequence"}


def test_down_to_nothing_and_up_again(engine: Engine) -> None:
    migrate(engine, newest_revision())
    assert _tables(engine) == set(Base.metadata.tables)
    downgrade(engine, "base")
    assert _tables(engine) == set()
    migrate(engine)
    store = Store(engine)
    first_account(store, name="again")
    with pytest.raises(DBAPIError, match="append-only"), store.recording() as write:
        write.session.execute(text("DELETE FROM audit"))


def test_what_the_first_schema_held_is_there_after_the_upgrade_and_after_the_way_back(engine: Engine) -> None:
    migrate(engine, FIRST)
    with engine.execution_options(qanat_writes=True).begin() as connection:
        for statement in ROWS_0001[:2]:
            connection.execute(text(statement.replace(":", r"\:")))
        connection.execute(text(TUNNEL_0001.replace("03:04:05", r"03\:04\:05")), {"bytes": b"\x01sealed"})
        for number, account_id in enumerate((None, ID)):
            connection.execute(
                text(TOKEN_0001.replace("03:04:05", r"03\:04\:05")),
                {"id": str(number) * 32, "account_id": account_id, "bytes": bytes([number])},
            )
        for statement in ROWS_0001[2:]:
            connection.execute(text(statement.replace(":", r"\:")))
    migrate(engine)
    store = Store(engine)
    with store.writing(SYSTEM) as write:
        write.audit("after", "the upgrade")
    with store.reading() as session:
        tokens = list(session.scalars(select(ApiToken).order_by(ApiToken.id)))
        record = session.scalars(select(Record)).one()
        tunnel = session.scalars(select(Tunnel)).one()
        connection_row = session.scalars(select(Connection)).one()
        assert first_broken(session) is None
    for token, resource in zip(tokens, ("*", ID), strict=True):
        assert token.account_id is None
        # what the API makes for the same reach
        assert token.policies == [account_policy(resource)]
        assert (token.kind, token.allowed_ips, token.denied_ips) == ("api", [], [])
        assert token.modified_at == token.created_at
    assert (record.written_as, record.data, record.tags) == ("content", None, ["a:b"])
    assert (tunnel.status, tunnel.quick_address, tunnel.sealed_secret) == ("inactive", None, b"\x01sealed")
    assert connection_row.token_id == ""

    # A token whose bounds the first schema can't say must not see more than before: it is disabled.
    bounded = {**tokens[1].policies[0], "permission_groups": [{"id": DNS_READ.id, "name": DNS_READ.name}]}
    with store.recording() as write:
        write.session.merge(
            ApiToken(
                **{
                    column.key: getattr(tokens[1], column.key)
                    for column in ApiToken.__table__.columns
                    if column.key not in ("id", "sha256", "policies")
                },
                id="2" * 32,
                sha256=b"2",
                policies=[bounded],
            )
        )
    downgrade(engine, FIRST)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT account_id, disabled FROM api_tokens ORDER BY id")).all()
    assert [(account_id, bool(disabled)) for account_id, disabled in rows] == [(None, False), (ID, False), (None, True)]
    migrate(engine)
    with Store(engine).reading() as session:
        assert session.scalars(select(Tunnel.name)).one() == "t"


def test_the_policy_for_every_account_is_everything() -> None:
    assert account_policy("*") == EVERYTHING_POLICY


def test_a_newer_schema_is_refused_and_left_as_it_is(database: Path | str) -> None:
    store = open_store(database)
    with store._writing_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(QanatError) as refused:
        open_store(database)
    assert refused.value.code == "store_newer"
    assert "9999" in refused.value.message


def test_a_tunnels_status_is_made_from_what_was_known(engine: Engine) -> None:
    migrate(engine, FIRST)
    at = AT.replace(":", r"\:")
    ran = {"a": ("NULL", "NULL"), "b": (f"'{at}'", "NULL"), "c": (f"'{at}'", f"'{at}'")}
    with engine.execution_options(qanat_writes=True).begin() as connection:
        connection.execute(text(ROWS_0001[0].replace(":", r"\:")))
        for name, (active, inactive) in ran.items():
            row = (
                "INSERT INTO tunnels (id, account_id, name, sealed_secret, config_src, created_at, conns_active_at,"
                f" conns_inactive_at) VALUES ('{name}', '{ID}', '{name}', :bytes, 'local', '{at}', {active}, {inactive})"
            )
            connection.execute(text(row), {"bytes": b"x"})
    migrate(engine)
    with engine.connect() as connection:
        rows = connection.execute(select(Tunnel.name, Tunnel.status, Tunnel.status_since).order_by(Tunnel.name)).all()
    assert [(name, status, since is not None) for name, status, since in rows] == [
        ("a", "inactive", False),
        ("b", "healthy", True),
        ("c", "down", True),
    ]


def test_revisions_are_told_by_their_files_names() -> None:
    """Most starts compare those, and don't load Alembic."""
    scripts = ScriptDirectory.from_config(alembic_config())
    assert newest_revision() == scripts.get_current_head()
    assert revisions() == {script.revision for script in scripts.walk_revisions()}
