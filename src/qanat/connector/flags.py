"""The flags of `tunnel run`: one table for command line, environment and `config.yml` (file < environment < command
line), and a reader that takes what stock cloudflared's takes."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from qanat.errors import QanatError
from qanat.ingress.durations import parse_duration

Kind = Literal["text", "path", "texts", "count", "bool", "duration"]
"""`path`: a text in which a leading `~` stands for the user's home."""
Effect = Literal["works", "harmless", "warned", "refused"]
"""`harmless`: accepted in silence, since its absence changes nothing for anybody. `warned`: accepted, and a warning
says that it has no effect. `refused`: going on without it would not be what was asked for."""

Value = str | tuple[str, ...] | int | bool | float


class Flag(Struct, frozen=True):
    """One flag: `name` is also its key in `config.yml`, unless `command_line_only`."""

    name: str
    kind: Kind
    help: str
    env: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    effect: Effect = "works"
    secret: bool = False
    command_line_only: bool = False


def _flag(
    name: str,
    kind: Kind,
    help: str = "",
    env: str = "",
    *,
    aliases: str = "",
    effect: Effect = "works",
    secret: bool = False,
    command_line_only: bool = False,
) -> Flag:
    return Flag(name, kind, help, tuple(env.split()), tuple(aliases.split()), effect, secret, command_line_only)


