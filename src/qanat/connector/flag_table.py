"""The flags of `tunnel run`, one table: names, variables, kinds and defaults are stock cloudflared's (connector.md 1)."""

from typing import Literal

from msgspec import Struct

Kind = Literal["text", "path", "texts", "tags", "count", "bool", "duration"]
"""`path`: a text in which a leading `~` stands for the user's home. `tags`: texts in which a comma divides nothing, but in a
variable."""
Effect = Literal["works", "harmless", "warned"]
"""`harmless`: accepted in silence, since its absence changes nothing for anybody. `warned`: accepted, and a warning
says that it has no effect."""

Value = str | tuple[str, ...] | int | bool | float


class Flag(Struct, frozen=True):
    """One flag: `name` is also its key in `config.yml`, unless `command_line_only`. `env`: its variables; the first one that is
    there counts."""

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


_IDENTITY = (
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
    _flag("origincert", "path", "its folder is where a credentials file is looked for first", "TUNNEL_ORIGIN_CERT"),
    _flag("label", "text", "a name for this connector, shown with the host's name"),
    _flag(
        "tag",
        "tags",
        "KEY=VALUE: requests reach the origin with a field Cf-Warp-Tag-KEY; may be repeated",
        "TUNNEL_TAG",
    ),
    _flag("features", "texts", "features to announce to the edge besides the usual ones", aliases="F"),
    _flag("id", "text", "no effect, in cloudflared as well", "TUNNEL_ID", effect="harmless"),
    _flag("name", "text", "for `tunnel` without `run`", "TUNNEL_NAME", aliases="n", effect="harmless"),
    _flag("hostname", "text", "for `tunnel` without `run`", "TUNNEL_HOSTNAME", effect="warned"),
    _flag("lb-pool", "text", "for `tunnel` without `run`", "TUNNEL_LB_POOL", effect="harmless"),
    _flag(
        "overwrite-dns",
        "bool",
        "for `tunnel` without `run`",
        "TUNNEL_FORCE_PROVISIONING_DNS",
        aliases="f",
        effect="harmless",
        command_line_only=True,
    ),
)

_EDGE = (
    _flag(
        "edge",
        "texts",
        "host:port of an edge, or its name alone; may be repeated or a list with commas (else the token's, else Cloudflare's)",
        "TUNNEL_EDGE",
    ),
    _flag("edge-resolver", "text", "the name server that is asked for edges (else the host's)", "TUNNEL_EDGE_RESOLVER"),
    _flag("region", "text", "the region of the hosted edge, or of one found by its name", "TUNNEL_REGION"),
    _flag("cacert", "path", "PEM file: the only CAs that the edge is trusted by", "TUNNEL_CACERT"),
    _flag("protocol", "text", "auto, quic or http2", "TUNNEL_TRANSPORT_PROTOCOL", aliases="p"),
    _flag("ha-connections", "count", "connections kept up, over all edges"),
    _flag("retries", "count", "failures in a row up to which the back-off grows; it never gives up", "TUNNEL_RETRIES"),
    _flag("max-edge-addr-retries", "count", "no effect: each failure goes on to another address", effect="harmless"),
    _flag("rpc-timeout", "duration", "for one call over a connection"),
    _flag("dial-edge-timeout", "duration", "for one dial", "DIAL_EDGE_TIMEOUT"),
    _flag(
        "write-stream-timeout",
        "duration",
        "how long a QUIC stream may wait for the edge to take something; 0s is for ever",
        "TUNNEL_STREAM_WRITE_TIMEOUT",
    ),
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
    _flag(
        "quic-disable-pmtu-discovery",
        "bool",
        "QUIC packets stay at 1200 bytes, as the first ones are",
        "TUNNEL_DISABLE_QUIC_PMTU",
    ),
    _flag(
        "quic-connection-level-flow-control-limit",
        "count",
        "bytes of one QUIC connection that the edge may send ahead",
        "TUNNEL_QUIC_CONN_LEVEL_FLOW_CONTROL_LIMIT",
    ),
    _flag(
        "quic-stream-level-flow-control-limit",
        "count",
        "the same for one stream",
        "TUNNEL_QUIC_STREAM_LEVEL_FLOW_CONTROL_LIMIT",
    ),
    _flag("congestion", "text", "what a QUIC connection sends by: tolerant, cubic or bbr", "TUNNEL_CONGESTION"),
    _flag(
        "role-probe",
        "text",
        "whether this host may be active: exec:COMMAND, file:PATH, http://… or postgres://…",
        "QANAT_ROLE_PROBE",
    ),
    _flag("role-probe-interval", "duration", "how often it is asked (2s)", "QANAT_ROLE_PROBE_INTERVAL"),
    _flag("no-prechecks", "bool", "no look at DNS, UDP and TCP at the start", "TUNNEL_NO_PRECHECKS"),
    _flag("stdin-control", "bool", "takes `reconnect [delay]` from standard input", "STDIN_CONTROL"),
    _flag("heartbeat-interval", "duration", "no effect, in cloudflared as well", effect="harmless"),
    _flag("heartbeat-count", "count", "no effect, in cloudflared as well", effect="harmless"),
    _flag(
        "use-reconnect-token",
        "bool",
        "no effect, in cloudflared as well",
        "TUNNEL_USE_RECONNECT_TOKEN",
        effect="harmless",
    ),
    _flag(
        "compression-quality",
        "count",
        "no effect, in cloudflared as well",
        "TUNNEL_COMPRESSION_LEVEL",
        effect="harmless",
    ),
)

