"""What the API answers, as far as we read it; further fields are ignored."""

from typing import Any

from msgspec import Struct, field


class TokenStatus(Struct, frozen=True):
    """Of `tokens/verify`."""

    id: str
    status: str
    expires_on: str | None = None


class Token(Struct, frozen=True):
    """An API token; `value` only in the answer to its creation."""

    id: str
    name: str
    status: str
    policies: list[dict[str, Any]] = field(default_factory=list)
    condition: dict[str, Any] | None = None
    issued_on: str | None = None
    not_before: str | None = None
    expires_on: str | None = None
    last_used_on: str | None = None
    value: str | None = None


class Person(Struct, frozen=True):
    """A user; `roles` by account, `*` for every one. `one_time_token` only in the answer to creation and reset."""

    id: str
    email: str
    roles: dict[str, str]
    disabled: bool
    has_password: bool
    has_second_factor: bool
    created_at: str
    one_time_token: str | None = None


class PermissionGroup(Struct, frozen=True):
    """What a token's policy can allow."""

    id: str
    name: str
    scopes: list[str] = field(default_factory=list)


class Account(Struct, frozen=True):
    """An account."""

    id: str
    name: str
    created_on: str | None = None


class Zone(Struct, frozen=True):
    """A zone."""

    id: str
    name: str
    status: str
    paused: bool
    account: Account
    name_servers: list[str] | None = None
    created_on: str | None = None
    modified_on: str | None = None


class CertificateError(Struct, frozen=True):
    """Why the last order failed."""

    code: str
    reason: str
    at: str


class Certificate(Struct, frozen=True):
    """A public certificate, or one that is being ordered."""

    id: str
    names: list[str]
    source: str
    status: str
    zone_id: str | None = None
    zone_name: str | None = None
    issuer: str | None = None
    authority: str | None = None
    fingerprint: str | None = None
    not_before: str | None = None
    not_after: str | None = None
    renew_at: str | None = None
    next_attempt_at: str | None = None
    failures: int = 0
    last_error: CertificateError | None = None


class Record(Struct, frozen=True):
    """A DNS record. `data` of the types that have it."""

    id: str
    name: str
    type: str
    content: str = ""
    proxied: bool = False
    ttl: int = 1
    comment: str | None = None
    data: dict[str, Any] | None = None
    priority: int | None = None
    tags: list[str] = field(default_factory=list)
    settings: dict[str, Any] | None = None


class OriginCertificate(Struct, frozen=True):
    """`certificate` is the text of a cert.pem for a stock cloudflared."""

    certificate: str


class Imported(Struct, frozen=True):
    """What came of a zone file."""

    recs_added: int
    total_records_parsed: int


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
    status: str = ""
    config_src: str | None = None
    created_at: str | None = None
    remote_config: bool | None = None
    deleted_at: str | None = None
    conns_active_at: str | None = None
    conns_inactive_at: str | None = None
    connections: list[Connection] = field(default_factory=list)
    token: str | None = None


class Configuration(Struct, frozen=True):
    """A tunnel's configuration; `config` is the document as it was sent, empty when there never was one."""

    tunnel_id: str
    version: int
    config: dict[str, Any] = field(default_factory=dict)
    source: str | None = None
    created_at: str | None = None
    author: str | None = None


class ConnectorToken(Struct, frozen=True):
    """A named connector token of a tunnel; `token` only where it is shown. `connections`: how many it holds now."""

    id: str
    name: str
    status: str = ""
    connections: int = 0
    created_at: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None
    last_used_at: str | None = None
    last_used_from: str | None = None
    token: str | None = None


class PrivateRoute(Struct, frozen=True):
    """A private network behind a tunnel."""

    id: str
    network: str
    tunnel_id: str
    virtual_network_id: str
    tunnel_name: str | None = None
    virtual_network_name: str | None = None
    comment: str | None = None
    created_at: str | None = None


class VirtualNetwork(Struct, frozen=True):
    """A virtual network of private routes."""

    id: str
    name: str
    is_default_network: bool = False
    comment: str | None = None


class AuditActor(Struct, frozen=True):
    """Who wrote: `kind` and id, and from where."""

    kind: str
    id: str
    address: str


class AuditRow(Struct, frozen=True):
    """One write."""

    seq: int
    at: str
    actor: AuditActor
    action: str
    account_id: str | None
    object_id: str
    detail: dict[str, Any]
    previous: str
    hash: str