FLAGS: tuple[Flag, ...] = (
    # identity
    _flag("token", "text", "the tunnel's token", "TUNNEL_TOKEN", secret=True),
    _flag("token-file", "path", "file that holds the token (--token wins)", "TUNNEL_TOKEN_FILE"),
    _flag(
        "credentials-file",
        "path",
        "credentials of a locally managed tunnel; else its ID.json where stock looks for it",
        "TUNNEL_CRED_FILE",
        aliases="cred-file",
    ),
    _flag("credentials-contents", "text", "the same as text (wins over the file)", "TUNNEL_CRED_CONTENTS", secret=True),
    # edge
    _flag("edge", "texts", "host:port of an edge; may be repeated or a list with commas", "TUNNEL_EDGE"),
    _flag("cacert", "path", "PEM file: the only CAs that the edge is trusted by", "TUNNEL_CACERT"),
    _flag("protocol", "text", "auto, quic or http2", "TUNNEL_TRANSPORT_PROTOCOL", aliases="p"),
    _flag("ha-connections", "count", "connections kept up, over all edges"),
    _flag("retries", "count", "failed QUIC dials in a row before auto takes http2", "TUNNEL_RETRIES"),
    _flag("rpc-timeout", "duration", "for one call over a connection"),
    _flag("dial-edge-timeout", "duration", "for one dial", "DIAL_EDGE_TIMEOUT"),
    _flag(
        "edge-ip-version",
        "text",
        "auto, 4 or 6: which addresses of an edge's name are dialled",
        "TUNNEL_EDGE_IP_VERSION",
    ),
    _flag("edge-bind-address", "text", "the address of this host to dial from", "TUNNEL_EDGE_BIND_ADDRESS"),
    _flag(
        "post-quantum",
        "bool",
        "no key exchange with the edge but X25519MLKEM768 (preferred anyway)",
        "TUNNEL_POST_QUANTUM",
        aliases="pq",
    ),
    # life cycle
    _flag("grace-period", "duration", "how long open requests may go on after SIGTERM", "TUNNEL_GRACE_PERIOD"),
    _flag("config", "path", "a config.yml", command_line_only=True),
    _flag("pidfile", "path", "written after the first connection", "TUNNEL_PIDFILE"),
    # observe
    _flag("metrics", "text", "host:port for /ready, /metrics and the like", "TUNNEL_METRICS"),
    _flag("loglevel", "text", "debug, info, warn, error or fatal; debug logs every request", "TUNNEL_LOGLEVEL"),
    _flag("logfile", "path", "a file that gets every log line as JSON, too", "TUNNEL_LOGFILE"),
    _flag(
        "log-directory",
        "path",
        "a folder for cloudflared.log, begun anew at 1 MiB, the last five kept (--logfile wins)",
        "TUNNEL_LOGDIRECTORY",
    ),
    _flag(
        "output",
        "text",
        "log format: default or json",
        "TUNNEL_LOG_OUTPUT TUNNEL_MANAGEMENT_OUTPUT",
        command_line_only=True,
    ),
    # the line to the edge
    _flag("congestion", "text", "what a QUIC connection sends by: tolerant, cubic or bbr", "TUNNEL_CONGESTION"),
    # origins
    _flag(
        "allow-origins",
        "texts",
        "link-local and metadata addresses, networks or names (host, host:port or network) that pushed rules may reach",
        "TUNNEL_ALLOW_ORIGINS",
    ),
    # origin, single rule
    _flag("url", "text", "the origin, when no ingress rules are set: a URL, or host:port", "TUNNEL_URL"),
    _flag("unix-socket", "path", "the origin's socket, in place of --url", "TUNNEL_UNIX_SOCKET"),
    _flag("hello-world", "bool", "a built-in page as origin", "TUNNEL_HELLO_WORLD"),
    _flag("proxy-connect-timeout", "duration", "as originRequest.connectTimeout"),
    _flag("proxy-tls-timeout", "duration", "as originRequest.tlsTimeout"),
    _flag("proxy-tcp-keepalive", "duration", "as originRequest.tcpKeepAlive"),
    _flag("proxy-no-happy-eyeballs", "bool", "as originRequest.noHappyEyeballs"),
    _flag("proxy-keepalive-connections", "count", "as originRequest.keepAliveConnections"),
    _flag("proxy-keepalive-timeout", "duration", "as originRequest.keepAliveTimeout"),
    _flag("http-host-header", "text", "as originRequest.httpHostHeader", "TUNNEL_HTTP_HOST_HEADER"),
    _flag("origin-server-name", "text", "as originRequest.originServerName", "TUNNEL_ORIGIN_SERVER_NAME"),
    _flag("origin-ca-pool", "path", "as originRequest.caPool", "TUNNEL_ORIGIN_CA_POOL"),
    _flag("no-tls-verify", "bool", "as originRequest.noTLSVerify", "NO_TLS_VERIFY"),
    _flag("no-chunked-encoding", "bool", "as originRequest.disableChunkedEncoding", "TUNNEL_NO_CHUNKED_ENCODING"),
    _flag("http2-origin", "bool", "as originRequest.http2Origin", "TUNNEL_ORIGIN_ENABLE_HTTP2"),
    # accepted: nothing is lost by not having them
    _flag("no-autoupdate", "bool", "qanat never updates itself", "NO_AUTOUPDATE", effect="harmless"),
    _flag("autoupdate-freq", "duration", effect="harmless"),
    _flag("is-autoupdated", "bool", effect="harmless"),
    _flag("no-prechecks", "bool", "there are none", "TUNNEL_NO_PRECHECKS", effect="harmless"),
    _flag("ui", "bool", effect="harmless"),
    _flag("metrics-update-freq", "duration", env="TUNNEL_METRICS_UPDATE_FREQ", effect="harmless"),
    _flag("heartbeat-interval", "duration", effect="harmless"),
    _flag("heartbeat-count", "count", effect="harmless"),
    _flag("use-reconnect-token", "bool", env="TUNNEL_USE_RECONNECT_TOKEN", effect="harmless"),
    _flag("max-fetch-size", "count", env="TUNNEL_MAX_FETCH_SIZE", effect="harmless"),
    _flag("api-url", "text", env="TUNNEL_API_URL", effect="harmless"),
    _flag("origincert", "path", "its folder is where a credentials file is looked for first", "TUNNEL_ORIGIN_CERT"),
    _flag("quick-service", "text", effect="harmless"),
    _flag("api-key", "text", env="TUNNEL_API_KEY", effect="harmless", secret=True),
    _flag("api-email", "text", env="TUNNEL_API_EMAIL", effect="harmless"),
    _flag("api-ca-key", "text", env="TUNNEL_API_CA_KEY", effect="harmless", secret=True),
    _flag("proxy-connection-timeout", "duration", effect="harmless"),
    _flag("proxy-expect-continue-timeout", "duration", effect="harmless"),
    _flag("management-hostname", "text", env="TUNNEL_MANAGEMENT_HOSTNAME", effect="harmless"),
    _flag("management-diagnostics", "bool", env="TUNNEL_MANAGEMENT_DIAGNOSTICS", effect="harmless"),
    _flag("service-op-ip", "text", env="TUNNEL_SERVICE_OP_IP", effect="harmless"),
    _flag("proxy-address", "text", "for bastion and SOCKS only", "TUNNEL_PROXY_ADDRESS", effect="harmless"),
    _flag("proxy-port", "count", "for bastion and SOCKS only", "TUNNEL_PROXY_PORT", effect="harmless"),
    # accepted with a warning
    _flag("id", "text", env="TUNNEL_ID", effect="warned"),
    _flag("label", "text", effect="warned"),
    _flag("tag", "texts", env="TUNNEL_TAG", effect="warned"),
    _flag("features", "texts", aliases="F", effect="warned"),
    _flag("max-edge-addr-retries", "count", effect="warned"),
    _flag("write-stream-timeout", "duration", env="TUNNEL_STREAM_WRITE_TIMEOUT", effect="warned"),
    _flag("quic-disable-pmtu-discovery", "bool", env="TUNNEL_DISABLE_QUIC_PMTU", effect="warned"),
    _flag(
        "quic-connection-level-flow-control-limit",
        "count",
        env="TUNNEL_QUIC_CONN_LEVEL_FLOW_CONTROL_LIMIT",
        effect="warned",
    ),
    _flag(
        "quic-stream-level-flow-control-limit",
        "count",
        env="TUNNEL_QUIC_STREAM_LEVEL_FLOW_CONTROL_LIMIT",
        effect="warned",
    ),
    _flag("compression-quality", "count", env="TUNNEL_COMPRESSION_LEVEL", effect="warned"),
    _flag(
        "transport-loglevel",
        "text",
        env="TUNNEL_TRANSPORT_LOGLEVEL TUNNEL_PROTO_LOGLEVEL",
        aliases="proto-loglevel",
        effect="warned",
    ),
    _flag("trace-output", "text", env="TUNNEL_TRACE_OUTPUT", effect="warned"),
    _flag("hostname", "text", env="TUNNEL_HOSTNAME", effect="warned"),
    _flag("lb-pool", "text", env="TUNNEL_LB_POOL", effect="warned"),
    _flag(
        "overwrite-dns",
        "bool",
        env="TUNNEL_FORCE_PROVISIONING_DNS",
        aliases="f",
        effect="warned",
        command_line_only=True,
    ),
    _flag("icmpv4-src", "text", env="TUNNEL_ICMPV4_SRC", effect="warned", command_line_only=True),
    _flag("icmpv6-src", "text", env="TUNNEL_ICMPV6_SRC", effect="warned", command_line_only=True),
    _flag("max-active-flows", "count", env="TUNNEL_MAX_ACTIVE_FLOWS", effect="warned", command_line_only=True),
    _flag("dns-resolver-addrs", "texts", env="TUNNEL_DNS_RESOLVER_ADDRS", effect="warned", command_line_only=True),
    _flag("region", "text", "--edge names the edges", "TUNNEL_REGION", effect="warned"),
    _flag("name", "text", "for `tunnel` without `run`", "TUNNEL_NAME", aliases="n", effect="warned"),
    _flag("stdin-control", "bool", env="STDIN_CONTROL", effect="warned"),
    _flag("socks5", "bool", "for TCP origins only", "TUNNEL_SOCKS", effect="warned"),
    # dead in stock, too: its DNS proxy and its SSH server are gone, and scripts still say these. Without variables: names like
    # SECRET_ID or S3_URL are other programs' as well.
    _flag("proxy-dns", "bool", effect="warned"),
    _flag("proxy-dns-port", "count", effect="warned"),
    _flag("proxy-dns-address", "text", effect="warned"),
    _flag("proxy-dns-upstream", "texts", effect="warned"),
    _flag("proxy-dns-max-upstream-conns", "count", effect="warned"),
    _flag("proxy-dns-bootstrap", "texts", effect="warned"),
    _flag("local-ssh-port", "text", effect="warned"),
    _flag("ssh-idle-timeout", "duration", effect="warned"),
    _flag("ssh-max-timeout", "duration", effect="warned"),
    _flag("bucket-name", "text", effect="warned"),
    _flag("region-name", "text", effect="warned"),
    _flag("secret-id", "text", effect="warned", secret=True),
    _flag("access-key-id", "text", effect="warned", secret=True),
    _flag("session-token", "text", effect="warned", secret=True),
    _flag("s3-url-host", "text", effect="warned"),
    _flag("host-key-path", "path", effect="warned"),
    _flag("ssh-server", "bool", effect="warned"),
    # refused
    _flag("bastion", "bool", env="TUNNEL_BASTION", effect="refused"),
)