_LIFE = (
    _flag("config", "path", "a config.yml; else the first one where stock looks for it", command_line_only=True),
    _flag("grace-period", "duration", "how long open requests may go on after SIGTERM", "TUNNEL_GRACE_PERIOD"),
    _flag("pidfile", "path", "written after the first connection", "TUNNEL_PIDFILE"),
    _flag("no-autoupdate", "bool", "a connector never updates itself", "NO_AUTOUPDATE", effect="harmless"),
    _flag("autoupdate-freq", "duration", "a connector never updates itself", effect="harmless"),
    _flag("is-autoupdated", "bool", "no effect, in cloudflared as well", effect="harmless"),
    _flag("ui", "bool", "no effect, in cloudflared as well", effect="harmless"),
)

_OBSERVE = (
    _flag("metrics", "text", "host:port for /ready, /metrics and the like", "TUNNEL_METRICS"),
    _flag(
        "metrics-update-freq",
        "duration",
        "metrics are always up to date",
        "TUNNEL_METRICS_UPDATE_FREQ",
        effect="harmless",
    ),
    _flag("loglevel", "text", "debug, info, warn, error or fatal; debug logs every request", "TUNNEL_LOGLEVEL"),
    _flag(
        "transport-loglevel",
        "text",
        "the same for lines about the transport itself",
        "TUNNEL_PROTO_LOGLEVEL TUNNEL_TRANSPORT_LOGLEVEL",
        aliases="proto-loglevel",
    ),
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
        "TUNNEL_MANAGEMENT_OUTPUT TUNNEL_LOG_OUTPUT",
        command_line_only=True,
    ),
    _flag(
        "trace-output", "path", "a trace of the Go runtime: there is none here", "TUNNEL_TRACE_OUTPUT", effect="warned"
    ),
    _flag(
        "management-hostname",
        "text",
        "the Host of requests to the management service",
        "TUNNEL_MANAGEMENT_HOSTNAME",
    ),
    _flag(
        "management-diagnostics",
        "bool",
        "metrics and profiles over the management service; =false takes them away",
        "TUNNEL_MANAGEMENT_DIAGNOSTICS",
    ),
    _flag(
        "service-op-ip",
        "text",
        "host:port that tells this host's own address to the management service",
        "TUNNEL_SERVICE_OP_IP",
    ),
)

_ORIGIN = (
    _flag(
        "allow-origins",
        "texts",
        "link-local and metadata addresses, networks or names (host, host:port or network) that pushed rules may reach",
        "TUNNEL_ALLOW_ORIGINS",
    ),
    _flag("url", "text", "the origin, when no ingress rules are set: a URL, or host:port", "TUNNEL_URL"),
    _flag("unix-socket", "path", "the origin's socket, in place of --url", "TUNNEL_UNIX_SOCKET"),
    _flag("hello-world", "bool", "a built-in page as origin", "TUNNEL_HELLO_WORLD"),
    _flag("bastion", "bool", "a jump host as origin: clients name the address themselves", "TUNNEL_BASTION"),
    _flag("socks5", "bool", "as originRequest.proxyType: socks", "TUNNEL_SOCKS"),
    _flag("proxy-address", "text", "as originRequest.proxyAddress", "TUNNEL_PROXY_ADDRESS"),
    _flag("proxy-port", "count", "as originRequest.proxyPort", "TUNNEL_PROXY_PORT"),
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
    _flag("proxy-connection-timeout", "duration", "no effect, in cloudflared as well", effect="harmless"),
    _flag("proxy-expect-continue-timeout", "duration", "no effect, in cloudflared as well", effect="harmless"),
)

