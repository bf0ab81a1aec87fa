"""What zones say of themselves: HTTPS only, HSTS, error pages."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "zone_settings",
        sa.Column("zone_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["zone_id"], ["zones.id"], name="fk_zone_settings_zone_id_zones", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("zone_id", "name", name="pk_zone_settings"),
    )


def downgrade() -> None:
    op.drop_table("zone_settings")
