"""An account as one JSON document. Every column of its rows is here, or listed in `LEFT_OUT` with the reason (a test looks)."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from qanat import structs
from qanat.errors import QanatError

FORMAT = "qanat-account"
VERSION = 1

LEFT_OUT = {
    "accounts": {},
    "tunnels": {
        "account_id": "the document's account",
        "sealed_secret": "in `secret`, sealed under the passphrase",
        "deleted_at": "deleted tunnels are not exported",
        "conns_active_at": "what happened here, not what was set",
        "conns_inactive_at": "what happened here",
        "down_reason": "what happened here",
        "status": "what happened here",
        "status_since": "what happened here",
        "local_configuration": "the connector sends it again",
        "local_configuration_at": "the connector sends it again",
        "quick_address": "quick tunnels are not exported",
        "quick_expires_at": "quick tunnels are not exported",
    },
    "configurations": {"tunnel_id": "the tunnel around it", "document": "in `config`, as JSON"},
    "connector_tokens": {
        "tunnel_id": "the tunnel around it",
        "sealed_secret": "in `secret`, sealed under the passphrase",
        "revoked_at": "revoked ones are not exported",
        "last_used_at": "what happened here",
        "last_used_from": "what happened here",
    },
    "tunnel_roles": {
        "tunnel_id": "the tunnel around it",
        "since": "what happened here",
        "reason": "what happened here",
    },
    "node_states": {
        "tunnel_id": "the tunnel around it",
        "fenced_at": "in `at`; a node that isn't fenced is not exported",
        "fenced_by": "in `by`",
        "fenced_reason": "in `reason`",
        "role": "the host tells it again",
        "role_at": "the host tells it again",
        "role_detail": "the host tells it again",
    },
    "hostname_targets": {"zone_id": "the zone around it", "tunnel_id": "in `shares`", "weight": "in `shares`"},
    "probes": {"account_id": "the document's account"},
    "virtual_networks": {"account_id": "the document's account", "deleted_at": "deleted ones are not exported"},
    "teamnet_routes": {"account_id": "the document's account", "deleted_at": "deleted ones are not exported"},
    "zones": {"account_id": "the document's account"},
    "records": {
        "zone_id": "the zone around it",
        "content_key": "follows from the content",
        "tunnel_id": "follows from the content",
    },
    "api_tokens": {
        "user_id": "users are not of one account",
        "account_id": "the document's account",
        "sha256": "a new value is made",
        "kind": "only API tokens are exported",
        "last_used_at": "what happened here",
        "last_used_from": "what happened here",
    },
    "users": {
        "id": "a user is known by the address",
        "key_sha256": "what one signs in by is not exported",
        "password_hash": "what one signs in by is not exported",
        "password_changed_at": "what one signs in by is not exported",
        "disabled": "who is shut out is so on one edge",
    },
    "memberships": {"user_id": "the user's address", "account_id": "the document's account"},
    "alert_channels": {
        "account_id": "the document's account",
        "sealed_secret": "in `secret`, sealed under the passphrase",
        "last_at": "what happened here",
        "last_error": "what happened here",
        "delivered_at": "what happened here",
        "dropped": "what happened here",
    },
    "alert_rules": {"account_id": "the document's account", "silenced_until": "a silence is of the moment"},
}


class MemberPart(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A user with a role in this account; one in every account is the edge's, and not here."""

    email: str
    role: str
    created_at: datetime
    first_name: str = ""
    last_name: str = ""


class AccountPart(msgspec.Struct, kw_only=True):
    """The account's own row."""

    id: str
    name: str
    settings: dict[str, Any]
    created_at: datetime


class ConfigurationPart(msgspec.Struct, kw_only=True):
    """One version of a tunnel's remote configuration."""

    version: int
    config: dict[str, Any]
    source: str
    author: str
    created_at: datetime