NO_EFFECT_VALUES: Mapping[str, Value] = {"bastion": False}
"""What a refused flag may say all the same: the stock default."""

_BY_NAME: dict[str, Flag] = {name: flag for flag in FLAGS for name in (flag.name, *flag.aliases)}


class CommandLine(Struct, frozen=True):
    """What was typed: the words that are no flags, and the flags. `help` when -h or --help is among them."""

    words: tuple[str, ...]
    values: dict[str, Value]
    help: bool


def is_run_command(arguments: Sequence[str]) -> bool:
    """Whether `arguments` are `[flags] tunnel [flags] run …`: the one command that must not load the rest of qanat."""
    return read_command_line(arguments, tolerant=True).words[:2] == ("tunnel", "run")


def read_command_line(arguments: Sequence[str], *, tolerant: bool = False) -> CommandLine:
    """Splits words and flags: `--name value`, `--name=value`, one dash or two, flags anywhere, `--` ends them.

    `tolerant` passes over bad and missing values and unknown flags, and over the word between such a one and `run`: its value.

    Raises:
        QanatError: `usage`, naming the flag and, for a slip of the pen, the one that was meant; `flag_value_invalid`.
    """
    words: list[str] = []
    values: dict[str, Value] = {}
    wants_help = False
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        name, equals, text = word.lstrip("-").partition("=")
        if name in ("h", "help"):
            wants_help = True
            continue
        flag = _BY_NAME.get(name)
        if flag is None:
            if tolerant:
                if not equals and words == ["tunnel"] and rest[1:2] == ["run"]:
                    rest.pop(0)
                continue
            raise _unknown(name)
        if not equals:
            if flag.kind == "bool":
                text = "true"
            elif rest:
                text = rest.pop(0)
            elif not tolerant:
                raise QanatError("usage", "the flag needs a value", where=f"--{name}", hint=f"write --{name} VALUE")
        if not tolerant:
            _add(values, flag, read_value(flag, text, where=f"--{name}"))
    return CommandLine(tuple(words), values, wants_help)


