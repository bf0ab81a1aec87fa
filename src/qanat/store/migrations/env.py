"""Alembic's entry. Online with the connection that schema.py hands over; offline (`--sql`) to review what would run."""

from alembic import context

from qanat.store.models import Base

if context.is_offline_mode():
    context.configure(
        url=context.config.get_main_option("sqlalchemy.url") or "sqlite://",
        target_metadata=Base.metadata,
        literal_binds=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    connection = context.config.attributes["connection"]
    is_postgres = connection.dialect.name == "postgresql"
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        # PostgreSQL: all of it or nothing, with the mark by which the next start knows the tables for ours.
        transaction_per_migration=not is_postgres,
    )
    with context.begin_transaction():
        context.run_migrations()
        if is_postgres:
            from qanat.store.postgres import finish_migration

            finish_migration(connection, sorted(Base.metadata.tables))
    connection.commit()
