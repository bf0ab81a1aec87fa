"""What one run of the connector was told, put together and checked before anything touches the network."""

import re

from msgspec import Struct

from qanat.connector import edge_options
from qanat.connector.credentials import read_credentials
from qanat.connector.edge_options import Congestion, IpVersion, Protocol
from qanat.connector.edges import Edges, find_edges
from qanat.connector.engine import EngineError, OriginBounds
from qanat.connector.flag_table import FLAGS
from qanat.connector.flags import FILE_KEYS
from qanat.connector.log import LEVELS, Threshold
from qanat.connector.role.probe import RoleProbe, read_role_probe
from qanat.connector.single_origin import single_origin
from qanat.connector.sources import Sources, shown_settings
from qanat.connector.token import Credentials
from qanat.errors import QanatError
from qanat.ingress.rules import Configuration, parse_configuration

ROLE_FEATURE = "qanat_role"
"""Announced by a connector with a role probe: the edge may ask for its answer (protocol.md)."""


class Management(Struct, frozen=True):
    """The management service (connector.md 5): the Host that its requests come with, whether it tells metrics and profiles, and
    who is asked for this host's own address where the edge isn't."""

    hostname: str
    diagnostics: bool
    service_op_ip: str


class Options(Struct, frozen=True):
    """A connector's settings, all sound. `local` is the configuration of the file or of --url, None without any. Flow control is
    in bytes, None: as the line needs it. A `write_stream_timeout_s` of 0 is none."""

    credentials: Credentials
    edges: Edges
    edge_ca_pem: bytes | None
    edge_more_ca_pem: bytes | None
    edge_ip_version: IpVersion
    edge_bind_address: str | None
    post_quantum: bool
    protocol: Protocol
    ha_connections: int
    congestion: Congestion
    retries: int
    max_edge_addr_retries: int
    rpc_timeout_s: float
    dial_timeout_s: float
    write_stream_timeout_s: float
    pmtu_discovery: bool
    connection_flow_control: int | None
    stream_flow_control: int | None
    prechecks: bool
    stdin_control: bool
    grace_period_s: float
    metrics: str | None
    pidfile: str | None
    label: str
    tags: tuple[tuple[str, str], ...]
    features: tuple[str, ...]
    management: Management
    role_probe: RoleProbe | None
    allow_origins: tuple[str, ...]
    max_active_flows: int | None
    local: Configuration | None
    local_source: str
    settings: dict[str, str]
    warnings: tuple[str, ...]


class LogOptions(Struct, frozen=True):
    """How to log: read first, so that what is wrong with the rest can be logged. `folder` is None where a file is named."""

    level: Threshold
    transport_level: Threshold
    json: bool
    file: str | None
    folder: str | None
    warnings: tuple[str, ...]


def log_options(sources: Sources) -> LogOptions:
    """A level or a format that nobody knows is a warning, and the usual one is taken, as stock does: a tunnel that is down is
    worse than a log with more lines."""
    warnings: list[str] = []
    level, transport_level = (_level(sources, name, warnings) for name in ("loglevel", "transport-loglevel"))
    output = sources.get("output", "default")
    if output not in ("default", "json"):
        warnings.append(
            f"{sources.place('output')}: '{output[:40]}' is not a valid log format, so default is used (or write json)"
        )
    file, folder = sources.file("logfile"), sources.file("log-directory")
    if file and folder:
        warnings.append(f"{sources.place('logfile')} is used; {sources.place('log-directory')} is ignored")
        folder = None
    return LogOptions(level, transport_level, output == "json", file, folder, tuple(warnings))


def _level(sources: Sources, name: str, warnings: list[str]) -> Threshold:
    level = sources.get(name, "info") or "info"
    if level in LEVELS:
        return level
    place = sources.place(name)
    warnings.append(f"{place}: '{level[:40]}' is not a valid log level, so info is used ({_near_level(level)})")
    return "info"


def _near_level(level: str) -> str:
    from difflib import get_close_matches  # only here: most starts never need it

    close = get_close_matches(level.lower(), LEVELS, n=1)
    return f"did you mean {close[0]}?" if close else f"one of {', '.join(LEVELS)}"