class AuditVerdict(Struct, frozen=True):
    """Whether the audit chain holds; `first_broken` is the `seq` of the first row that doesn't."""

    ok: bool
    count: int
    last_seq: int | None
    last_hash: str | None
    first_broken: int | None
    reason: str | None


class ImportStep(Struct, frozen=True):
    """What an import does with one object: `create`, `change`, `same`, or `conflict` with the reason."""

    kind: str
    id: str
    name: str
    action: str
    reason: str | None = None


class ImportReport(Struct, frozen=True):
    """What an import of an account did, or would do."""

    account_id: str
    applied: bool
    counts: dict[str, int]
    steps: list[ImportStep]
    new_secrets: list[str]
    new_values: list[str]
    new_users: list[str] = []
    new_channels: list[str] = []


class DetailedConnection(Struct, frozen=True):
    """A connection with the configuration that it has applied. The standard endpoints know no `index` and no `protocol`."""

    id: str
    index: int | None
    protocol: str
    location: str
    origin_ip: str
    opened_at: str
    pushed_version: int | None
    applied_version: int | None
    config_error: str
    rtt_s: float | None = None
    key_exchange: str | None = None


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
    mode: str = "replicas"
    active_node: str | None = None
    epoch: int = 0


class Probe(Struct, frozen=True):
    """How a hostname's origin (or those of a tunnel) is asked."""

    target: str
    path: str
    method: str
    status: str
    body: str
    interval_s: float
    timeout_s: float
    rise: int
    fall: int
    enabled: bool
    headers: dict[str, str] = field(default_factory=dict)
    send: dict[str, str] = field(default_factory=dict)


class OriginHealth(Struct, frozen=True):
    """How the origin behind a node is, for a hostname."""

    hostname: str
    tunnel_id: str
    tunnel: str
    node: str
    state: str
    healthy: bool
    why: str
    since: str
    connections: int
    suspect: int


class OriginAnswer(Struct, frozen=True):
    """What an origin answered through a node."""

    hostname: str
    tunnel_id: str
    node: str
    good: bool
    why: str
    status: int
    cause: str
    duration_s: float
    connection_id: str | None = None


class Traffic(Struct, frozen=True):
    """What has passed of a hostname through a node."""

    hostname: str
    tunnel_id: str
    tunnel: str
    node: str
    requests: int
    statuses: list[int]
    edge_made: int
    cut: int
    client_failed: int
    refused: int
    timed_out: int
    bytes_in: int
    bytes_out: int
    state: str
    p50_s: float | None = None
    p95_s: float | None = None


class TunnelMode(Struct, frozen=True):
    """Which of a tunnel's nodes get requests, and how the active one is replaced without anybody asking."""

    mode: str
    active: str | None
    epoch: int
    since: str | None
    reason: str
    automatic: bool
    follows_role: bool
    failover_after_s: float
    hold_down_s: float
    max_promotions: int
    per_s: float
    keeps_standby: bool


class Node(Struct, frozen=True):
    """A node: the host that a connector token names."""

    id: str
    name: str
    state: str
    token: str
    connections: int
    suspect: int
    open_requests: int
    health: str
    health_reason: str
    health_since: str | None
    role: str
    role_detail: str
    role_at: str | None
    fenced_at: str | None
    fenced_by: str
    fenced_reason: str


class Nodes(Struct, frozen=True):
    """A tunnel's mode and nodes."""

    mode: TunnelMode
    nodes: list[Node]


class Promotion(Struct, frozen=True):
    """A promotion, and how far it is."""

    id: str
    kind: str
    from_node: str | None
    to_node: str
    state: str
    epoch: int | None
    reason: str
    undo_reason: str
    step_error: str
    held: int
    cut: int
    started_at: str
    finished_at: str | None
    timeline: list[dict[str, Any]]

    @property
    def is_over(self) -> bool:
        """Released, or undone."""
        return self.finished_at is not None


class RequestList(Struct, frozen=True):
    """A hostname whose requests are listed for a while."""

    hostname: str
    on: bool
    begun_at: str
    until: str
    by: str
    most: int
    requests: int
    dropped: int


class ListedRequest(Struct, frozen=True):
    """A request that has ended, without what may be a secret. Every text may be a stranger's."""

    at: float
    request_id: str
    client_ip: str
    method: str
    path: str
    query: str
    protocol: str
    status: int
    cause: str
    bytes_in: int
    bytes_out: int
    duration_s: float
    queue_s: float | None
    first_byte_s: float | None
    connector_s: float | None
    origin_s: float | None
    tunnel_id: str
    node: str
    user_agent: str
    referer: str
    headers: list[dict[str, str]]
