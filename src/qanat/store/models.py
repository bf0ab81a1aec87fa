"""The tables: one class each. Times are aware UTC datetimes; ids as api.md 0.4 (32 hex, or dashed UUID text)."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, MetaData, String, Text, false, text
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

# SQLite counts only INTEGER primary keys up by itself; PostgreSQL gets the wide type.
Sequence64 = BigInteger().with_variant(Integer(), "sqlite")


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime with microseconds, on databases with and without time zones."""

    impl = SqlDateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the store")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Root of the models; constraint names are fixed so that migrations can name them. An index tells its condition for SQLite
    alone: `postgresql_where` would load that dialect at every start, and PostgreSQL's tables are what the migrations say."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Moment(),
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(),
        list[dict[str, Any]]: JSON(),
    }


class Account(Base):
    """Whom tunnels and zones belong to."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class User(Base):
    """A person; API tokens act for one. `password_hash`: Argon2id, None: they can't sign in by a password. `disabled`: nor in any
    other way, and their own tokens are refused."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    email: Mapped[str] = mapped_column(Text, unique=True)
    first_name: Mapped[str] = mapped_column(Text)
    last_name: Mapped[str] = mapped_column(Text)
    key_sha256: Mapped[bytes | None]
    created_at: Mapped[datetime]
    password_hash: Mapped[str | None] = mapped_column(Text)
    password_changed_at: Mapped[datetime | None]
    disabled: Mapped[bool] = mapped_column(default=False, server_default=false())


class Membership(Base):
    """What a user may do in an account: a role (control/roles.py). `account_id` "*": in every account, and on the edge itself."""

    __tablename__ = "memberships"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    role: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class SignedIn(Base):
    """A session of somebody who signed in: only the SHA-256 of its cookie's secret is here. `way`: `password`, `token`,
    `one_time`; `token_id`: of the API token that it was opened with, which bounds it. `is_pending`: a second factor is still
    awaited; `failures`: wrong ones."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_id: Mapped[str | None] = mapped_column(ForeignKey("api_tokens.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[bytes] = mapped_column(unique=True)
    way: Mapped[str] = mapped_column(Text)
    is_pending: Mapped[bool]
    failures: Mapped[int]
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    address: Mapped[str] = mapped_column(Text)
    user_agent: Mapped[str] = mapped_column(Text)


class Authenticator(Base):
    """A user's (`id`) secret for codes by the time (RFC 6238), sealed. `confirmed_at` None: it was shown, and no code of it came
    back yet. `last_step`: of the newest code that was taken; none up to that is taken again."""

    __tablename__ = "authenticators"

    id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    sealed_secret: Mapped[bytes]
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int] = mapped_column(BigInteger)


class RecoveryCode(Base):
    """A code in place of the authenticator's, good once; only its SHA-256 is here."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    sha256: Mapped[bytes] = mapped_column(primary_key=True)
    used_at: Mapped[datetime | None]


