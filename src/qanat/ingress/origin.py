"""originRequest: what a rule says, what the top level says, and stock cloudflared's defaults, laid over one another."""

import ipaddress
import re
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import asdict

from qanat.errors import QanatError

if TYPE_CHECKING:
    from qanat.ingress.engine import OriginSettings

DURATIONS = frozenset({"connectTimeout", "tlsTimeout", "tcpKeepAlive", "keepAliveTimeout"})
"""The keys that are durations: whole seconds in JSON, Go texts in YAML."""

_NETWORK = re.compile(r"[0-9a-fA-F.:]+/[0-9]+", re.ASCII)

Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class Access(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Requests must carry a valid Access token."""

    required: bool = False
    team_name: str = field(name="teamName", default="")
    aud_tag: tuple[str, ...] = field(name="audTag", default=())
    environment: str = ""


class IpRule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a SOCKS proxy's policy."""

    prefix: str = ""
    ports: tuple[int, ...] = ()
    allow: bool = False


class OriginRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One `originRequest` as written: None is not set. Durations are seconds."""

    connect_timeout: float | None = field(name="connectTimeout", default=None)
    tls_timeout: float | None = field(name="tlsTimeout", default=None)
    tcp_keep_alive: float | None = field(name="tcpKeepAlive", default=None)
    no_happy_eyeballs: bool | None = field(name="noHappyEyeballs", default=None)
    keep_alive_connections: Count | None = field(name="keepAliveConnections", default=None)
    keep_alive_timeout: float | None = field(name="keepAliveTimeout", default=None)
    http_host_header: str | None = field(name="httpHostHeader", default=None)
    origin_server_name: str | None = field(name="originServerName", default=None)
    match_sni_to_host: bool | None = field(name="matchSNItoHost", default=None)
    ca_pool: str | None = field(name="caPool", default=None)
    no_tls_verify: bool | None = field(name="noTLSVerify", default=None)
    disable_chunked_encoding: bool | None = field(name="disableChunkedEncoding", default=None)
    bastion_mode: bool | None = field(name="bastionMode", default=None)
    proxy_address: str | None = field(name="proxyAddress", default=None)
    proxy_port: Port | None = field(name="proxyPort", default=None)
    proxy_type: str | None = field(name="proxyType", default=None)
    ip_rules: tuple[IpRule, ...] | None = field(name="ipRules", default=None)
    http2_origin: bool | None = field(name="http2Origin", default=None)
    access: Access | None = None


DEFAULTS = OriginRequest(
    connect_timeout=30.0,
    tls_timeout=10.0,
    tcp_keep_alive=30.0,
    keep_alive_connections=100,
    keep_alive_timeout=90.0,
    proxy_address="127.0.0.1",
)
"""Stock cloudflared's, where a key isn't simply off."""


def merge(rule: OriginRequest, top: OriginRequest) -> OriginRequest:
    """The rule's keys over the top level's over `DEFAULTS`."""
    merged = {
        key: value for layer in (DEFAULTS, top, rule) for key, value in asdict(layer).items() if value is not None
    }
    return OriginRequest(**merged)


def check(origin: OriginRequest, *, where: str) -> None:
    """The rules of one `originRequest` that types can't carry.

    Raises:
        QanatError: `ingress_bad_origin_request`, `where` names the key.
    """
    if origin.proxy_type not in (None, "", "socks"):
        raise _bad(
            f"'{origin.proxy_type}' is not a valid proxy type", f"{where}.proxyType", "write socks, or leave it out"
        )
    for key, text in (("httpHostHeader", origin.http_host_header), ("originServerName", origin.origin_server_name)):
        if text and not (text.isascii() and text.isprintable() and " " not in text):
            raise _bad("the name has a blank or a character that header fields can't have", f"{where}.{key}", None)
    if origin.ca_pool and "\0" in origin.ca_pool:
        raise _bad("the path has a NUL", f"{where}.caPool", None)
    access = origin.access
    if access and access.required and access.aud_tag and not access.team_name:
        raise _bad("audTag is set and teamName is not", f"{where}.access.teamName", "add the team's name")
    for index, rule in enumerate(origin.ip_rules or ()):
        _check_ip_rule(rule, f"{where}.ipRules[{index}]")


def _check_ip_rule(rule: IpRule, where: str) -> None:
    prefix = rule.prefix
    hint = "write a network such as 10.0.0.0/8; 0.0.0.0/0 and ::/0 are every address"
    try:
        _network(prefix)
    except ValueError:
        what = f"'{prefix[:80]}' is not a network" if prefix else "the rule has no network"
        raise _bad(what, f"{where}.prefix", hint) from None
    for index, port in enumerate(rule.ports):
        if not 1 <= port <= 65535:
            raise _bad(f"{port} is not a valid port", f"{where}.ports[{index}]", "write a port from 1 to 65535")


def _network(prefix: str) -> str:
    """A network as the engine takes it; as in Go, neither a single address nor a mask or a zone is one. ValueError."""
    if not _NETWORK.fullmatch(prefix):
        raise ValueError
    return str(ipaddress.ip_network(prefix, strict=False))


def settings(origin: OriginRequest, *, ca_pool_pem: bytes | None, issuer: str = "") -> "OriginSettings":
    """A merged originRequest for the engine. `ca_pool_pem` is the content of the file that `caPool` names, `issuer` whose tokens
    let in where `access.required`."""
    full = merge(origin, DEFAULTS)
    access = full.access or Access()
    required = access.required
    return {
        "connect_timeout_s": full.connect_timeout or 0.0,
        "tls_timeout_s": full.tls_timeout or 0.0,
        "tcp_keep_alive_s": full.tcp_keep_alive or 0.0,
        "no_happy_eyeballs": bool(full.no_happy_eyeballs),
        "keep_alive_connections": full.keep_alive_connections or 0,
        "keep_alive_timeout_s": full.keep_alive_timeout or 0.0,
        "http_host_header": full.http_host_header or None,
        "origin_server_name": full.origin_server_name or None,
        "match_sni_to_host": bool(full.match_sni_to_host),
        "ca_pool_pem": ca_pool_pem,
        "no_tls_verify": bool(full.no_tls_verify),
        "disable_chunked_encoding": bool(full.disable_chunked_encoding),
        "http2_origin": bool(full.http2_origin),
        "socks": full.proxy_type == "socks",
        "ip_rules": [
            {"prefix": _network(each.prefix), "ports": each.ports, "allow": each.allow} for each in full.ip_rules or ()
        ],
        "access": {"issuer": issuer, "audiences": access.aud_tag if issuer else ()} if required else None,
    }


def _bad(message: str, where: str, hint: str | None) -> QanatError:
    return QanatError("ingress_bad_origin_request", message, where=where, hint=hint)
