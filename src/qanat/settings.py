"""The edge's settings: by flag, else `QANAT_…` in the environment, else TOML file, else default. Frozen once read."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

# Before its first model pydantic looks for plugins in all that is installed; there are none of ours.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from qanat.defaults import API_ADDRESS, default_data_dir
from qanat.errors import QanatError
from qanat.ids import parse_hostname

ENV_PREFIX = "QANAT_"
ENV_NESTING = "__"


def check_address(address: str) -> str:
    """`host:port`, an IPv6 host in brackets. ValueError says what is missing."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not host:port, such as 127.0.0.1:8443 or [::]:8443 (port 0: any free one)")
    if not host or (":" in host) != (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{address!r} has no host in front of the port, or an IPv6 host without brackets")
    return address


def _optional_address(address: str | None) -> str | None:
    return None if address in (None, "", "off") else check_address(address)


def check_name(name: str) -> str:
    """A hostname or an address, without scheme and port, in lower case. ValueError says what is too much."""
    bare = name.strip().lower().removesuffix(".")
    if not bare or any(each in bare for each in "/@[] ") or bare.count(":") == 1:
        raise ValueError(f"{name!r} is not a valid name, such as api.example.com: leave out scheme, port and brackets")
    return bare


def _optional_name(name: str | None) -> str | None:
    return None if name in (None, "", "off") else check_name(name)


def _optional_hostname(name: str | None) -> str | None:
    if name in (None, "", "off"):
        return None
    try:
        hostname = parse_hostname(check_name(name), wildcard=False)
    except QanatError as error:
        raise ValueError(error.message) from None
    if "." not in hostname:
        raise ValueError(f"{name!r} is a single label; give a whole name, such as api.example.com")
    return hostname


def check_network(network: str) -> str:
    """An address or a network, `10.0.0.0/8`. ValueError says what is wrong."""
    try:
        return str(ip_network(network.strip(), strict=False))
    except ValueError as error:
        raise ValueError(f"{network!r} is not a valid address or network, such as 192.0.2.0/24: {error}") from None


Address = Annotated[str, AfterValidator(check_address)]
Network = Annotated[str, AfterValidator(check_network)]
Name = Annotated[str, AfterValidator(check_name)]
OptionalName = Annotated[str | None, AfterValidator(_optional_name)]
OptionalAddress = Annotated[str | None, AfterValidator(_optional_address)]


class Part(BaseModel):
    """A section of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
    hostname: Annotated[str | None, AfterValidator(_optional_hostname)] = Field(
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


class DnsSettings(Part):
    """DNS."""

    name_servers: tuple[Name, ...] = Field(
        default=("ns1.qanat.internal", "ns2.qanat.internal"),
        min_length=2,
        description="Name servers that every zone is answered with. qanat answers no DNS itself yet: name those that do.",
    )


class CertificateFiles(Part):
    """A certificate that was given: chain and key, PEM."""

    chain: Path = Field(description="PEM file: the leaf, then its intermediates.")
    key: Path = Field(description="PEM file: the leaf's private key.")


class TlsSettings(Part):
    """Certificates."""

    certificates: tuple[CertificateFiles, ...] = Field(
        default=(),
        description="Public certificates; they win over the development CA's. As JSON or [[tls.certificates]].",
    )
    tunnel_chain: Path | None = Field(
        default=None, description="PEM file: the tunnel listener's chain (none: from the development CA)."
    )
    tunnel_key: Path | None = Field(default=None, description="PEM file: the tunnel listener's private key.")
    development_ca: bool = Field(
        default=True, description="Make certificates by a private CA (ca.pem) for hostnames that no given one covers."
    )


class ExternalAccount(Part):
    """An account with a CA that ours is bound to (RFC 8555 7.3.4). Its HMAC key is secret: in a file, or in the environment."""

    directory: str = Field(description="The CA's directory, as in acme.directory.")
    key_id: str = Field(description="Key id, from the CA.")
    key_file: Path | None = Field(
        default=None,
        description="File with the HMAC key (base64url) on its first line; none: QANAT_ACME_HMAC_KEY has it.",
    )


def _check_email(email: str) -> str:
    name, at, host = email.rpartition("@")
    if email and (not at or not name or "." not in host or any(each.isspace() for each in email)):
        raise ValueError(f"{email!r} is not an email address, such as you@example.com")
    return email


def _check_url(url: str) -> str:
    if (
        url
        and not url.startswith("https://")
        and not url.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]"))
    ):
        raise ValueError(f"{url!r} is not an https:// URL (http:// is taken for loopback only)")
    return url


def _check_socket(address: str) -> str:
    return check_address(address) if address else ""


Url = Annotated[str, AfterValidator(_check_url)]


class AcmeSettings(Part):
    """Certificates of CAs by ACME (RFC 8555), for every hostname that has a record."""

    email: Annotated[str, AfterValidator(_check_email)] = Field(
        default="",
        description="Have certificates ordered, by accounts with this contact. Giving it agrees to the CAs' terms of service.",
    )
    directory: tuple[Url, ...] = Field(
        default=("https://acme-v02.api.letsencrypt.org/directory",),
        min_length=1,
        description="Directories of CAs; a later one is asked when those before it don't serve.",
    )
    terms_agreed: bool = Field(
        default=True,
        description="The terms of service of these CAs are agreed to; without it, none that has some is asked.",
    )
    external_accounts: tuple[ExternalAccount, ...] = Field(
        default=(), description="Accounts with CAs that want ours bound to one. As JSON or [[acme.external_accounts]]."
    )
    staging_first: bool = Field(
        default=False,
        description="Prove each new name to acme.staging_directory first, so that mistakes cost no rate limit.",
    )
    staging_directory: Url = Field(
        default="https://acme-staging-v02.api.letsencrypt.org/directory",
        description="The CA for acme.staging_first; its certificates are never served.",
    )
    challenges: tuple[Literal["http-01", "tls-alpn-01", "dns-01"], ...] = Field(
        default=("http-01", "tls-alpn-01"),
        description="How names are proved; each attempt takes the next one. Wildcards are always proved by dns-01.",
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file: who signs the HTTPS of a private CA's directory (none: the usual roots)."
    )
    dns_hook: tuple[str, ...] = Field(
        default=(),
        description="Command, one argument an entry, that writes TXT records for dns-01: `present|cleanup NAME. VALUE` is added.",
    )
    dns_api: Url = Field(
        default="",
        description="v4 API that writes TXT records for dns-01, such as https://api.cloudflare.com/client/v4.",
    )
    dns_token_file: Path | None = Field(default=None, description="File with the API token for acme.dns_api.")
    dns_resolver: Annotated[str, AfterValidator(_check_socket)] = Field(
        default="",
        description="Name server (host:port) that is asked whether a TXT record can be seen; none: those of its zone.",
    )
    dns_wait_s: float = Field(
        default=120.0, ge=0, description="Seconds that name servers may take to show a TXT record."
    )


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

    worker_threads: int = Field(default=0, ge=0, le=1024, description="Threads that move bytes (0: one a core).")
    event_queue: int = Field(default=65536, ge=64, description="Events that may wait for the control plane.")


def _store_url(url: str | None) -> str | None:
    """Never quotes what was given: it may hold a password."""
    if url is None or url == "":
        return None
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("not a URL such as postgresql://qanat@db.example.test/qanat (leave it out for SQLite)")
    return url


class ProbeSettings(Part):
    """The probes that ask every public hostname's origin, through each node, whether it answers."""

    enabled: bool = Field(
        default=True,
        description="Ask: `GET /` of every public hostname that leads to a tunnel, every 10 s, where nothing else is set "
        "(`qanat probe set`).",
    )
    per_second: float = Field(
        default=100.0,
        gt=0,
        le=10_000,
        description="Probes a second in all; with more to ask, all are asked less often.",
    )


class MetricsSettings(Part):
    """The edge's own metrics."""

    address: OptionalAddress = Field(
        default=None,
        description="Address of a listener that serves GET /metrics (Prometheus) without a token; by default none: the control "
        "address serves it to a token with edge.read, at /client/v4/qanat/metrics.",
    )
    hostnames: int = Field(
        default=200,
        ge=0,
        le=10_000,
        description="Hostnames with series of their own, those with most requests; all others are one series.",
    )


class SeriesSettings(Part):
    """What the dashboard's plots are made of, kept in the store."""

    hostnames: int = Field(
        default=200,
        ge=0,
        le=2000,
        description="Hostnames with a series of their own in one interval, those with most requests. Tunnels and accounts have "
        "one in any case. About 100 bytes each; 10 s are kept for an hour, a minute for a day, 10 for 8 days, hours for 92.",
    )


class AccessLogSettings(Part):
    """One line of JSON for each request that is over."""

    to: str = Field(
        default="off",
        description="`stdout`, a file's path, or `unix:` and a socket's path, which gets lines as a stream; `off` for none.",
    )
    sample: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="How many of the requests that their origin answered have a line, 0 to 1; those that the edge answered "
        "itself, or cut, always have one.",
    )
    query: Literal["none", "names", "all"] = Field(
        default="names",
        description="What a line tells of queries (of Referer's too): nothing, the names with `*` for each value, or everything, "
        "tokens and passwords included.",
    )
    rotate_bytes: int = Field(
        default=100 * 2**20,
        ge=0,
        description="A file begins anew at this size (0: never; a file that somebody else moves away is begun anew as well).",
    )
    keep: int = Field(default=5, ge=0, le=1000, description="Older files that are kept, as `….1` to `….5`.")
    queue_bytes: int = Field(
        default=8 * 2**20,
        ge=64 * 1024,
        le=2**30,
        description="Lines that may wait to be written; what has no room is dropped and counted.",
    )


