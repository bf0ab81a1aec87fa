"""What one run of the connector was told, put together and checked before anything touches the network."""

import os
import socket
from pathlib import Path
from typing import Literal, cast, get_args

from msgspec import Struct

from qanat.connector import flags
from qanat.connector.engine import EngineError, OriginBounds
from qanat.connector.log import LEVELS, Threshold
from qanat.connector.single_origin import single_origin
from qanat.connector.sources import SEARCH_PATHS, Sources, expanded, shown_settings
from qanat.connector.token import (
    Credentials,
    parse_credentials,
    parse_token,
    read_credentials_file,
    read_token_file,
    world_readable,
)
from qanat.errors import QanatError
from qanat.ids import parse_tunnel_id
from qanat.ingress.rules import Configuration, parse_configuration

Protocol = Literal["auto", "quic", "http2"]
IpVersion = Literal["auto", "4", "6"]
Congestion = Literal["tolerant", "cubic", "bbr"]
CONGESTION = get_args(Congestion)

MOST_CONNECTIONS = 255


class Options(Struct, frozen=True):
    """A connector's settings, all sound. `local` is the configuration of the file or of --url, None without any."""

    credentials: Credentials
    edges: tuple[str, ...]
    edge_ca_pem: bytes | None
    edge_ip_version: IpVersion
    edge_bind_address: str | None
    post_quantum: bool
    protocol: Protocol
    ha_connections: int
    congestion: Congestion
    retries: int
    rpc_timeout_s: float
    dial_timeout_s: float
    grace_period_s: float
    metrics: str | None
    pidfile: str | None
    allow_origins: tuple[str, ...]
    local: Configuration | None
    local_source: str
    settings: dict[str, str]
    warnings: tuple[str, ...]


class LogOptions(Struct, frozen=True):
    """How to log: read first, so that what is wrong with the rest can be logged. `folder` is None where a file is named."""

    level: Threshold
    json: bool
    file: str | None
    folder: str | None
    warnings: tuple[str, ...]


def log_options(sources: Sources) -> LogOptions:
    """A level or a format that nobody knows is a warning, and the usual one is taken, as stock does: a tunnel that is down is
    worse than a log with more lines."""
    warnings = []
    level = sources.get("loglevel", "info") or "info"
    if level not in LEVELS:
        warnings.append(
            f"{sources.place('loglevel')}: '{level[:40]}' is not a valid log level, so info is used ({_near_level(level)})"
        )
        level = "info"
    output = sources.get("output", "default")
    if output not in ("default", "json"):
        warnings.append(
            f"{sources.place('output')}: '{output[:40]}' is not a valid log format, so default is used (or write json)"
        )
    file, folder = sources.file("logfile"), sources.file("log-directory")
    if file and folder:
        warnings.append(f"{sources.place('logfile')} is used; {sources.place('log-directory')} is ignored")
        folder = None
    return LogOptions(cast(Threshold, level), output == "json", file, folder, tuple(warnings))


def _near_level(level: str) -> str:
    from difflib import get_close_matches  # only here: most starts never need it

    close = get_close_matches(level.lower(), LEVELS, n=1)
    return f"did you mean {close[0]}?" if close else f"one of {', '.join(LEVELS)}"


def read_options(sources: Sources) -> Options:
    """Checks everything; reads the files that are named.

    Raises:
        QanatError: the first thing wrong, `where` the flag, the variable, or the file and its key.
    """
    warnings = _refuse_and_warn(sources)
    credentials = _credentials(sources, warnings)
    protocol = sources.get("protocol", "auto")
    if protocol == "h2mux":
        warnings.append("h2mux is no longer a supported protocol: upgrading edge connection to http2")
        protocol = "http2"
    if protocol not in ("auto", "quic", "http2"):
        raise sources.bad("protocol", f"'{protocol[:40]}' is not a valid protocol", hint="use auto, quic or http2")
    local, local_source = _local_configuration(sources, warnings)
    bind_address, ip_version = _dial_from(sources, warnings)
    congestion = sources.get("congestion", "tolerant")
    if congestion not in CONGESTION:
        raise sources.bad(
            "congestion", f"'{congestion[:40]}' is not a valid congestion control", hint="use tolerant, cubic or bbr"
        )
    return Options(
        credentials=credentials,
        edges=_edges(sources),
        edge_ca_pem=_edge_ca(sources),
        edge_ip_version=ip_version,
        edge_bind_address=bind_address,
        post_quantum=sources.get("post-quantum", False),
        protocol=cast(Protocol, protocol),
        ha_connections=_ha_connections(sources, warnings),
        congestion=cast(Congestion, congestion),
        retries=_retries(sources),
        rpc_timeout_s=_above_zero(sources, "rpc-timeout", 5.0, warnings),
        dial_timeout_s=_above_zero(sources, "dial-edge-timeout", 15.0, warnings),
        grace_period_s=sources.get("grace-period", 30.0),
        metrics=sources.get("metrics", "") or None,
        pidfile=sources.file("pidfile"),
        allow_origins=_allow_origins(sources),
        local=local,
        local_source=local_source,
        settings=shown_settings(sources),
        warnings=tuple(warnings),
    )


