"""What the API answers, as far as we read it; further fields are ignored."""

from typing import Any

from msgspec import Struct, field


class TokenStatus(Struct, frozen=True):
    """Of `tokens/verify`."""

    id: str
    status: str
    expires_on: str | None = None


class Account(Struct, frozen=True):
    """An account."""

    id: str
    name: str


class Zone(Struct, frozen=True):
    """A zone."""

    id: str
    name: str
    status: str
    paused: bool
    account: Account


class Record(Struct, frozen=True):
    """A DNS record."""

    id: str
    name: str
    type: str
    content: str
    proxied: bool
    ttl: int
    comment: str | None = None


class Connection(Struct, frozen=True):
    """One of a connector's connections."""

    id: str
    client_id: str
    client_version: str
    colo_name: str
    is_pending_reconnect: bool
    opened_at: str
    origin_ip: str | None = None


class Connector(Struct, frozen=True):
    """A connected connector."""

    id: str
    version: str
    arch: str
    run_at: str
    config_version: int
    features: list[str] = field(default_factory=list)
    conns: list[Connection] = field(default_factory=list)


class Tunnel(Struct, frozen=True):
    """A tunnel; `token` only in the answer to its creation."""

    id: str
    account_tag: str
    name: str
    status: str
    config_src: str
    created_at: str
    deleted_at: str | None = None
    conns_active_at: str | None = None
    conns_inactive_at: str | None = None
    connections: list[Connection] = field(default_factory=list)
    token: str | None = None


class Configuration(Struct, frozen=True):
    """A tunnel's configuration; `config` is the document as it was sent."""

    tunnel_id: str
    version: int
    config: dict[str, Any]
    source: str
    created_at: str


class DetailedConnection(Struct, frozen=True):
    """A connection with the configuration that it has applied."""

    id: str
    index: int
    protocol: str
    location: str
    origin_ip: str
    opened_at: str
    pushed_version: int | None
    applied_version: int | None
    config_error: str


class DetailedConnector(Struct, frozen=True):
    """A connector with how many connections it asked for."""

    id: str
    version: str
    arch: str
    run_at: str
    wanted_connections: int
    config_version: int
    config_error: str
    connections: list[DetailedConnection]


class TunnelDetail(Struct, frozen=True):
    """qanat's own view of a tunnel: status since when and why."""

    id: str
    name: str
    status: str
    status_since: str
    status_reason: str | None
    configuration_version: int
    connectors: list[DetailedConnector]
