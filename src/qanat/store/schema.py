"""Bringing the database to this version's schema, or refusing to."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine

from qanat.errors import QanatError
from qanat.store.database import APPLICATION_ID, Store, check_file, open_engine
from qanat.store.notices import NoticeBus

MIGRATIONS = Path(__file__).parent / "migrations"


def alembic_config() -> Config:
    """Alembic's settings for the packaged migrations; `alembic -c` files aren't needed."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(engine: Engine, revision: str = "head") -> None:
    """Upgrades to `revision`. QanatError `store_newer`: a newer qanat wrote this database."""
    config = alembic_config()
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        scripts = ScriptDirectory.from_config(config)
        try:
            known = current is None or scripts.get_revision(current) is not None
        except CommandError:
            known = False
        if not known:
            raise QanatError(
                "store_newer",
                f"the database's schema {current} is newer than this version of qanat knows",
                hint="start the newer version, or restore the backup from before the upgrade",
            )
        if current == scripts.get_current_head() and revision == "head":
            return
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Goes back to `revision` (`base`: no tables)."""
    config = alembic_config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def open_store(file: Path, *, busy_timeout_s: float = 5.0, notices: NoticeBus | None = None) -> Store:
    """Checks, opens and migrates the database file; makes it when there is none."""
    existed = check_file(file)
    if not existed:
        file.touch(mode=0o600)
    engine = open_engine(file, busy_timeout_s=busy_timeout_s)
    try:
        if not existed:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
                connection.commit()
        migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, notices=notices)
