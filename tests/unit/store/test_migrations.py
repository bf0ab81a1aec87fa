import io
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from qanat.store import open_store
from qanat.store.models import Base
from qanat.store.schema import alembic_config


def test_the_migrations_make_what_the_models_say(tmp_path: Path) -> None:
    store = open_store(tmp_path / "qanat.db")
    with store._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []
    store.close()


def test_the_sql_can_be_read_before_it_is_run() -> None:
    output = io.StringIO()
    config = alembic_config()
    config.output_buffer = output
    command.upgrade(config, "head", sql=True)
    assert "CREATE TABLE tunnels" in output.getvalue()
    assert "CREATE TRIGGER audit_never_changes" in output.getvalue()
