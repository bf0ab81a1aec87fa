"""Probes: how origins are asked, and what was last known of them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "probes",
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("target", sa.String(length=253), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_probes_account_id_accounts"),
        sa.PrimaryKeyConstraint("account_id", "target", name="pk_probes"),
    )
    op.create_table(
        "health_states",
        sa.Column("hostname", sa.String(length=253), nullable=False),
        sa.Column("tunnel_id", sa.String(length=36), nullable=False),
        sa.Column("token_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hostname", "tunnel_id", "token_id", name="pk_health_states"),
    )


def downgrade() -> None:
    op.drop_table("health_states")
    op.drop_table("probes")
