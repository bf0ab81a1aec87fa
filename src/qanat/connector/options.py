"""What one run of the connector was told, put together and checked before anything touches the network."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from msgspec import Struct

from qanat.connector import flags
from qanat.connector.engine import EngineError, OriginBounds
from qanat.connector.flags import CommandLine, Value
from qanat.connector.log import LEVELS, Level
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
from qanat.ingress.documents import read_yaml
from qanat.ingress.durations import show_duration
from qanat.ingress.rules import Configuration, parse_configuration

Protocol = Literal["auto", "quic", "http2"]

SEARCH_PATHS = (
    "~/.cloudflared",
    "~/.cloudflare-warp",
    "~/cloudflare-warp",
    "/etc/cloudflared",
    "/usr/local/etc/cloudflared",
)
"""Where stock cloudflared looks for `config.yml` and `config.yaml` when --config isn't given."""

LARGEST_FILE = 1 << 20
SECRET = "*****"

V = TypeVar("V", str, int, bool, float, tuple[str, ...])


class Options(Struct, frozen=True):
    """A connector's settings, all sound. `local` is the configuration of the file or of --url, None without any."""

    credentials: Credentials
    edges: tuple[str, ...]
    edge_ca_pem: bytes | None
    protocol: Protocol
    ha_connections: int
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
    """How to log: read first, so that what is wrong with the rest can be logged."""

    level: Level
    json: bool
    file: str | None


class Sources(Struct, frozen=True):
    """The flags of all three sources, laid over one another, and the configuration file."""

    values: dict[str, Value]
    document: dict[str, Any]
    path: str | None
    tunnel: str | None
    environment: dict[str, str]

    def get(self, name: str, default: V) -> V:
        return cast(V, self.values.get(name, default))


def gather(command_line: CommandLine, environment: Mapping[str, str]) -> Sources:
    """Reads the three sources.

    Raises:
        QanatError: `usage` or `configuration_file_invalid`.
    """
    words = command_line.words[2:]
    if len(words) > 1:
        raise QanatError(
            "usage", f"one tunnel at most, not {len(words)} words", where="tunnel run", hint="quote nothing away"
        )
    path = str(command_line.values.get("config", "")) or None
    path, document = _read_file(path, environment)
    values = flags.read_file_values(document, where=path) if path else {}
    values |= flags.read_environment(environment)
    values |= command_line.values
    variables = {name: text for name, text in sorted(environment.items()) if "TUNNEL_" in name}
    return Sources(values, document, path, words[0] if words else None, variables)


def log_options(sources: Sources) -> LogOptions:
    """Raises QanatError `usage`."""
    level = sources.get("loglevel", "info")
    if level not in LEVELS:
        raise QanatError("usage", f"'{level[:40]}' is no level", where="--loglevel", hint=f"one of {', '.join(LEVELS)}")
    output = sources.get("output", "default")
    if output not in ("default", "json"):
        raise QanatError("usage", f"'{output[:40]}' is no log format", where="--output", hint="default or json")
    return LogOptions(level, output == "json", sources.get("logfile", "") or None)


def read_options(sources: Sources) -> Options:
    """Checks everything; reads the files that are named.

    Raises:
        QanatError: the first thing wrong, `where` the flag, variable or file.
    """
    warnings = _refuse_and_warn(sources)
    credentials = _credentials(sources, warnings)
    protocol = sources.get("protocol", "auto")
    if protocol == "h2mux":
        warnings.append("h2mux is no longer a supported protocol: upgrading edge connection to http2")
        protocol = "http2"
    if protocol not in ("auto", "quic", "http2"):
        raise QanatError("usage", f"'{protocol[:40]}' is no protocol", where="--protocol", hint="auto, quic or http2")
    local, local_source = _local_configuration(sources, warnings)
    ha_connections = sources.get("ha-connections", 4)
    if not 1 <= ha_connections <= 255:
        raise QanatError("usage", f"{ha_connections} is out of range", where="--ha-connections", hint="from 1 to 255")
    return Options(
        credentials=credentials,
        edges=_edges(sources),
        edge_ca_pem=_edge_ca(sources.get("cacert", "")),
        protocol=cast(Protocol, protocol),
        ha_connections=ha_connections,
        retries=sources.get("retries", 5),
        rpc_timeout_s=_positive(sources, "rpc-timeout", 5.0),
        dial_timeout_s=_positive(sources, "dial-edge-timeout", 15.0),
        grace_period_s=sources.get("grace-period", 30.0),
        metrics=sources.get("metrics", "") or None,
        pidfile=sources.get("pidfile", "") or None,
        allow_origins=_allow_origins(sources),
        local=local,
        local_source=local_source,
        settings=shown_settings(sources),
        warnings=tuple(warnings),
    )