class TracingSettings(Part):
    """The edge as a span of traces (W3C Trace Context); needs `pip install qanat[otlp]`."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s?#@]+$",
        description="Where spans go by OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; without it, trace context passes "
        "through untouched. Headers for it: OTEL_EXPORTER_OTLP_HEADERS.",
    )
    sample: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="How many requests are traced, 0 to 1. A caller's `not sampled` is heeded; its `sampled` only within this.",
    )


class StoreSettings(Part):
    """The database, and the key that the secrets in it are sealed with."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Annotated[str | None, AfterValidator(_store_url)] = Field(
        default=None,
        repr=False,
        description="PostgreSQL's URL, as libpq takes it; without one, the store is a SQLite file in the data directory.",
    )
    password_file: Path | None = Field(
        default=None,
        description="File with PostgreSQL's password on its first line (PGPASSFILE and ~/.pgpass work as well).",
    )
    key_command: tuple[str, ...] = Field(
        default=(),
        description="Command, one argument an entry, that prints what would be in secret.key; no key file is used then.",
    )
    busy_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for another process's lock.")


class LogSettings(Part):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level that is shown."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto`: console on a terminal, else JSON."
    )


class EdgeSettings(BaseSettings):
    """Everything that `qanat edge` can be told."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_NESTING,
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(
        default_factory=default_data_dir, description="Directory of the database, keys and certificates."
    )
    location: str = Field(
        default="local",
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="Name of this edge node, as connectors and the API show it.",
    )
    grace_period_s: float = Field(
        default=30.0, ge=0, description="Seconds that open requests get to finish when the edge is stopped."
    )
    stop_notice_s: float = Field(
        default=0.5,
        ge=0,
        description="Seconds for which an edge that is stopped still takes requests, and tells every client that its connection "
        "closes; at most grace_period_s.",
    )
    public: PublicSettings = PublicSettings()
    tunnel: TunnelSettings = TunnelSettings()
    control: ControlSettings = ControlSettings()
    dns: DnsSettings = DnsSettings()
    tls: TlsSettings = TlsSettings()
    acme: AcmeSettings = AcmeSettings()
    limits: LimitSettings = LimitSettings()
    account_limits: AccountLimitSettings = AccountLimitSettings()
    engine: EngineSettings = EngineSettings()
    store: StoreSettings = StoreSettings()
    probes: ProbeSettings = ProbeSettings()
    metrics: MetricsSettings = MetricsSettings()
    series: SeriesSettings = SeriesSettings()
    access_log: AccessLogSettings = AccessLogSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the file. The file's values come in under the key `_file`."""
        given: dict[str, Any] = dict(init_settings.init_kwargs) if isinstance(init_settings, InitSettingsSource) else {}
        from_file = given.pop("_file_values", {})
        return InitSettingsSource(settings_cls, given), env_settings, InitSettingsSource(settings_cls, from_file)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, for `--help` and the reference page."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def key(self) -> str:
        """As in the file: `public.https`."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """As on the command line: `--public-https`."""
        return "--" + "-".join(self.path).replace("_", "-")

    @property
    def variable(self) -> str:
        """As in the environment: `QANAT_PUBLIC__HTTPS`."""
        return ENV_PREFIX + ENV_NESTING.join(self.path).upper()

    @property
    def description(self) -> str:
        """What it does."""
        return self.field.description or ""


def every_setting(model: type[BaseModel] = EdgeSettings, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """All settings, in the order of the models."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Part):
            yield from every_setting(annotation, (*path, name))
        else:
            yield Setting((*path, name), field)


