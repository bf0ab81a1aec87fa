"""Where the edge listens, and for whom: the public, connectors, and clients of its API."""

from typing import Literal

from pydantic import Field

from qanat.defaults import API_ADDRESS
from qanat.settings.people import OidcSettings
from qanat.settings.values import Address, Name, Network, OptionalAddress, OptionalHostname, OptionalName, Part


class PublicSettings(Part):
    """The public listeners, which browsers reach."""

    https: OptionalAddress = Field(default="0.0.0.0:8443", description="Address of the HTTPS listener; `off` for none.")
    http: OptionalAddress = Field(
        default="0.0.0.0:8080", description="Address of the plain HTTP listener; `off` for none."
    )
    http_mode: Literal["redirect", "serve"] = Field(
        default="redirect", description="What the plain listener does: redirect to HTTPS, or serve."
    )
    https_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="The HTTPS port that redirects name when it isn't the listener's own (0: it is).",
    )
    management_hostname: OptionalName = Field(
        default="management.argotunnel.com",
        description="Where `cloudflared tail` and diagnostics reach connectors, with a management token; `off` for nowhere.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description="Networks (CIDR) whose forwarding headers are believed; none by default."
    )
    tunnels: bool = Field(
        default=True,
        description="Take connectors on the HTTPS listener's port as well (TCP and UDP), so that a host behind a strict firewall "
        "connects: `--edge HOST:443`.",
    )
    proxy_protocol: tuple[Network, ...] = Field(
        default=(),
        description="Networks (CIDR) of load balancers whose connections to the public listeners begin with a PROXY protocol "
        "header, version 1 or 2. From them it must come, from others it is not taken.",
    )


class TunnelSettings(Part):
    """The listener that connectors dial."""

    address: Address = Field(
        default="0.0.0.0:7844", description="Address of the tunnel listener, UDP and TCP on one port."
    )
    names: tuple[str, ...] = Field(
        default=(),
        description="More names that the tunnel listener's certificate is good for, beside those connectors expect.",
    )
    public_name: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?)?$",
        description="The name, or name:port, that connectors find this edge by. Connector tokens carry it, and with it the "
        "development CA where that signs the tunnel listener, so that a host needs its token and nothing else; stock "
        "cloudflared passes over both.",
    )
    congestion: Literal["tolerant", "cubic", "bbr"] = Field(
        default="tolerant",
        description="What QUIC connections send by: `tolerant` (Cubic that takes a loss for congestion only when a queue "
        "stands on the way or many are lost), `cubic` or `bbr`; a connector's own sending is its --congestion.",
    )
    rotation_grace_s: float = Field(
        default=60.0, ge=0, description="Seconds that connections stay after their tunnel's secret was changed."
    )
    standby_wait_s: float = Field(
        default=5.0,
        ge=0,
        le=30,
        description="Seconds that a request waits for the active node of its tunnel, or a promotion, while only standbys are "
        "connected.",
    )


class QuickTunnelSettings(Part):
    """Quick tunnels: hostnames for anybody, without an account."""

    zone: str = Field(default="", description="Zone that quick tunnels get their hostnames in; none switches them off.")
    per_address: int = Field(default=5, ge=1, description="Quick tunnels that one address may have at once.")
    in_all: int = Field(default=500, ge=1, description="Quick tunnels that there may be at once.")
    expiry_s: float = Field(
        default=300.0, ge=1, description="Seconds that a quick tunnel is kept without a connection."
    )


class ControlSettings(Part):
    """The control API."""

    address: Address = Field(default=API_ADDRESS, description="Address of the control API (HTTP; keep it on loopback).")
    account: str = Field(
        default="default", min_length=1, max_length=100, description="Name of the account that the first start makes."
    )
    connections: int = Field(
        default=512,
        ge=8,
        description="Connections to the control API open at once, three quarters of them for one address. Beyond it the one that "
        "has waited longest for a request is closed.",
    )
    hostname: OptionalHostname = Field(
        default=None,
        description="Hostname under which the HTTPS listener serves the control API too, so that it is reached from anywhere by "
        "one URL, https://HOSTNAME/client/v4; none: only control.address serves it. It gets a certificate as public hostnames "
        "do, and no record can lead it elsewhere.",
    )
    requests: int = Field(
        default=256,
        ge=4,
        description="Requests for control.hostname open at once, a quarter of them for one address.",
    )
    body_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        description="Largest body of a request for control.hostname. Most endpoints take less: they say so themselves.",
    )
    hosts: tuple[Name, ...] = Field(
        default=(),
        description="Names that the control API answers for (Host header), beside loopback and the address that was dialled.",
    )
    legacy_keys: bool = Field(
        default=False, description="Take X-Auth-Email and X-Auth-Key, which hold every permission, beside API tokens."
    )
    own_endpoints: bool = Field(
        default=True,
        description="Serve the endpoints that are qanat's own. false: only those of the stock API, to try what a client does "
        "with a hosted control plane.",
    )
    dashboard: bool = Field(
        default=True,
        description="Serve the dashboard beside the API, at / of control.address and of control.hostname.",
    )
    cutover_policy: Literal["enforce", "warn", "off"] = Field(
        default="enforce",
        description="What becomes of a record that is repointed from a tunnel that serves to one that doesn't, in zones without "
        "a policy of their own: refused, made with a warning, or not looked at.",
    )
    cutover_watch: Literal["report", "rollback", "off"] = Field(
        default="report",
        description="What becomes of a record that was repointed to a tunnel which breaks in the first minutes: told in the log, "
        "the audit log and `qanat cutover history`; taken back, although a Terraform state says otherwise; or not watched.",
    )
    quick_tunnels: QuickTunnelSettings = QuickTunnelSettings()
    oidc: OidcSettings = OidcSettings()


class DnsSettings(Part):
    """DNS."""

    name_servers: tuple[Name, ...] = Field(
        default=("ns1.qanat.internal", "ns2.qanat.internal"),
        min_length=2,
        description="Name servers that every zone is answered with. qanat answers no DNS itself yet: name those that do.",
    )
