"""Bounds: of the data path, of an account, and the threads that there are."""

from pydantic import Field

from qanat.settings.values import Network, Part


class LimitSettings(Part):
    """Bounds of the data path."""

    header_bytes: int = Field(default=131072, ge=1024, description="Bytes of a request's whole head.")
    header_fields: int = Field(default=128, ge=8, description="Header fields of a request.")
    request_line_bytes: int = Field(default=16384, ge=256, description="Bytes of a request line.")
    trailer_bytes: int = Field(default=16384, ge=256, description="Bytes of a message's trailers.")
    header_timeout_s: float = Field(default=10.0, gt=0, description="Seconds for a request's head to arrive.")
    tls_handshake_timeout_s: float = Field(default=10.0, gt=0, description="Seconds for a TLS handshake.")
    keep_alive_timeout_s: float = Field(
        default=75.0, gt=0, description="Seconds that an idle client connection is kept."
    )
    response_timeout_s: float = Field(default=100.0, gt=0, description="Seconds for an answer's head to arrive.")
    grpc_idle_timeout_s: float = Field(
        default=3600.0,
        gt=0,
        description="Seconds of silence between two messages of a gRPC request that has no answer yet.",
    )
    streams_per_tunnel: int = Field(default=10000, ge=1, description="Requests open at once through one tunnel.")
    connections: int = Field(
        default=16384,
        ge=1,
        description="Public connections open at once; never more than half of the file descriptors that the process may have.",
    )
    connections_per_address: int = Field(
        default=256, ge=1, description="Public connections open at once from one address (IPv6: from one /64)."
    )
    new_connections_per_address: int = Field(
        default=50,
        ge=1,
        le=1_000_000,
        description="Connections that one address may open in a second, on the public listeners and by connectors.",
    )
    failed_handshakes_per_address: int = Field(
        default=10, ge=1, le=1_000_000, description="Failed TLS handshakes of one address in a second."
    )
    shared_networks: tuple[Network, ...] = Field(
        default=("127.0.0.0/8", "::1/128"),
        description="Networks (CIDR) with many hosts behind one address, such as an office's NAT: the bounds by address are "
        "not for them, nor for public.trusted_proxies.",
    )
    pending_tunnel_handshakes: int = Field(
        default=1000,
        ge=1,
        description="Connections of connectors that have not registered yet; a sixteenth of them for one address.",
    )
    memory_bytes: int = Field(
        default=0,
        ge=0,
        description="Memory that the edge may use; at 85 % of it public requests are answered 503, at 95 % public connections "
        "are closed as well (0: what the system and its control group leave).",
    )
    unread_bytes: int = Field(
        default=0,
        ge=0,
        description="Bytes of answers in memory that visitors don't take (0: an eighth of the memory); one visitor may "
        "hold a quarter. Above it the answers that stand longest are cut.",
    )


class AccountLimitSettings(Part):
    """What one account may have, so that it leaves room for the others."""

    zones: int = Field(default=1000, ge=1, description="Zones of an account.")
    records: int = Field(default=20000, ge=1, description="Records of a zone.")
    tunnels: int = Field(default=1000, ge=1, description="Tunnels of an account; deleted and quick ones don't count.")
    api_tokens: int = Field(default=500, ge=1, description="API tokens of an account, and of the user.")
    connector_tokens: int = Field(default=100, ge=1, description="Named connector tokens of a tunnel.")
    private_routes: int = Field(default=1000, ge=1, description="Private network routes of an account.")
    virtual_networks: int = Field(default=1000, ge=1, description="Virtual networks of an account.")
    certificates: int = Field(
        default=2000, ge=1, description="Certificates of the development CA: one for each parent of a public hostname."
    )
    configurations: int = Field(
        default=100,
        ge=1,
        description="Versions of a tunnel's configuration that are kept, and those that connectors run.",
    )
    deleted: int = Field(
        default=1000,
        ge=1,
        description="Deleted tunnels, private routes, virtual networks and names of an account, and revoked connector tokens "
        "of a tunnel, that are remembered.",
    )


class EngineSettings(Part):
    """The threads of the data path."""

    worker_threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Threads that move bytes, each with its own connections (0: one a core); from four on, one more receives.",
    )
    event_queue: int = Field(default=65536, ge=64, description="Events that may wait for the control plane.")