def load_edge_settings(*, file: Path | None = None, flags: Mapping[str, object] | None = None) -> EdgeSettings:
    """The settings in force. `flags` are keyed by `Setting.key`; those that are None were not given.

    Raises:
        QanatError: `settings_invalid`; `where` is the setting and, where it came from the file, the file.
    """
    nested: dict[str, Any] = {}
    for key, value in (flags or {}).items():
        if value is not None:
            *parents, last = key.split(".")
            level = nested
            for parent in parents:
                level = level.setdefault(parent, {})
            level[last] = value
    values = _read_file(file) if file is not None else {}
    try:
        settings = EdgeSettings(_file_values=values, **nested)  # type: ignore[call-arg]  # taken out by the sources
    except ValidationError as error:
        raise _refused(error, file) from error
    except SettingsError as error:
        raise QanatError("settings_invalid", f"{error} (a value of several parts is JSON)") from error
    if _has_password(nested.get("store", {}).get("url")):
        raise QanatError(
            "settings_invalid",
            "a command line can be read by everybody on this machine: it must hold no password",
            where="store.url",
            hint="put it into a file and give --store-password-file",
        )
    _check_control(settings)
    if (settings.tls.tunnel_chain is None) != (settings.tls.tunnel_key is None):
        raise QanatError(
            "settings_invalid", "give both tunnel_chain and tunnel_key, or neither", where="tls.tunnel_chain"
        )
    return settings


