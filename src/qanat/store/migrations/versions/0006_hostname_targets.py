"""Hostnames that lead to several tunnels by weights."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hostname_targets",
        sa.Column("zone_id", sa.String(length=32), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("tunnel_id", sa.String(length=36), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("sticky", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone_id"], ["zones.id"], name="fk_hostname_targets_zone_id_zones", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("zone_id", "hostname", "tunnel_id", name="pk_hostname_targets"),
    )


def downgrade() -> None:
    op.drop_table("hostname_targets")
