"""Nodes: which of a tunnel's is active, since which epoch; which are fenced; promotions and how far they are."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tunnel_roles",
        sa.Column("tunnel_id", sa.String(length=36), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("active_token_id", sa.String(length=36), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("follows_role", sa.Boolean(), nullable=False),
        sa.Column("failover_after_s", sa.Float(), nullable=False),
        sa.Column("hold_down_s", sa.Float(), nullable=False),
        sa.Column("max_promotions", sa.Integer(), nullable=False),
        sa.Column("per_s", sa.Float(), nullable=False),
        sa.Column("keeps_standby", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["tunnel_id"], ["tunnels.id"], name="fk_tunnel_roles_tunnel_id_tunnels"),
        sa.PrimaryKeyConstraint("tunnel_id", name="pk_tunnel_roles"),
    )
    op.create_table(
        "node_states",
        sa.Column("tunnel_id", sa.String(length=36), nullable=False),
        sa.Column("token_id", sa.String(length=36), nullable=False),
        sa.Column("fenced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fenced_by", sa.Text(), nullable=False),
        sa.Column("fenced_reason", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("role_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("role_detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tunnel_id"], ["tunnels.id"], name="fk_node_states_tunnel_id_tunnels"),
        sa.PrimaryKeyConstraint("tunnel_id", "token_id", name="pk_node_states"),
    )
    op.create_table(
        "promotions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tunnel_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_token_id", sa.String(length=36), nullable=True),
        sa.Column("to_token_id", sa.String(length=36), nullable=False),
        sa.Column("epoch_before", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("hold_s", sa.Float(), nullable=False),
        sa.Column("drain_s", sa.Float(), nullable=False),
        sa.Column("most_held", sa.Integer(), nullable=False),
        sa.Column("has_before", sa.Boolean(), nullable=False),
        sa.Column("has_after", sa.Boolean(), nullable=False),
        sa.Column("step_done", sa.Text(), nullable=False),
        sa.Column("step_error", sa.Text(), nullable=False),
        sa.Column("undo_reason", sa.Text(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("cut", sa.Integer(), nullable=False),
        sa.Column("timeline", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tunnel_id"], ["tunnels.id"], name="fk_promotions_tunnel_id_tunnels"),
        sa.PrimaryKeyConstraint("id", name="pk_promotions"),
    )
    op.create_index(
        "uq_promotions_tunnel_id_unfinished",
        "promotions",
        ["tunnel_id"],
        unique=True,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index("ix_promotions_tunnel_id_started_at", "promotions", ["tunnel_id", "started_at"], unique=False)


def downgrade() -> None:
    op.drop_table("promotions")
    op.drop_table("node_states")
    op.drop_table("tunnel_roles")