class Passkey(Base):
    """A public key of a user's device (WebAuthn). `rp_id`: the name that it is good for; `sign_count`: of its last use, 0 where
    the device doesn't count; `transports`: how it is reached, with spaces between."""

    __tablename__ = "passkeys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    credential_id: Mapped[bytes] = mapped_column(unique=True)
    public_key: Mapped[bytes]
    sign_count: Mapped[int] = mapped_column(BigInteger)
    rp_id: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    transports: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class Identity(Base):
    """Who a user is to an OpenID provider. `is_provisioned`: the user was made by it, and their role follows its groups."""

    __tablename__ = "identities"

    issuer: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(Text)
    is_provisioned: Mapped[bool]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class OneTimeToken(Base):
    """By what a user gets a password of their own, once: only its SHA-256 is here. `purpose`: `setup` (the edge's first
    user), `invitation` or `reset`."""

    __tablename__ = "one_time_tokens"

    sha256: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    purpose: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class ApiToken(Base):
    """A bearer token: only its SHA-256 is here. `account_id`: the account that owns it, None for a user's. `policies` (the
    stock shape, auth/policies.py) say what it may touch; `allowed_ips`, `denied_ips`: CIDRs, empty for any and none."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(Text)
    sha256: Mapped[bytes] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(Text)
    policies: Mapped[list[dict[str, Any]]]
    allowed_ips: Mapped[list[str]]
    denied_ips: Mapped[list[str]]
    disabled: Mapped[bool]
    not_before: Mapped[datetime | None]
    expires_on: Mapped[datetime | None]
    created_at: Mapped[datetime]
    modified_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    last_used_from: Mapped[str | None] = mapped_column(Text)


class WaitingCertificate(Base):
    """A cert.pem that was granted on the page of `tunnel login`, sealed, until the client fetches it. `id`: the SHA-256, in hex,
    of the key that the client made, which isn't here. Once fetched (`fetched_at`) the secret is an empty one, and the row keeps
    the key from being used again until it expires."""

    __tablename__ = "waiting_certificates"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[str] = mapped_column(ForeignKey("api_tokens.id", ondelete="CASCADE"), index=True)
    sealed_secret: Mapped[bytes]
    expires_at: Mapped[datetime]
    fetched_at: Mapped[datetime | None]


class Zone(Base):
    """A DNS zone; its name belongs to one account. `cutover_policy`: what becomes of a record that is repointed to a tunnel that
    doesn't serve (cutover/repointing.py); None: as the edge's setting says."""

    __tablename__ = "zones"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    paused: Mapped[bool]
    type: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    modified_at: Mapped[datetime]
    cutover_policy: Mapped[str | None] = mapped_column(Text)


class ZoneSetting(Base):
    """What a zone says of itself where others have the edge's default (control/zone_settings.py). `value`: `{"value": …}`."""

    __tablename__ = "zone_settings"

    zone_id: Mapped[str] = mapped_column(ForeignKey("zones.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[dict[str, Any]]
    modified_at: Mapped[datetime]


class Record(Base):
    """A DNS record. `content` as sent, `content_key` the form in which two contents are the same, `written_as` which of
    `content` and `data` the client wrote."""

    __tablename__ = "records"
    __table_args__ = (Index("ix_records_zone_id_name_type", "zone_id", "name", "type"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    zone_id: Mapped[str] = mapped_column(ForeignKey("zones.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    content: Mapped[str] = mapped_column(Text)
    content_key: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None]
    written_as: Mapped[str] = mapped_column(Text)
    priority: Mapped[int | None]
    private_routing: Mapped[bool | None]
    ttl: Mapped[int]
    proxied: Mapped[bool]
    comment: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[list[str]]
    settings: Mapped[dict[str, Any]]
    tunnel_id: Mapped[str | None] = mapped_column(String(36), index=True)
    created_at: Mapped[datetime]
    modified_at: Mapped[datetime]
    comment_modified_at: Mapped[datetime | None]
    tags_modified_at: Mapped[datetime | None]


class Tunnel(Base):
    """A tunnel. Its secret is sealed (sealing.py); deletion is soft, so that connectors are refused with the reason.
    `status` follows from its connections (control/tunnel_status.py); `status_since` None: since it was made."""

    __tablename__ = "tunnels"
    __table_args__ = (
        Index(
            "uq_tunnels_account_id_name_live",
            "account_id",
            "name",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
        ),
        Index("ix_tunnels_account_id_created_at_id", "account_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(Text)
    sealed_secret: Mapped[bytes]
    config_src: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    conns_active_at: Mapped[datetime | None]
    conns_inactive_at: Mapped[datetime | None]
    down_reason: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, default="inactive")
    status_since: Mapped[datetime | None]
    local_configuration: Mapped[str | None] = mapped_column(Text)
    local_configuration_at: Mapped[datetime | None]
    quick_address: Mapped[str | None] = mapped_column(Text)
    quick_expires_at: Mapped[datetime | None]


class Configuration(Base):
    """One version of a tunnel's remote configuration; `document` is the JSON text as sent, nulls dropped."""

    __tablename__ = "configurations"

    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class Connector(Base):
    """A connector as it announced itself. `max_connections`: the most it had at once, which is what it asked for."""

    __tablename__ = "connectors"

    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    version: Mapped[str] = mapped_column(Text)
    arch: Mapped[str] = mapped_column(Text)
    features: Mapped[list[str]]
    run_at: Mapped[datetime]
    max_connections: Mapped[int]
    config_version: Mapped[int]
    config_error: Mapped[str] = mapped_column(Text)
    lost_at: Mapped[datetime | None]


class ConnectorToken(Base):
    """A named connector token of a tunnel, one a host: rotated and revoked alone. Its secret is sealed."""

    __tablename__ = "connector_tokens"
    __table_args__ = (
        Index(
            "uq_connector_tokens_tunnel_id_name_live",
            "tunnel_id",
            "name",
            unique=True,
            sqlite_where=text("revoked_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    sealed_secret: Mapped[bytes]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    last_used_from: Mapped[str | None] = mapped_column(Text)


class TunnelRole(Base):
    """Which of a tunnel's nodes gets requests (nodes/). A tunnel without a row is in mode `replicas`. `active_token_id`
    and `epoch`
    change together, in one write; the epoch only rises. `keeps_standby`: an active that was replaced at once may be promoted
    again without being unfenced."""

    __tablename__ = "tunnel_roles"

    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"), primary_key=True)
    mode: Mapped[str] = mapped_column(Text)
    active_token_id: Mapped[str | None] = mapped_column(String(36))
    epoch: Mapped[int]
    since: Mapped[datetime]
    reason: Mapped[str] = mapped_column(Text)
    automatic: Mapped[bool]
    follows_role: Mapped[bool]
    failover_after_s: Mapped[float]
    hold_down_s: Mapped[float]
    max_promotions: Mapped[int]
    per_s: Mapped[float]
    keeps_standby: Mapped[bool]


class NodeState(Base):
    """What is known of a node besides its connector token (`token_id`; "" the tunnel's own): whether it is fenced, by whom
    (`operator`, `node` or `promotion`), and what its role probe said last."""

    __tablename__ = "node_states"

    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"), primary_key=True)
    token_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    fenced_at: Mapped[datetime | None]
    fenced_by: Mapped[str] = mapped_column(Text)
    fenced_reason: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    role_at: Mapped[datetime | None]
    role_detail: Mapped[str] = mapped_column(Text)


class Promotion(Base):
    """One promotion and how far it is: what a control plane that starts again finishes or undoes. `step_done`, `step_error`: what
    the caller said of the paused step that `state` names. `undo_reason`: why it shall be undone."""

    __tablename__ = "promotions"
    __table_args__ = (
        Index(
            "uq_promotions_tunnel_id_unfinished",
            "tunnel_id",
            unique=True,
            sqlite_where=text("finished_at IS NULL"),
        ),
        Index("ix_promotions_tunnel_id_started_at", "tunnel_id", "started_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"))
    kind: Mapped[str] = mapped_column(Text)
    from_token_id: Mapped[str | None] = mapped_column(String(36))
    to_token_id: Mapped[str] = mapped_column(String(36))
    epoch_before: Mapped[int]
    epoch: Mapped[int | None]
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    hold_s: Mapped[float]
    drain_s: Mapped[float]
    most_held: Mapped[int]
    has_before: Mapped[bool]
    has_after: Mapped[bool]
    step_done: Mapped[str] = mapped_column(Text)
    step_error: Mapped[str] = mapped_column(Text)
    undo_reason: Mapped[str] = mapped_column(Text)
    held: Mapped[int]
    cut: Mapped[int]
    timeline: Mapped[list[dict[str, Any]]]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class VirtualNetwork(Base):
    """A virtual network of private routes; each account has one default."""

    __tablename__ = "virtual_networks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    is_default: Mapped[bool]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class TeamnetRoute(Base):
    """A private network (CIDR) behind a tunnel, in one virtual network. Stored and listed; no traffic yet."""

    __tablename__ = "teamnet_routes"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    network: Mapped[str] = mapped_column(Text)
    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"), index=True)
    virtual_network_id: Mapped[str] = mapped_column(ForeignKey("virtual_networks.id"))
    comment: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class Certificate(Base):
    """A public certificate; its key is sealed. `zone_id` None: of the edge itself. `source`: `uploaded` or `acme`; `names`: of
    the leaf; `authority`: the directory of the CA that was asked; `renew_at`: from when on another is ordered; `ask_at`: when
    the CA is asked for that moment again (RFC 9773)."""

    __tablename__ = "certificates"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    zone_id: Mapped[str | None] = mapped_column(ForeignKey("zones.id", ondelete="CASCADE"), index=True)
    source: Mapped[str] = mapped_column(Text)
    names: Mapped[list[str]]
    chain: Mapped[str] = mapped_column(Text)
    sealed_secret: Mapped[bytes]
    issuer: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(64))
    authority: Mapped[str | None] = mapped_column(Text)
    not_before: Mapped[datetime]
    not_after: Mapped[datetime]
    created_at: Mapped[datetime]
    renew_at: Mapped[datetime | None]
    ask_at: Mapped[datetime | None]


class CertificateOrder(Base):
    """How far a hostname is with its certificate, one row a name. `state`: `waiting`, `proving` (at a staging CA), `ordering` or
    `issued`. `sealed_secret`: the key of the certificate that is being ordered. `authority` and `order_url`: the order that is
    open, or was last; `next_at`: not before then is it tried again."""

    __tablename__ = "certificate_orders"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    zone_id: Mapped[str | None] = mapped_column(ForeignKey("zones.id", ondelete="CASCADE"), index=True)
    certificate_id: Mapped[str | None] = mapped_column(String(36))
    state: Mapped[str] = mapped_column(Text)
    sealed_secret: Mapped[bytes]
    authority: Mapped[str | None] = mapped_column(Text)
    order_url: Mapped[str | None] = mapped_column(Text)
    proved_at: Mapped[datetime | None]
    failures: Mapped[int]
    attempted_at: Mapped[datetime | None]
    next_at: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(Text)
    error_reason: Mapped[str | None] = mapped_column(Text)
    error_at: Mapped[datetime | None]


class AcmeAccount(Base):
    """Our account with a CA, by the URL of its directory; its key is sealed. `url` None: not registered yet. `paused_until`: the
    CA asked us to wait."""

    __tablename__ = "acme_accounts"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    directory: Mapped[str] = mapped_column(Text, unique=True)
    email: Mapped[str] = mapped_column(Text)
    url: Mapped[str | None] = mapped_column(Text)
    sealed_secret: Mapped[bytes]
    created_at: Mapped[datetime]
    paused_until: Mapped[datetime | None]


class KeyCheck(Base):
    """A known text under the newest key: a start with another key is refused before anything is sealed with that."""

    __tablename__ = "key_checks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    sealed_secret: Mapped[bytes]


class ReleasedName(Base):
    """The name of a deleted zone: for a while no other account may claim it (security.md S47)."""

    __tablename__ = "released_names"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[str] = mapped_column(String(32))
    released_at: Mapped[datetime]


class Connection(Base):
    """One of a connector's connections, live (`lost_at` None) or recently lost."""

    __tablename__ = "connections"
    __table_args__ = (
        Index("ix_connections_tunnel_id_lost_at", "tunnel_id", "lost_at"),
        Index("ix_connections_tunnel_id_connector_id_lost_at", "tunnel_id", "connector_id", "lost_at"),
        Index("ix_connections_lost_at", "lost_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"))
    connector_id: Mapped[str] = mapped_column(String(36))
    token_id: Mapped[str] = mapped_column(String(36))
    index: Mapped[int]
    protocol: Mapped[str] = mapped_column(Text)
    origin_ip: Mapped[str] = mapped_column(Text)
    location: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime]
    draining_at: Mapped[datetime | None]
    lost_at: Mapped[datetime | None]
    lost_reason: Mapped[str | None] = mapped_column(Text)
    pushed_version: Mapped[int | None]
    applied_version: Mapped[int | None]
    config_error: Mapped[str] = mapped_column(Text)


class Audit(Base):
    """Who wrote what, append-only (triggers refuse changes); each row's hash covers the one before it."""

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(Sequence64, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    actor_kind: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    account_id: Mapped[str | None] = mapped_column(String(32), index=True)
    object_id: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class HostnameTarget(Base):
    """One of the tunnels that a hostname leads to by weights (control/targets.py). `sticky` is the same in all rows of
    a hostname."""

    __tablename__ = "hostname_targets"

    zone_id: Mapped[str] = mapped_column(ForeignKey("zones.id", ondelete="CASCADE"), primary_key=True)
    hostname: Mapped[str] = mapped_column(Text, primary_key=True)
    tunnel_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    weight: Mapped[int]
    sticky: Mapped[str] = mapped_column(Text)


class Cutover(Base):
    """Hostnames on their way from one tunnel to another (cutover/). `state`, `step`: where it is, since `since`; `version` counts
    its changes. `records`: by hostname where its record is, what it was before, and the `row_version` that the cutover left it
    with. `baseline`: what the old tunnel answered before the move."""

    __tablename__ = "cutovers"
    __table_args__ = (Index("ix_cutovers_account_id_created_at", "account_id", "created_at"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    from_tunnel_id: Mapped[str] = mapped_column(String(36))
    to_tunnel_id: Mapped[str] = mapped_column(String(36))
    hostnames: Mapped[list[str]]
    plan: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(Text, index=True)
    step: Mapped[int]
    is_paused: Mapped[bool]
    is_resumed: Mapped[bool]
    since: Mapped[datetime]
    version: Mapped[int]
    why: Mapped[str] = mapped_column(Text)
    base_version: Mapped[str] = mapped_column(Text)
    records: Mapped[dict[str, Any]]
    gates: Mapped[list[dict[str, Any]]]
    baseline: Mapped[dict[str, Any] | None]
    timeline: Mapped[list[dict[str, Any]]]
    asked_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Event(Base):
    """What happened to a tunnel's connections, for people; only the newest are kept."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_tunnel_id_id", "tunnel_id", "id"),)

    id: Mapped[int] = mapped_column(Sequence64, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(Text)
    tunnel_id: Mapped[str | None] = mapped_column(String(36))
    detail: Mapped[dict[str, Any]]


class Probe(Base):
    """How a hostname's origin (or those of all hostnames of a tunnel) is asked whether it is well. `target`: the hostname, or the
    tunnel's id; `document`: the fields of a check."""

    __tablename__ = "probes"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    target: Mapped[str] = mapped_column(String(253), primary_key=True)
    document: Mapped[dict[str, Any]]
    modified_at: Mapped[datetime]


class HealthState(Base):
    """The last verdict about the origin behind a node, for a hostname: what is shown after a restart until it was asked again."""

    __tablename__ = "health_states"

    hostname: Mapped[str] = mapped_column(String(253), primary_key=True)
    tunnel_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    token_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)
    since: Mapped[datetime]


class SeriesFrame(Base):
    """What passed in `step` seconds from `start` (Unix seconds) on, of all series together (series/frames.py)."""

    __tablename__ = "series_frames"

    step: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    content: Mapped[bytes]


class AlertChannel(Base):
    """Where alerts are told (alerts/channels.py). `document`: what may be shown; `sealed_secret`: the rest, JSON. `last_…`: of
    the newest delivery that was tried; `dropped`: how many never were, for there were too many."""

    __tablename__ = "alert_channels"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    enabled: Mapped[bool]
    document: Mapped[dict[str, Any]]
    sealed_secret: Mapped[bytes]
    created_at: Mapped[datetime]
    modified_at: Mapped[datetime]
    last_at: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(Text)
    delivered_at: Mapped[datetime | None]
    dropped: Mapped[int]


class AlertRule(Base):
    """When somebody is told, and by which channels (alerts/rules.py). `settings`: the kind's thresholds; `tunnel_id`, `zone_id`,
    `hostname`: what it is bounded to; `of_edge`: what belongs to the edge itself is meant too. `silenced_until`: nobody is told
    before."""

    __tablename__ = "alert_rules"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    enabled: Mapped[bool]
    settings: Mapped[dict[str, Any]]
    tunnel_id: Mapped[str | None] = mapped_column(String(36))
    zone_id: Mapped[str | None] = mapped_column(String(32))
    hostname: Mapped[str | None] = mapped_column(String(253))
    of_edge: Mapped[bool]
    channels: Mapped[list[str]]
    silenced_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    modified_at: Mapped[datetime]


class AlertFiring(Base):
    """One time that a rule held for something (`subject`), from `since` on; open until `resolved_at`. `told_at`: when its
    channels were told (None: not yet, for the rule is silenced, or has none). `spells`: how often it began while it was open."""

    __tablename__ = "alert_firings"
    __table_args__ = (
        Index(
            "uq_alert_firings_rule_id_subject_open",
            "rule_id",
            "subject",
            unique=True,
            sqlite_where=text("resolved_at IS NULL"),
        ),
        Index("ix_alert_firings_account_id_fired_at", "account_id", "fired_at"),
        Index("ix_alert_firings_rule_id_subject", "rule_id", "subject"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    rule_id: Mapped[str] = mapped_column(ForeignKey("alert_rules.id", ondelete="CASCADE"))
    subject: Mapped[str] = mapped_column(Text)
    label: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)
    since: Mapped[datetime]
    fired_at: Mapped[datetime]
    told_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]
    spells: Mapped[int]


class AlertDelivery(Base):
    """One message to one channel (alerts/deliveries.py). `event_id`: the same for every channel and every try; `state`:
    `waiting`, `delivered`, `failed` or `dropped`; `next_at`: not before then is it tried (again)."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (
        Index("ix_alert_deliveries_state_next_at", "state", "next_at"),
        Index("ix_alert_deliveries_channel_id_created_at", "channel_id", "created_at"),
        Index("ix_alert_deliveries_account_id_created_at", "account_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    channel_id: Mapped[str] = mapped_column(ForeignKey("alert_channels.id", ondelete="CASCADE"))
    event_id: Mapped[str] = mapped_column(String(32))
    message: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int]
    next_at: Mapped[datetime]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(Text)