def read_environment(environment: Mapping[str, str]) -> tuple[dict[str, Value], dict[str, str]]:
    """The flags that variables set, and which variable set each. An empty variable sets nothing.

    Raises:
        QanatError: `flag_value_invalid`, naming the variable.
    """
    values: dict[str, Value] = {}
    places: dict[str, str] = {}
    for flag in FLAGS:
        for variable in flag.env:
            text = environment.get(variable, "")
            if text:
                places[flag.name] = f"${variable}"
                values[flag.name] = read_value(flag, text, where=f"${variable}")
                break
    return values, places


def read_file_values(document: Mapping[str, object], *, where: str) -> tuple[dict[str, Value], dict[str, str]]:
    """The flags that a `config.yml` sets at its top level, and the place of each: file and key.

    Raises:
        QanatError: `configuration_file_invalid`, naming the key.
    """
    values: dict[str, Value] = {}
    places: dict[str, str] = {}
    for key, value in document.items():
        flag = _BY_NAME.get(key)
        if flag is None or flag.command_line_only or value is None:
            continue
        place = f"{where}: {key}"
        places[flag.name] = place
        texts = value if flag.kind == "texts" and isinstance(value, list) else [value]
        if not texts or any(isinstance(text, (dict, list)) for text in texts):
            hint = "write one value, or a list" if flag.kind == "texts" else "write one value"
            raise QanatError("configuration_file_invalid", "the value has the wrong form", where=place, hint=hint)
        for text in texts:
            shown = str(text).lower() if isinstance(text, bool) else str(text)
            _add(values, flag, read_value(flag, shown, where=place, code="configuration_file_invalid"))
    return values, places


