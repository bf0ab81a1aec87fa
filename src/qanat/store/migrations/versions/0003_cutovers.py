"""Cutovers, and what becomes of a record that is repointed to a tunnel that doesn't serve, by zone."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("zones", sa.Column("cutover_policy", sa.Text(), nullable=True))
    op.create_table(
        "cutovers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("from_tunnel_id", sa.String(length=36), nullable=False),
        sa.Column("to_tunnel_id", sa.String(length=36), nullable=False),
        sa.Column("hostnames", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("is_resumed", sa.Boolean(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("base_version", sa.Text(), nullable=False),
        sa.Column("records", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("gates", sa.JSON(), nullable=False),
        sa.Column("baseline", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("timeline", sa.JSON(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_cutovers_account_id_accounts", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_cutovers"),
    )
    op.create_index("ix_cutovers_account_id_created_at", "cutovers", ["account_id", "created_at"], unique=False)
    op.create_index("ix_cutovers_state", "cutovers", ["state"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_cutovers_state", table_name="cutovers")
    op.drop_index("ix_cutovers_account_id_created_at", table_name="cutovers")
    op.drop_table("cutovers")
    op.drop_column("zones", "cutover_policy")
