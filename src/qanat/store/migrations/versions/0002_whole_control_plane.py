"""Policies of API tokens, users' names and keys, whole records, named connector tokens, private networks, quick tunnels."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ACCOUNT = "com.cloudflare.api.account."

tokens = sa.table(
    "api_tokens",
    sa.column("id", sa.String),
    sa.column("account_id", sa.String),
    sa.column("disabled", sa.Boolean),
    sa.column("policies", sa.JSON),
    sa.column("allowed_ips", sa.JSON),
    sa.column("denied_ips", sa.JSON),
)


# The permission group that holds everything (auth/permissions.py), as it was when this migration was written.
ALL_WRITE = "00ff3da8a00a7c0b5b4e2b2a2f5e8c11"


def upgrade() -> None:
    # SQLite adds a column that is never null only with a default; what is written later always names its value.
    op.add_column("accounts", sa.Column("settings", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("users", sa.Column("first_name", sa.Text(), nullable=False, server_default=""))
    op.add_column("users", sa.Column("last_name", sa.Text(), nullable=False, server_default=""))
    op.add_column("users", sa.Column("key_sha256", sa.LargeBinary(), nullable=True))
    op.add_column("api_tokens", sa.Column("kind", sa.Text(), nullable=False, server_default="api"))
    op.add_column("api_tokens", sa.Column("policies", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("api_tokens", sa.Column("allowed_ips", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("api_tokens", sa.Column("denied_ips", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column(
        "api_tokens",
        sa.Column(
            "modified_at", sa.DateTime(timezone=True), nullable=False, server_default="1970-01-01 00:00:00.000000"
        ),
    )
    op.add_column("records", sa.Column("data", sa.JSON(), nullable=True))
    op.add_column("records", sa.Column("written_as", sa.Text(), nullable=False, server_default="content"))
    op.add_column("records", sa.Column("priority", sa.Integer(), nullable=True))
    op.add_column("records", sa.Column("private_routing", sa.Boolean(), nullable=True))
    op.add_column("tunnels", sa.Column("quick_address", sa.Text(), nullable=True))
    op.add_column("tunnels", sa.Column("quick_expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("tunnels", sa.Column("status", sa.Text(), nullable=False, server_default="inactive"))
    op.add_column("tunnels", sa.Column("status_since", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE tunnels SET status = CASE WHEN conns_inactive_at IS NULL THEN 'healthy' ELSE 'down' END, "
        "status_since = coalesce(conns_inactive_at, conns_active_at) WHERE conns_active_at IS NOT NULL"
    )
    op.add_column("connections", sa.Column("token_id", sa.String(length=36), nullable=False, server_default=""))
    op.create_index(
        "ix_connections_tunnel_id_connector_id_lost_at", "connections", ["tunnel_id", "connector_id", "lost_at"]
    )

    op.create_table(
        "connector_tokens",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tunnel_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_from", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tunnel_id"], ["tunnels.id"], name="fk_connector_tokens_tunnel_id_tunnels"),
        sa.PrimaryKeyConstraint("id", name="pk_connector_tokens"),
    )
    op.create_index("ix_connector_tokens_tunnel_id", "connector_tokens", ["tunnel_id"], unique=False)
    op.create_index(
        "uq_connector_tokens_tunnel_id_name_live",
        "connector_tokens",
        ["tunnel_id", "name"],
        unique=True,
        sqlite_where=sa.text("revoked_at IS NULL"),
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_table(
        "virtual_networks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_virtual_networks_account_id_accounts"),
        sa.PrimaryKeyConstraint("id", name="pk_virtual_networks"),
    )
    op.create_index("ix_virtual_networks_account_id", "virtual_networks", ["account_id"], unique=False)
    op.create_table(
        "teamnet_routes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("tunnel_id", sa.String(length=36), nullable=False),
        sa.Column("virtual_network_id", sa.String(length=36), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_teamnet_routes_account_id_accounts"),
        sa.ForeignKeyConstraint(["tunnel_id"], ["tunnels.id"], name="fk_teamnet_routes_tunnel_id_tunnels"),
        sa.ForeignKeyConstraint(
            ["virtual_network_id"],
            ["virtual_networks.id"],
            name="fk_teamnet_routes_virtual_network_id_virtual_networks",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_teamnet_routes"),
    )
    op.create_index("ix_teamnet_routes_account_id", "teamnet_routes", ["account_id"], unique=False)
    op.create_index("ix_teamnet_routes_tunnel_id", "teamnet_routes", ["tunnel_id"], unique=False)
    op.create_table(
        "key_checks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_key_checks"),
    )
    op.create_table(
        "released_names",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_released_names"),
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_never_changes BEFORE UPDATE OR DELETE ON audit "
            "FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()"
        )
        op.execute(
            "CREATE TRIGGER audit_never_shrinks BEFORE TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()"
        )
    _make_policies()


def downgrade() -> None:
    if not op.get_context().as_sql:
        _unmake_policies()
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP TRIGGER audit_never_shrinks ON audit")
        op.execute("DROP TRIGGER audit_never_changes ON audit")
        op.execute("DROP FUNCTION audit_is_append_only()")
    op.drop_table("released_names")
    op.drop_table("key_checks")
    op.drop_table("teamnet_routes")
    op.drop_table("virtual_networks")
    op.drop_table("connector_tokens")
    op.drop_index("ix_connections_tunnel_id_connector_id_lost_at", "connections")
    for table, column in (
        ("connections", "token_id"),
        ("tunnels", "status_since"),
        ("tunnels", "status"),
        ("tunnels", "quick_expires_at"),
        ("tunnels", "quick_address"),
        ("records", "private_routing"),
        ("records", "priority"),
        ("records", "written_as"),
        ("records", "data"),
        ("api_tokens", "modified_at"),
        ("api_tokens", "denied_ips"),
        ("api_tokens", "allowed_ips"),
        ("api_tokens", "policies"),
        ("api_tokens", "kind"),
        ("users", "key_sha256"),
        ("users", "last_name"),
        ("users", "first_name"),
        ("accounts", "settings"),
    ):
        op.drop_column(table, column)


def _policy(account: str) -> dict[str, Any]:
    return {
        "effect": "allow",
        "resources": {ACCOUNT + account: "*"},
        "permission_groups": [{"id": ALL_WRITE, "name": "All Write"}],
    }


def _make_policies() -> None:
    """A token of an account becomes a user's token with a policy for it; one without an account gets every account."""
    before, after = json.dumps([_policy("ID")], separators=(",", ":")).split("ID")
    text = f"'{before}' || coalesce(account_id, '*') || '{after}'"
    if op.get_context().dialect.name == "postgresql":
        text = f"CAST({text} AS JSON)"
    op.execute(f"UPDATE api_tokens SET policies = {text}, account_id = NULL, modified_at = created_at")


def _unmake_policies() -> None:
    """The way back. A token whose bounds 0001 can't say is disabled: it must not come to see more."""
    connection = op.get_bind()
    columns = (tokens.c.id, tokens.c.policies, tokens.c.allowed_ips, tokens.c.denied_ips)
    for row in connection.execute(sa.select(*columns)).all():
        resources = [each for policy in row.policies for each in policy.get("resources", {})]
        account = resources[0].removeprefix(ACCOUNT) if len(resources) == 1 else ""
        simple = row.policies == [_policy(account)] and not row.allowed_ips and not row.denied_ips
        values: dict[str, Any] = {"account_id": None if account == "*" else account} if simple else {"disabled": True}
        connection.execute(tokens.update().where(tokens.c.id == row.id).values(**values))