def read_options(sources: Sources) -> Options:
    """Checks everything; reads the files that are named.

    Raises:
        QanatError: the first thing wrong, `where` the flag, the variable, or the file and its key.
    """
    warnings = _warn_of_idle(sources)
    credentials = read_credentials(sources, warnings)
    protocol = edge_options.protocol(sources, warnings)
    edge_ca = edge_options.edge_ca(sources) or credentials.ca_pem
    edges = find_edges(sources, credentials, has_ca=edge_ca is not None, protocol=protocol, warnings=warnings)
    local, local_source = local_configuration(sources, warnings)
    role_probe = read_role_probe(sources)
    bind_address, ip_version = edge_options.dial_from(sources, warnings)
    return Options(
        credentials=credentials,
        edges=edges,
        edge_ca_pem=edge_ca,
        edge_more_ca_pem=edge_options.hosted_roots() if edge_ca is None else None,
        edge_ip_version=ip_version,
        edge_bind_address=bind_address,
        post_quantum=sources.get("post-quantum", False),
        protocol=protocol,
        ha_connections=edge_options.ha_connections(sources, warnings),
        congestion=edge_options.congestion(sources),
        retries=edge_options.retries(sources),
        max_edge_addr_retries=max(0, sources.get("max-edge-addr-retries", 8)),
        rpc_timeout_s=edge_options.above_zero(sources, "rpc-timeout", 5.0, warnings),
        dial_timeout_s=edge_options.above_zero(sources, "dial-edge-timeout", 15.0, warnings),
        write_stream_timeout_s=sources.get("write-stream-timeout", 0.0),
        pmtu_discovery=not sources.get("quic-disable-pmtu-discovery", False),
        connection_flow_control=edge_options.flow_control(sources, "quic-connection-level-flow-control-limit"),
        stream_flow_control=edge_options.flow_control(sources, "quic-stream-level-flow-control-limit"),
        prechecks=not sources.get("no-prechecks", False),
        stdin_control=sources.get("stdin-control", False),
        grace_period_s=sources.get("grace-period", 30.0),
        metrics=sources.get("metrics", "") or None,
        pidfile=sources.file("pidfile"),
        label=sources.get("label", ""),
        tags=_tags(sources),
        features=(*sources.get("features", ()), *((ROLE_FEATURE,) if role_probe is not None else ())),
        management=Management(
            hostname=sources.get("management-hostname", "") or "management.argotunnel.com",
            diagnostics=sources.get("management-diagnostics", True),
            service_op_ip=sources.get("service-op-ip", "") or "198.41.200.113:80",
        ),
        role_probe=role_probe,
        allow_origins=_allow_origins(sources),
        max_active_flows=_flows(sources),
        local=local,
        local_source=local_source,
        settings=shown_settings(sources),
        warnings=tuple(warnings),
    )


def _warn_of_idle(sources: Sources) -> list[str]:
    idle = [sources.place(flag.name) for flag in FLAGS if flag.effect == "warned" and flag.name in sources.values]
    if not idle:
        return []
    return [f"{', '.join(idle)} {'has' if len(idle) == 1 else 'have'} no effect in this version of qanat"]


_TAG = re.compile(r"([a-zA-Z0-9!#$%&'*+\-.^_`|~]+)=([ -~]+)")


def _tags(sources: Sources) -> tuple[tuple[str, str], ...]:
    tags = []
    for text in sources.get("tag", ()):
        match = _TAG.fullmatch(text)
        if match is None:
            raise sources.bad("tag", f"'{text[:80]}' is not KEY=VALUE", hint="write one such as team=payments")
        tags.append((match[1], match[2]))
    return tuple(tags)


def _flows(sources: Sources) -> int | None:
    most = sources.get("max-active-flows", -1)
    if "max-active-flows" in sources.values and most < 0:
        raise sources.bad("max-active-flows", f"'{most}' is below 0", hint="write 0 for no bound")
    return most if most >= 0 else None


def _allow_origins(sources: Sources) -> tuple[str, ...]:
    listed = sources.get("allow-origins", ())
    try:
        OriginBounds(allowed=listed, own=())
    except EngineError as error:
        message = error.message.removeprefix("allowed: ")
        hint = "write 169.254.169.254, 169.254.0.0/16, metadata.example.com or host:port"
        raise sources.bad("allow-origins", message, hint=hint) from error
    return listed


def local_configuration(sources: Sources, warnings: list[str]) -> tuple[Configuration | None, str]:
    """The file's ingress rules, else the single rule of a flag; and where they are from.

    Raises:
        QanatError: `where` the flag, the variable, or the file with line and key.
    """
    if sources.document:
        try:
            configuration = parse_configuration(
                sources.document, form="yaml", also_known=FILE_KEYS, misspelt_keys="told"
            )
        except QanatError as error:
            raise sources.in_file(error) from None
        warnings += [f"{sources.path}: {warning}" for warning in configuration.warnings]
        if configuration.rules:
            return configuration, sources.path or ""
    return single_origin(sources, warnings)
