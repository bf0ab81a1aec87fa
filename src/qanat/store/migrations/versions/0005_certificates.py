"""Certificates: uploaded ones and those of CAs, the orders for them, accounts with CAs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "certificates",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("zone_id", sa.String(length=32), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("authority", sa.Text(), nullable=True),
        sa.Column("not_before", moment, nullable=False),
        sa.Column("not_after", moment, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("renew_at", moment, nullable=True),
        sa.Column("ask_at", moment, nullable=True),
        sa.ForeignKeyConstraint(["zone_id"], ["zones.id"], name="fk_certificates_zone_id_zones", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_certificates"),
    )
    op.create_index("ix_certificates_zone_id", "certificates", ["zone_id"], unique=False)
    op.create_table(
        "certificate_orders",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("zone_id", sa.String(length=32), nullable=True),
        sa.Column("certificate_id", sa.String(length=36), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=True),
        sa.Column("order_url", sa.Text(), nullable=True),
        sa.Column("proved_at", moment, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("attempted_at", moment, nullable=True),
        sa.Column("next_at", moment, nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_reason", sa.Text(), nullable=True),
        sa.Column("error_at", moment, nullable=True),
        sa.ForeignKeyConstraint(
            ["zone_id"], ["zones.id"], name="fk_certificate_orders_zone_id_zones", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_certificate_orders"),
        sa.UniqueConstraint("name", name="uq_certificate_orders_name"),
    )
    op.create_index("ix_certificate_orders_zone_id", "certificate_orders", ["zone_id"], unique=False)
    op.create_table(
        "acme_accounts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("paused_until", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_acme_accounts"),
        sa.UniqueConstraint("directory", name="uq_acme_accounts_directory"),
    )


def downgrade() -> None:
    op.drop_table("acme_accounts")
    op.drop_index("ix_certificate_orders_zone_id", table_name="certificate_orders")
    op.drop_table("certificate_orders")
    op.drop_index("ix_certificates_zone_id", table_name="certificates")
    op.drop_table("certificates")