def _refuse_and_warn(sources: Sources) -> list[str]:
    idle = []
    for flag in flags.FLAGS:
        value = sources.values.get(flag.name)
        if value is None or flag.effect in ("works", "harmless"):
            continue
        if flag.effect == "warned":
            idle.append(sources.place(flag.name))
        elif value != flags.NO_EFFECT_VALUES.get(flag.name):
            raise QanatError(
                "flag_unsupported",
                "this version can't honour the flag yet",
                where=sources.place(flag.name),
                hint="leave it out",
            )
    if not idle:
        return []
    return [f"{', '.join(idle)} {'has' if len(idle) == 1 else 'have'} no effect in this version of qanat"]


def _credentials(sources: Sources, warnings: list[str]) -> Credentials:
    """As stock: a token, else a token file, else credentials as text, else a credentials file, else the one of the tunnel that
    is named, where stock looks for it."""
    given = [
        name for name in ("token", "token-file", "credentials-contents", "credentials-file") if sources.values.get(name)
    ]
    tunnel = sources.tunnel or (str(sources.document["tunnel"]) if sources.document.get("tunnel") else None)
    if not given:
        return _searched_credentials(sources, tunnel)
    source, rest = given[0], given[1:]
    where = sources.place(source)
    if rest:
        ignored = ", ".join(sources.place(name) for name in rest)
        warnings.append(f"{where} is used; {ignored} {'is' if len(rest) == 1 else 'are'} ignored")
    value = sources.get(source, "")
    path = sources.file(source) or ""
    if source == "token":
        credentials = parse_token(value, where=where)
    elif source == "token-file":
        credentials = read_token_file(path, where=where)
        if world_readable(path):
            warnings.append(f"every user of this host can read the token in {path}: set its mode to 0600")
    elif source == "credentials-contents":
        credentials = parse_credentials(value, where=where)
    else:
        credentials = read_credentials_file(path, where=where)
    if tunnel and not source.startswith("token"):
        _check_tunnel(tunnel, credentials, where)
    return credentials


def _searched_credentials(sources: Sources, tunnel: str | None) -> Credentials:
    if tunnel is None:
        hint = "give --token-file FILE, or the variable TUNNEL_TOKEN"
        raise QanatError("token_missing", "no token was given", where="tunnel run", hint=hint)
    try:
        tunnel_id = parse_tunnel_id(tunnel)
    except QanatError:
        message = f"'{tunnel[:80]}' is a name, and its credentials are not given"
        raise QanatError(
            "credentials_file_invalid", message, where="tunnel run", hint="give --credentials-file, or a token"
        ) from None
    certificate = sources.file("origincert")
    folders = [os.path.dirname(certificate)] if certificate else []  # noqa: PTH120 - pathlib costs more
    folders += [expanded(folder, sources.home) for folder in SEARCH_PATHS]
    for folder in folders:
        path = f"{folder or '.'}/{tunnel_id}.json"
        if os.path.isfile(path):  # noqa: PTH113
            credentials = read_credentials_file(path, where="tunnel run")
            _check_tunnel(tunnel, credentials, path)
            return credentials
    message = f"there is no {tunnel_id}.json in {', '.join(folders)}"
    hint = "give --credentials-file FILE, or a token"
    raise QanatError("credentials_file_invalid", message, where="tunnel run", hint=hint)