def _check_control(settings: EdgeSettings) -> None:
    hostname = settings.control.hostname
    if hostname is None:
        return
    if not settings.public.https:
        raise QanatError(
            "settings_invalid",
            "it is served by the HTTPS listener, which is off",
            where="control.hostname",
            hint="set public.https, or leave control.hostname out",
        )
    if hostname == settings.public.management_hostname:
        raise QanatError(
            "settings_invalid",
            f"{hostname} is public.management_hostname already",
            where="control.hostname",
            hint="give each a name of its own",
        )


def _has_password(url: object) -> bool:
    if not isinstance(url, str):
        return False
    # By hand, as libpq reads it: urlsplit refuses some URLs of several hosts.
    authority = url.partition("://")[2].partition("/")[0]
    return ":" in authority.rpartition("@")[0] or "password" in parse_qs(url.partition("?")[2])


def _read_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            return tomllib.load(opened)
    except OSError as error:
        raise QanatError(
            "settings_invalid", f"can't read the settings file: {error.strerror}", where=str(file)
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise QanatError("settings_invalid", f"not TOML: {error}", where=str(file)) from error


def _refused(error: ValidationError, file: Path | None) -> QanatError:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(setting.key for setting in every_setting() if setting.key.startswith(where.split(".")[0]))
        message = "there is no such setting"
        hint = f"known here: {known}" if known else "see `qanat edge --help`"
    else:
        message = first["msg"].removeprefix("Value error, ")
        hint = "see `qanat edge --help`"
    if file is not None:
        hint += f"; the file is {file}"
    more = len(error.errors()) - 1
    if more:
        message += f" (and {more} more)"
    return QanatError("settings_invalid", message, where=where, hint=hint)