class ConnectorTokenPart(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A named connector token. `secret`: sealed, in base64."""

    id: str
    name: str
    created_at: datetime
    expires_at: datetime | None = None
    secret: str | None = None


class ModePart(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A tunnel's mode, and how its active node is replaced (nodes/mode.py)."""

    mode: Literal["replicas", "active-standby"]
    epoch: int
    automatic: bool
    follows_role: bool
    failover_after_s: float
    hold_down_s: float
    max_promotions: int
    per_s: float
    keeps_standby: bool
    active_token_id: str | None = None


class FencePart(msgspec.Struct, kw_only=True):
    """A fenced node: its connector token's id ("" the tunnel's own), since when, by whom and why."""

    token_id: str
    at: datetime
    by: str
    reason: str


class TunnelPart(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A tunnel with all its configurations, oldest first. `mode`: None where it never had one."""

    id: str
    name: str
    config_src: str
    created_at: datetime
    secret: str | None = None
    configurations: list[ConfigurationPart] = []
    connector_tokens: list[ConnectorTokenPart] = []
    mode: ModePart | None = None
    fences: list[FencePart] = []


class VirtualNetworkPart(msgspec.Struct, kw_only=True):
    """A virtual network."""

    id: str
    name: str
    comment: str
    is_default: bool
    created_at: datetime


class RoutePart(msgspec.Struct, kw_only=True):
    """A private route."""

    id: str
    network: str
    tunnel_id: str
    virtual_network_id: str
    comment: str
    created_at: datetime


class RecordPart(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A record."""

    id: str
    name: str
    type: str
    content: str
    ttl: int
    created_at: datetime
    modified_at: datetime
    written_as: str = "content"
    data: dict[str, Any] | None = None
    priority: int | None = None
    proxied: bool = False
    private_routing: bool | None = None
    comment: str | None = None
    tags: list[str] = []
    settings: dict[str, Any] = {}
    comment_modified_at: datetime | None = None
    tags_modified_at: datetime | None = None


class TargetsPart(msgspec.Struct, kw_only=True):
    """A hostname that leads to several tunnels: `shares` are tunnel ids with weights."""

    hostname: str
    sticky: Literal["none", "address", "cookie"]
    shares: list[tuple[str, int]]


class ZonePart(msgspec.Struct, kw_only=True):
    """A zone with its records."""

    id: str
    name: str
    paused: bool
    type: str
    created_at: datetime
    modified_at: datetime
    records: list[RecordPart]
    cutover_policy: Literal["enforce", "warn", "off"] | None = None
    settings: dict[str, Any] = {}
    targets: list[TargetsPart] = []


class ProbePart(msgspec.Struct, kw_only=True):
    """How a hostname, or each of a tunnel's, is asked. `document`: fields of a `Check` (health/questions.py)."""

    target: str
    document: dict[str, Any]
    modified_at: datetime


class TokenPart(msgspec.Struct, kw_only=True):
    """An API token that the account owns, without its value."""

    id: str
    name: str
    policies: list[dict[str, Any]]
    allowed_ips: list[str]
    denied_ips: list[str]
    disabled: bool
    not_before: datetime | None
    expires_on: datetime | None
    created_at: datetime
    modified_at: datetime


class AlertChannelPart(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where alerts are told. `document`: what may be shown of it; `secret`: a webhook's URL and key or a mailbox's password, as
    JSON, sealed, in base64."""

    id: str
    name: str
    kind: Literal["webhook", "email"]
    enabled: bool
    document: dict[str, Any]
    created_at: datetime
    modified_at: datetime
    secret: str | None = None


class AlertRulePart(msgspec.Struct, kw_only=True, omit_defaults=True):
    """When they are told, and by which channels."""

    id: str
    name: str
    kind: str
    enabled: bool
    settings: dict[str, float]
    created_at: datetime
    modified_at: datetime
    tunnel_id: str | None = None
    zone_id: str | None = None
    hostname: str | None = None
    of_edge: bool = False
    channels: list[str] = []


class SecretsPart(msgspec.Struct, kw_only=True):
    """How the secrets are sealed: scrypt of the passphrase, then AES-256-GCM. `check` opens only by the right passphrase."""

    kdf: str
    n: int
    r: int
    p: int
    salt: str
    cipher: str
    check: str


class Document(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The whole. Lists are in order of age, then id."""

    format: str
    version: int
    exported_at: datetime
    account: AccountPart
    tunnels: list[TunnelPart] = []
    virtual_networks: list[VirtualNetworkPart] = []
    routes: list[RoutePart] = []
    zones: list[ZonePart] = []
    probes: list[ProbePart] = []
    tokens: list[TokenPart] = []
    members: list[MemberPart] = []
    alert_channels: list[AlertChannelPart] = []
    alert_rules: list[AlertRulePart] = []
    secrets: SecretsPart | None = None


class _Outline(msgspec.Struct, kw_only=True):
    """A document whose large lists are still text."""

    format: Any = None
    version: Any = None
    exported_at: msgspec.Raw = msgspec.Raw()
    account: msgspec.Raw = msgspec.Raw()
    tunnels: list[msgspec.Raw] = []
    virtual_networks: msgspec.Raw = msgspec.Raw(b"[]")
    routes: msgspec.Raw = msgspec.Raw(b"[]")
    zones: list[msgspec.Raw] = []
    probes: msgspec.Raw = msgspec.Raw(b"[]")
    tokens: msgspec.Raw = msgspec.Raw(b"[]")
    members: msgspec.Raw = msgspec.Raw(b"[]")
    alert_channels: msgspec.Raw = msgspec.Raw(b"[]")
    alert_rules: msgspec.Raw = msgspec.Raw(b"[]")
    secrets: msgspec.Raw = msgspec.Raw(b"null")


def read_document(text: bytes) -> Document:
    """A document from its text, whose types are known before anything is built of it. Tunnel by tunnel and zone by zone, as the
    interpreter is held as long as one call decodes. QanatError `export_unknown_format` (another format, or a newer
    version), `export_malformed` (with the place)."""
    outline = _decoded(text.removeprefix(b"\xef\xbb\xbf"), _Outline, "")
    _check_format(outline.format, outline.version)
    given = {name: getattr(outline, name) for name in _Outline.__struct_fields__}
    for name in ("exported_at", "account"):
        if not bytes(given[name]):
            raise QanatError("export_malformed", f"Object missing required field `{name}`", where="document")
    parts: dict[str, Any] = {
        "tunnels": [_decoded(raw, TunnelPart, f"tunnels[{at}]") for at, raw in enumerate(outline.tunnels)],
        "zones": [_decoded(raw, ZonePart, f"zones[{at}]") for at, raw in enumerate(outline.zones)],
    }
    kinds = {field.name: field.type for field in msgspec.structs.fields(Document)}
    for name in given.keys() - parts.keys() - {"format", "version"}:
        parts[name] = _decoded(given[name], kinds[name], name)
    document = Document(format=FORMAT, version=VERSION, **parts)
    _check_times(document)
    return document


def _decoded(text: Any, kind: Any, place: str) -> Any:
    try:
        return structs.decode(text, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        message, _, where = str(error).partition(" - at `$")
        where = f"{place}{where.rstrip('`')}".removeprefix(".")
        raise QanatError("export_malformed", message, where=where or "document") from error


def _check_format(name: object, version: object) -> None:
    if name != FORMAT or version != VERSION:
        raise QanatError(
            "export_unknown_format",
            f"the file is {str(name)[:40]!r} version {str(version)[:10]}; this qanat reads {FORMAT!r} version {VERSION}",
            where="format",
        )


def plain(document: Document) -> dict[str, Any]:
    """As it is written to JSON."""
    built: dict[str, Any] = msgspec.to_builtins(document)
    return built


def _check_times(part: Any, place: str = "") -> None:
    """A time without a zone could mean any."""
    if isinstance(part, msgspec.Struct):
        for name in part.__struct_fields__:
            _check_times(getattr(part, name), f"{place}.{name}" if place else name)
    elif isinstance(part, list):
        for number, each in enumerate(part):
            if isinstance(each, msgspec.Struct):
                _check_times(each, f"{place}[{number}]")
    elif isinstance(part, datetime) and part.tzinfo is None:
        raise QanatError("export_malformed", "a time has no time zone", where=place)