def _check_tunnel(tunnel: str, credentials: Credentials, where: str) -> None:
    try:
        wanted = parse_tunnel_id(tunnel)
    except QanatError:
        return  # a name: only the API could tell, and the credentials decide
    if wanted != credentials.tunnel_id:
        message = f"these are of tunnel {credentials.tunnel_id}, not of {wanted}"
        raise QanatError("credentials_file_invalid", message, where=where)


def _edges(sources: Sources) -> tuple[str, ...]:
    edges = sources.get("edge", ())
    if not edges:
        raise QanatError(
            "usage",
            "no edge was given, and this version doesn't look one up",
            where="--edge",
            hint="give --edge host:7844, or the variable TUNNEL_EDGE",
        )
    for edge in edges:
        host, _, port = edge.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
        if not bare or (":" in bare and not host.startswith("[")) or not port.isdigit() or not 0 < int(port) < 65536:
            raise sources.bad("edge", f"'{edge[:80]}' is not host:port", hint="write edge.example.com:7844")
    return edges


def _edge_ca(sources: Sources) -> bytes | None:
    path = sources.file("cacert")
    if path is None:
        return None
    where = f"{sources.place('cacert')} {path}"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise QanatError("ca_file_invalid", error.strerror or "unreadable", where=where) from None
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise QanatError("ca_file_invalid", "the file holds no PEM certificate", where=where)
    return content


def _dial_from(sources: Sources, warnings: list[str]) -> tuple[str | None, IpVersion]:
    """The address to dial from, and of which version the edge's are: that address's, if there is one, as stock."""
    version = sources.get("edge-ip-version", "auto")
    if version not in ("auto", "4", "6"):
        raise sources.bad("edge-ip-version", f"'{version[:40]}' is not a valid IP version", hint="use auto, 4 or 6")
    address = sources.get("edge-bind-address", "")
    if not address:
        return None, cast(IpVersion, version)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.inet_pton(family, address)
    except (OSError, ValueError):
        raise sources.bad("edge-bind-address", f"'{address[:80]}' is not a valid IP address") from None
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        message = f"nothing can be sent from {address}: {error.strerror}"
        raise sources.bad("edge-bind-address", message, hint="name an address of this host") from None
    own: IpVersion = "6" if family == socket.AF_INET6 else "4"
    if version not in ("auto", own):
        warnings.append(f"{sources.place('edge-ip-version')} is {version} and {address} is not: {own} is used")
    return address, own


def _ha_connections(sources: Sources, warnings: list[str]) -> int:
    count = sources.get("ha-connections", 4)
    if count < 0:
        raise sources.bad("ha-connections", f"{count} is out of range", hint=f"from 1 to {MOST_CONNECTIONS}")
    kept = min(max(count, 1), MOST_CONNECTIONS)
    if kept != count:
        warnings.append(f"{sources.place('ha-connections')} is {count}: {kept} is used")
    return kept


def _retries(sources: Sources) -> int:
    """Below 0 there is no end of them, as in stock."""
    count = sources.get("retries", 5)
    return count if count >= 0 else 2**31


def _allow_origins(sources: Sources) -> tuple[str, ...]:
    listed = sources.get("allow-origins", ())
    try:
        OriginBounds(allowed=listed, own=())
    except EngineError as error:
        message = error.message.removeprefix("allowed: ")
        hint = "write 169.254.169.254, 169.254.0.0/16, metadata.example.com or host:port"
        raise sources.bad("allow-origins", message, hint=hint) from error
    return listed


def _above_zero(sources: Sources, name: str, default: float, warnings: list[str]) -> float:
    value = sources.get(name, default)
    if value > 0:
        return value
    warnings.append(f"{sources.place(name)} is 0: {default:g}s is used")
    return default


def _local_configuration(sources: Sources, warnings: list[str]) -> tuple[Configuration | None, str]:
    """The file's ingress rules, else the single rule of a flag."""
    if sources.document:
        try:
            configuration = parse_configuration(
                sources.document, form="yaml", also_known=flags.FILE_KEYS, misspelt_keys="told"
            )
        except QanatError as error:
            where = f"{sources.path}: {error.where}" if error.where else sources.path
            raise QanatError(error.code, error.message, where=where, hint=error.hint) from None
        warnings += [f"{sources.path}: {warning}" for warning in configuration.warnings]
        if configuration.rules:
            return configuration, sources.path or ""
    return single_origin(sources, warnings)