def shown_settings(sources: Sources) -> dict[str, str]:
    """Every flag that is set, as the `Settings:` line shows it: secrets as `*****`."""
    return {flag.name: _shown(flag, sources.values[flag.name]) for flag in flags.FLAGS if flag.name in sources.values}


def shown_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The TUNNEL_ variables with secrets hidden: those of secret flags, and whatever is named like one."""
    secret = {variable for flag in flags.FLAGS if flag.secret for variable in flag.env}
    return {
        name: SECRET if name in secret or any(word in name for word in ("TOKEN", "SECRET", "CRED", "KEY")) else value
        for name, value in environment.items()
    }


def _shown(flag: flags.Flag, value: Value) -> str:
    if flag.secret:
        return SECRET
    if isinstance(value, tuple):
        return f"[{' '.join(value)}]"
    if flag.kind == "duration":
        return show_duration(float(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_file(path: str | None, environment: Mapping[str, str]) -> tuple[str | None, dict[str, Any]]:
    if path is None:
        home = environment.get("HOME", "/nonexistent")
        places = [f"{folder.replace('~', home, 1)}/config{end}" for folder in SEARCH_PATHS for end in (".yml", ".yaml")]
        path = next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113 - pathlib costs more
        if path is None:
            return None, {}
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise _bad_file(path, error.strerror or "it can't be read") from None
    if len(content) > LARGEST_FILE:
        raise _bad_file(path, "the file is larger than 1 MiB")
    try:
        document = read_yaml(content)
    except QanatError as error:
        raise _bad_file(path, error.message.replace("the document is no YAML", "this is no YAML")) from None
    if not isinstance(document, dict):
        raise _bad_file(path, "the file holds no keys")
    return path, {str(key): value for key, value in document.items()}


def _bad_file(path: str, message: str) -> QanatError:
    return QanatError("configuration_file_invalid", message, where=path)


def _refuse_and_warn(sources: Sources) -> list[str]:
    warnings = []
    for flag in flags.FLAGS:
        value = sources.values.get(flag.name)
        if value is None or flag.effect in ("works", "harmless"):
            continue
        if flag.effect == "warned":
            warnings.append(f"--{flag.name} has no effect in this version of qanat")
        elif value != flags.NO_EFFECT_VALUES.get(flag.name):
            hint = "name the edges by --edge host:port" if flag.name == "region" else "leave it out"
            raise QanatError(
                "flag_unsupported", "this version can't honour the flag yet", where=f"--{flag.name}", hint=hint
            )
    return warnings


def _credentials(sources: Sources, warnings: list[str]) -> Credentials:
    """As stock: a token, else a token file, else credentials as text, else a credentials file."""
    given = [
        name for name in ("token", "token-file", "credentials-contents", "credentials-file") if sources.values.get(name)
    ]
    if not given:
        raise QanatError(
            "token_missing",
            "no token was given",
            where="tunnel run",
            hint="give --token-file FILE, or the variable TUNNEL_TOKEN",
        )
    source, rest = given[0], given[1:]
    if rest:
        ignored = ", ".join(f"--{name}" for name in rest)
        warnings.append(f"--{source} is used; {ignored} {'is' if len(rest) == 1 else 'are'} ignored")
    value = sources.get(source, "")
    where = _where(sources, source)
    if source == "token":
        credentials = parse_token(value, where=where)
    elif source == "token-file":
        credentials = read_token_file(value, where=where)
        if world_readable(value):
            warnings.append(f"every user of this host can read the token in {value}: set its mode to 0600")
    elif source == "credentials-contents":
        credentials = parse_credentials(value, where=where)
    else:
        credentials = read_credentials_file(value, where=where)
    tunnel = sources.tunnel or (str(sources.document["tunnel"]) if sources.document.get("tunnel") else None)
    if tunnel and not source.startswith("token"):
        _check_tunnel(tunnel, credentials, where)
    return credentials


def _check_tunnel(tunnel: str, credentials: Credentials, where: str) -> None:
    try:
        wanted = parse_tunnel_id(tunnel)
    except QanatError:
        return  # a name: only the API could tell, and the credentials decide
    if wanted != credentials.tunnel_id:
        message = f"these are of tunnel {credentials.tunnel_id}, not of {wanted}"
        raise QanatError("credentials_file_invalid", message, where=where)


def _where(sources: Sources, name: str) -> str:
    """The flag, or the variable that set it: the message must name what its reader can mend."""
    flag = next(flag for flag in flags.FLAGS if flag.name == name)
    value = sources.values[name]
    return next((f"${variable}" for variable in flag.env if sources.environment.get(variable) == value), f"--{name}")


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
            raise QanatError(
                "usage", f"'{edge[:80]}' is not host:port", where="--edge", hint="write edge.example.com:7844"
            )
    return edges


def _edge_ca(path: str) -> bytes | None:
    if not path:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise QanatError("ca_file_invalid", error.strerror or "unreadable", where=f"--cacert {path}") from None
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise QanatError("ca_file_invalid", "the file holds no PEM certificate", where=f"--cacert {path}")
    return content


def _allow_origins(sources: Sources) -> tuple[str, ...]:
    listed = sources.get("allow-origins", ())
    try:
        OriginBounds(allowed=listed, own=())
    except EngineError as error:
        message = error.message.removeprefix("allowed: ")
        hint = "write 169.254.169.254, 169.254.0.0/16, metadata.example.com or host:port"
        raise QanatError("usage", message, where="--allow-origins", hint=hint) from error
    return listed


def _positive(sources: Sources, name: str, default: float) -> float:
    value = sources.get(name, default)
    if value <= 0:
        raise QanatError("usage", "the duration must be above 0", where=f"--{name}")
    return value


_ORIGIN_FLAGS = {
    "proxy-connect-timeout": "connectTimeout",
    "proxy-tls-timeout": "tlsTimeout",
    "proxy-tcp-keepalive": "tcpKeepAlive",
    "proxy-no-happy-eyeballs": "noHappyEyeballs",
    "proxy-keepalive-connections": "keepAliveConnections",
    "proxy-keepalive-timeout": "keepAliveTimeout",
    "http-host-header": "httpHostHeader",
    "origin-server-name": "originServerName",
    "origin-ca-pool": "caPool",
    "no-tls-verify": "noTLSVerify",
    "no-chunked-encoding": "disableChunkedEncoding",
    "http2-origin": "http2Origin",
}


def _local_configuration(sources: Sources, warnings: list[str]) -> tuple[Configuration | None, str]:
    """The file's ingress rules, else the single rule of --hello-world, --url or --unix-socket, as stock orders them."""
    if sources.document:
        configuration = parse_configuration(sources.document, form="yaml", also_known=flags.FILE_KEYS)
        warnings += [f"{sources.path}: {warning}" for warning in configuration.warnings]
        if configuration.rules:
            return configuration, sources.path or ""
    url, socket = sources.get("url", ""), sources.get("unix-socket", "")
    if url and socket:
        raise QanatError("usage", "--url and --unix-socket exclude each other", where="--unix-socket")
    if sources.get("hello-world", False):
        source, service = "--hello-world", "hello_world"
    elif url:
        source, service = "--url", url
    elif socket:
        source, service = "--unix-socket", f"unix:{socket}"
    else:
        return None, ""
    origin: dict[str, object] = {}
    for flag, key in _ORIGIN_FLAGS.items():
        value = sources.values.get(flag)
        if value is not None:
            origin[key] = show_duration(value) if isinstance(value, float) else value
    rule = {"service": service, "originRequest": origin}
    try:
        configuration = parse_configuration({"ingress": [rule]}, form="yaml")
    except QanatError as error:
        raise QanatError(error.code, error.message, where=source, hint=error.hint) from None
    warnings += [f"{source}: {warning.message}" for warning in configuration.warnings]
    return configuration, source