_NO_NETWORK = "of private networks only TCP is carried yet, with `warp-routing` of the configuration"
_PRIVATE_NETWORK = (
    _flag("icmpv4-src", "text", _NO_NETWORK, "TUNNEL_ICMPV4_SRC", effect="warned", command_line_only=True),
    _flag("icmpv6-src", "text", _NO_NETWORK, "TUNNEL_ICMPV6_SRC", effect="warned", command_line_only=True),
    _flag(
        "max-active-flows",
        "count",
        "how many connections into private networks there may be at once, whatever the configuration says (0: any number)",
        "TUNNEL_MAX_ACTIVE_FLOWS",
        command_line_only=True,
    ),
    _flag(
        "dns-resolver-addrs", "texts", _NO_NETWORK, "TUNNEL_DNS_RESOLVER_ADDRS", effect="warned", command_line_only=True
    ),
)

_API = (
    _flag("api-url", "text", "for management commands", "TUNNEL_API_URL", effect="harmless"),
    _flag("quick-service", "text", "for `tunnel --url`", effect="harmless"),
    _flag("max-fetch-size", "count", "for management commands", "TUNNEL_MAX_FETCH_SIZE", effect="harmless"),
    _flag("api-key", "text", "no effect, in cloudflared as well", "TUNNEL_API_KEY", effect="harmless", secret=True),
    _flag("api-email", "text", "no effect, in cloudflared as well", "TUNNEL_API_EMAIL", effect="harmless"),
    _flag(
        "api-ca-key", "text", "no effect, in cloudflared as well", "TUNNEL_API_CA_KEY", effect="harmless", secret=True
    ),
)

_NO_DNS = "the DNS proxy is gone, from cloudflared as well"
_NO_SSH = "the SSH server is gone, from cloudflared as well"
_GONE = (
    _flag("proxy-dns", "bool", _NO_DNS, effect="warned"),
    _flag("proxy-dns-port", "count", _NO_DNS, effect="warned"),
    _flag("proxy-dns-address", "text", _NO_DNS, effect="warned"),
    _flag("proxy-dns-upstream", "texts", _NO_DNS, effect="warned"),
    _flag("proxy-dns-max-upstream-conns", "count", _NO_DNS, effect="warned"),
    _flag("proxy-dns-bootstrap", "texts", _NO_DNS, effect="warned"),
    # Without their variables: names like SECRET_ID or S3_URL are other programs' as well.
    _flag("local-ssh-port", "text", _NO_SSH, effect="warned"),
    _flag("ssh-idle-timeout", "duration", _NO_SSH, effect="warned"),
    _flag("ssh-max-timeout", "duration", _NO_SSH, effect="warned"),
    _flag("bucket-name", "text", _NO_SSH, effect="warned"),
    _flag("region-name", "text", _NO_SSH, effect="warned"),
    _flag("secret-id", "text", _NO_SSH, effect="warned", secret=True),
    _flag("access-key-id", "text", _NO_SSH, effect="warned", secret=True),
    _flag("session-token", "text", _NO_SSH, effect="warned", secret=True),
    _flag("s3-url-host", "text", _NO_SSH, effect="warned"),
    _flag("host-key-path", "path", _NO_SSH, effect="warned"),
    _flag("ssh-server", "bool", _NO_SSH, "TUNNEL_SSH_SERVER", effect="warned"),
)

FLAGS: tuple[Flag, ...] = (
    *_IDENTITY,
    *_EDGE,
    *_LIFE,
    *_OBSERVE,
    *_ORIGIN,
    *_PRIVATE_NETWORK,
    *_API,
    *_GONE,
)