FILE_KEYS: frozenset[str] = frozenset(name for name, flag in _BY_NAME.items() if not flag.command_line_only) | {
    "tunnel"
}
"""Top-level keys of a `config.yml` besides the configuration document's own."""


def read_value(flag: Flag, text: str, *, where: str, code: str = "flag_value_invalid") -> Value:
    """The value of a flag from its text, wherever it comes from.

    Raises:
        QanatError: `code`, at `where`.
    """
    if flag.kind in ("text", "path"):
        return text
    if flag.kind == "texts":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if flag.kind == "duration":
        return parse_duration(text, where=where, code=code)
    if flag.kind == "bool":
        word = text.lower()
        if word in ("1", "t", "true"):
            return True
        if word in ("0", "f", "false"):
            return False
        raise QanatError(code, f"'{text[:40]}' is not a valid boolean", where=where, hint="write true or false")
    digits = text[1:] if text.startswith(("-", "+")) else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise QanatError(code, f"'{text[:40]}' is not a valid whole number", where=where, hint="write one such as 4")
    return int(text)


def _add(values: dict[str, Value], flag: Flag, value: Value) -> None:
    earlier = values.get(flag.name)
    values[flag.name] = earlier + value if isinstance(earlier, tuple) and isinstance(value, tuple) else value


def _unknown(name: str) -> QanatError:
    from difflib import get_close_matches  # only here: most starts never need it

    close = get_close_matches(name, _BY_NAME, n=1, cutoff=0.7)
    hint = f"did you mean --{close[0]}?" if close else "`qanat tunnel run --help` lists them"
    return QanatError("usage", "there is no such flag", where=f"--{name[:40]}", hint=hint)


def flag_form(name: str) -> str:
    """As one types it: `-p`, `--protocol`."""
    return f"-{name}" if len(name) == 1 else f"--{name}"


def help_text() -> str:
    """The text of `qanat tunnel run --help`."""
    lines = [
        "Usage: qanat tunnel [flags] run [flags] [TUNNEL]",
        "",
        "Connects this host's services to an edge. Flags, variables and config.yml keys are those of cloudflared;",
        "the command line wins over variables, and these over the file.",
        "",
    ]
    for flag in FLAGS:
        if flag.effect != "works":
            continue
        name = ", ".join(flag_form(name) for name in (flag.name, *flag.aliases))
        variables = f"  [{', '.join(f'${variable}' for variable in flag.env)}]" if flag.env else ""
        lines.append(f"  {name:<32}{flag.help}{variables}")
    quiet = ", ".join(flag.name for flag in FLAGS if flag.effect == "warned")
    refused = ", ".join(flag.name for flag in FLAGS if flag.effect == "refused")
    lines += ["", f"Accepted without effect, with a warning: {quiet}.", "", f"Refused for now: {refused}."]
    return "\n".join(lines)
