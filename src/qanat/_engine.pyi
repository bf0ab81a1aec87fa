"""The boundary between Python (decisions) and Rust (bytes): tables go down, events come up. Reviewed line by line.

Constructors take keywords only; settings are a dict of which every key is checked and none has a default. All objects
are frozen values except `Edge` and `Connector`, which own their threads. Ids are lower-case dashed UUID texts;
hostnames are lower case, punycode, without trailing dot; times are Unix seconds (float). No call waits for the network
unless it says so; `next_events` and `close` release the GIL while they wait.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, final, type_check_only

__version__: str

class EngineError(Exception):
    """What the engine refuses. `args == (code, message)`: `code` is stable, `message` names the field and the reason."""

    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...

def check_patterns(patterns: Sequence[str]) -> tuple[int, str, str] | None:
    """None when all `patterns` of one configuration compile as ingress paths (Go RE2 syntax, linear time; "" is every
    path), else the first that does not: its index, `bad_pattern` or `patterns_too_large` (32 MiB of programs together,
    4 MiB one, and 2 000 000 steps to compile them), and the reason. Equal ones count once. Releases the GIL."""

def explain(*, rules: Sequence[tuple[str, str]], hostname: str, path: str, limit_s: float) -> list[bool]:
    """Which of `rules` (hostname, path) serves a request, as `IngressTable.match` finds it, without a table: the answer
    has one entry for each rule before that one, whether its hostname matches (and its path does not). Empty without
    rules. Only patterns whose rule's hostname matches are compiled, one after the other. Releases the GIL.

    EngineError: as `IngressTable`, or `time_over` after `limit_s` seconds."""

def causes() -> list[tuple[str, int, int, str, str, str, str]]:
    """Why an edge answers requests itself, or cuts them: code, status, the number that users know it by (0: none), whose fault,
    where the way broke, what happened, what to do."""

def latency_bounds() -> list[float]:
    """Upper bounds of the buckets of `Traffic`'s latencies, in seconds, ascending; one more bucket is above them all."""

def check_json(document: bytes, *, most_deep: int, most_values: int) -> str | None:
    """What is wrong with a JSON document, before anything is built of it; None: it is UTF-8 and well formed, lists and
    objects nest at most `most_deep`, it holds at most `most_values` values and keys, no text has a NUL or half a
    surrogate pair, and no number is NaN, infinite or too large for a float. Releases the GIL."""

def inspect_certificate(chain_pem: bytes, key_pem: bytes) -> list[str]:
    """The DNS names of the leaf, lower case. EngineError `bad_certificate`: not PEM, no key, or key and leaf do not
    fit."""

# ---------------------------------------------------------------- edge: tables down
@final
class Route:
    """One public hostname (`app.example.com` or `*.example.com`) and the tunnels that answer for it: (tunnel id,
    weight), at most 16, none twice, not all of weight 0. []: the name exists in DNS and leads to no tunnel, so that no
    wildcard above answers for it or for what is below it (RFC 4592).

    Of several each request goes to one, by weighted rendezvous hashing: shares are as the weights, and a change of a
    weight moves only the share that must. One whose tunnel has no usable connection, or was deleted, leaves its
    requests to the next; one of weight 0 gets none. `sticky`: what a visitor stays with its target by: nothing, its
    address, or the cookie `__qanat_target` (a random number). A route of one target costs nothing more, and reads back
    with the weight 1 and `none`.
    """

    def __new__(
        cls, *, hostname: str, targets: Sequence[tuple[str, int]], sticky: Literal["none", "address", "cookie"]
    ) -> Route: ...
    @property
    def hostname(self) -> str: ...
    @property
    def targets(self) -> list[tuple[str, int]]: ...
    @property
    def sticky(self) -> Literal["none", "address", "cookie"]: ...

@final
class Tunnel:
    """A tunnel as the edge must know it. A deleted one stays in the table so that its connectors are refused with the
    reason.

    `secrets`: (token id, SHA-256 of the raw secret, 32 bytes) of each secret that lets a connector register: "" is the
    tunnel's own, others are named connector tokens. `configuration`: the JSON document to push (protocol.md,
    *Configuration*) or None when nothing was ever set; it is pushed to each connection of a remotely managed tunnel
    whenever `configuration_version` is above what that connection last was sent.

    `active_token_id`: only connections that registered with this secret get requests; None: all do. `epoch` (0 to 2^64
    - 1) is of the active node and only rises: a row whose epoch is below the highest that this edge has seen of the
    tunnel leaves the active node and the epoch as they are, and counts in all else. `fenced_token_ids`: connections
    with these get no requests, active or not.
    """

    def __new__(
        cls,
        *,
        tunnel_id: str,
        account_tag: str,
        name: str,
        secrets: Sequence[tuple[str, bytes]],
        deleted: bool,
        remotely_managed: bool,
        configuration_version: int,
        configuration: bytes | None,
        active_token_id: str | None,
        epoch: int,
        fenced_token_ids: Sequence[str],
    ) -> Tunnel: ...
    @property
    def tunnel_id(self) -> str: ...

@final
class Certificate:
    """A public certificate: served for every name of its leaf (a leaf name may be a wildcard); `hostnames`: for these of them
    only."""

    def __new__(cls, *, chain_pem: bytes, key_pem: bytes, hostnames: Sequence[str] | None = None) -> Certificate: ...
    @property
    def hostnames(self) -> list[str]: ...

@type_check_only
class ZoneRules(TypedDict):
    """What a zone wants of the edge for its hostnames. `always_use_https` None: as the plain listener does. `hsts`: the value of
    Strict-Transport-Security, "" for none. `page_1000` and `page_500`: HTML instead of the edge's error page, for failures
    with a number from 1000 on and for all others from 500 on; "" for none."""

    name: str
    always_use_https: bool | None
    hsts: str
    nosniff: bool
    page_1000: str
    page_500: str

@type_check_only
class EdgeSettings(TypedDict):
    """What an edge is told once, at its start: a dict with each of these and nothing else. Addresses are `host:port`
    (port 0: chosen by the system), None switches a listener off. Durations in seconds, sizes in bytes.

    `http_mode`: what the plain listener does with a request for a known hostname: `redirect` (308 to https) or `serve`.
    `public_https_port`: the port that redirects name when the public one differs from the listener's (0: the
    listener's).
    `tunnels_on_https`: connectors may come by the port of `https_address` as well, over TCP and UDP.
    `proxy_protocol`: addresses or networks of proxies whose connections to the public listeners begin with a PROXY
    protocol header (version 1 or 2) and are closed without one; from others none is taken.
    `worker_threads` 0: one a core. `max_unread_bytes` 0: an eighth of the memory.
    `management_hostname`: where connectors' logs and diagnostics are served, to tokens that `management_key` verifies
    (ES256; a public key on P-256, SubjectPublicKeyInfo, DER); "": nowhere. No other client's Host reaches them.
    `control_hostname`: where the control API is served by `https_address`, by handing requests to the Unix socket
    `control_socket`, with the client's address in the field `Qanat-Client`; "": nowhere.
    `max_control_requests`: of those, open at once, a quarter for one address; `max_control_body_bytes`: of one.
    `congestion`: what QUIC connections send by: `tolerant` is Cubic, except that a loss counts only when a queue stands
    on the way or many are lost; `cubic`; `bbr` (version 1).
    `max_new_connections_per_address` and `max_failed_handshakes_per_address` are of one second; the bounds by address
    (IPv6: by /64) are not for the addresses of `shared_networks`, `trusted_proxies` and `proxy_protocol`, behind each of
    which are many hosts.
    `max_pending_tunnel_handshakes`: connections of either transport that have not registered yet.
    `standby_wait_s`: how long a request waits for a node that serves while only others are connected.
    `access_log_sample`: how many of the requests that their origin answered are in the access log, 0 to 1 (0: no log); those
    that the edge answered are always. `access_log_bytes` of its lines may wait. `trace_sample`: how many requests the edge is
    a span of, 0 to 1.
    """

    location: str
    https_address: str | None
    http_address: str | None
    tunnel_address: str
    http_mode: Literal["redirect", "serve"]
    public_https_port: int
    worker_threads: int
    management_hostname: str
    management_key: bytes | None
    control_hostname: str
    control_socket: str
    max_control_requests: int
    max_control_body_bytes: int
    trusted_proxies: Sequence[str]
    tunnels_on_https: bool
    proxy_protocol: Sequence[str]
    max_header_bytes: int
    max_header_fields: int
    max_request_line_bytes: int
    max_trailer_bytes: int
    header_timeout_s: float
    tls_handshake_timeout_s: float
    keep_alive_timeout_s: float
    response_timeout_s: float
    grpc_idle_timeout_s: float
    standby_wait_s: float
    max_streams_per_tunnel: int
    max_connections: int
    max_connections_per_address: int
    max_new_connections_per_address: int
    max_failed_handshakes_per_address: int
    shared_networks: Sequence[str]
    max_unread_bytes: int
    congestion: Literal["tolerant", "cubic", "bbr"]
    max_pending_tunnel_handshakes: int
    max_tunnel_tcp_connections: int
    access_log_sample: float
    access_log_query: Literal["none", "names", "all"]
    access_log_bytes: int
    trace_sample: float
    event_queue: int

@final
class EdgeAddresses:
    """Where the edge listens, `host:port`, after ports were chosen. `tunnel` is one port number for UDP and TCP."""

    @property
    def https(self) -> str | None: ...
    @property
    def http(self) -> str | None: ...
    @property
    def tunnel(self) -> str: ...

# ---------------------------------------------------------------- edge: events up
@final
class ConnectionRegistered:
    """A connector registered one of its connections. `features` as announced, `origin_ip` the peer's address without
    port, `token_id` of the secret that it came with."""

    connection_id: str
    tunnel_id: str
    connector_id: str
    connection_index: int
    protocol: Literal["quic", "http2"]
    origin_ip: str
    version: str
    arch: str
    features: list[str]
    token_id: str
    registered_at: float

@final
class ConnectionDraining:
    """unregisterConnection arrived: no new streams go to this connection, open ones finish."""

    connection_id: str
    tunnel_id: str
    token_id: str
    at: float

@final
class ConnectionSuspect:
    """`suspect`: what was sent on this connection isn't acknowledged in time, so that requests go to others while there are
    any. Not `suspect`: it is again. It may end in between, which says ConnectionLost only."""

    connection_id: str
    tunnel_id: str
    connector_id: str
    token_id: str
    suspect: bool
    at: float

@final
class ConnectionLost:
    """The connection ended. `reason`: `unregistered`, `closed`, `timed_out`, `replaced`, `disconnected` (by us) or
    `reset`."""

    connection_id: str
    tunnel_id: str
    connector_id: str
    connection_index: int
    token_id: str
    reason: str
    lost_at: float

@final
class RegistrationRefused:
    """`code`: `unknown_tunnel`, `deleted_tunnel`, `wrong_secret`, `wrong_account`, `malformed`, `too_many_connections`,
    `disconnected_lately`. `count`: the refusals of this address that it stands for: not each one is told."""

    code: str
    message: str
    tunnel_id: str | None
    origin_ip: str
    protocol: Literal["quic", "http2"]
    retry_after_s: float
    count: int
    at: float

@final
class ConfigurationApplied:
    """A connection's answer to a pushed configuration. `version`: what the connector has applied now; `error`: why it
    refused the pushed one ("" when it didn't; on the HTTP/2 transport a stock connector gives no reason)."""

    connection_id: str
    tunnel_id: str
    connector_id: str
    pushed_version: int
    version: int
    error: str
    at: float

@final
class LocalConfiguration:
    """A locally managed connector told its configuration (updateLocalConfiguration), JSON."""

    connection_id: str
    tunnel_id: str
    configuration: bytes
    at: float

@final
class ProbeAnswered:
    """What became of the probe `probe_id`: `status` and the answer's `headers` and first bytes of `body`, or `cause` (why
    there is none: as of a request, docs/reference/errors, or `probe_busy`: too many were under way), then `status` 0.
    `token_id`, `connection_id`: of the connection that was asked last; without one, the token that was named, and None.
    """

    probe_id: int
    tunnel_id: str
    token_id: str | None
    connection_id: str | None
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    duration_s: float
    cause: str
    detail: str
    at: float

@final
class RequestFailed:
    """A request that the edge answered itself or cut. `fault`: whose it was. `cause`: stable code
    (docs/reference/errors). `hops`, in order, as far as it came: which, when it began (seconds after the request's head was
    there), how long it took, what happened."""

    request_id: str
    hostname: str
    method: str
    path: str
    tunnel_id: str | None
    connection_id: str | None
    status: int
    cause: str
    fault: Literal["client", "edge", "tunnel", "origin"]
    detail: str
    started_at: float
    duration_s: float
    client_ip: str
    hops: list[tuple[str, float, float, str]]

@final
class EngineWarning:
    """A line for the log, of an edge or a connector. Texts are as they came: escape them. At most five of one place in
    the code come in ten seconds; `held_back`: how many more there were before this one."""

    level: Literal["warning", "error"]
    target: str
    message: str
    fields: list[tuple[str, str]]
    held_back: int

EdgeEvent = (
    ConnectionRegistered
    | ConnectionDraining
    | ConnectionSuspect
    | ConnectionLost
    | RegistrationRefused
    | ConfigurationApplied
    | LocalConfiguration
    | ProbeAnswered
    | RequestFailed
    | EngineWarning
)

@final
class Traffic:
    """What has passed from one hostname (a route's, never what a visitor wrote) through one node, since that series began.
    `token_id` None: no connection took these. Without hostname and tunnel: all that there was no room for (10 000 series;
    those without a request for ten minutes make room).

    `requests` have ended: `statuses` (1xx to 5xx) came from the origin, `edge_made` were answered by the edge itself, `cut`
    broke off after the answer's head, `client_failed` were left or broken by their client. `refused` and `timed_out` are
    tries, of which one request may have several: the origin was not reached, or did not answer in time. `opened`: tries
    that were handed to a connection, `waiting`: of them, those whose answer's head is awaited now. Bytes are of
    bodies, entered at a request's end. Latency: counts by bucket (`latency_bounds`, and above) and the sum in seconds:
    `queue` from the request's head to a stream on the connection that answered, `first_byte` from there to the answer's
    head, `total` from head to end (without WebSockets). Of `first_byte`, where the connector tells (ours do, stock ones
    don't): in the `tunnel` there and back, in the `connector`, at its `origin`; empty lists where none did.
    """

    @property
    def hostname(self) -> str: ...
    @property
    def tunnel_id(self) -> str: ...
    @property
    def token_id(self) -> str | None: ...
    @property
    def requests(self) -> int: ...
    @property
    def statuses(self) -> list[int]: ...
    @property
    def edge_made(self) -> int: ...
    @property
    def cut(self) -> int: ...
    @property
    def client_failed(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def timed_out(self) -> int: ...
    @property
    def opened(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def queue(self) -> tuple[list[int], float]: ...
    @property
    def first_byte(self) -> tuple[list[int], float]: ...
    @property
    def total(self) -> tuple[list[int], float]: ...
    @property
    def tunnel(self) -> tuple[list[int], float]: ...
    @property
    def connector(self) -> tuple[list[int], float]: ...
    @property
    def origin(self) -> tuple[list[int], float]: ...

@final
class Edge:
    """The edge's data path: public listeners, tunnel listener, router. Listens (with empty tables) when made; who dials
    waits until `open`.

    `tunnel_certificate`: what the tunnel listener shows to connectors. `sockets`: file descriptors by role that it serves on
    instead of binding its own, of the system or of an edge before it (`sockets` of that one): `https`, `https_udp`,
    `http`, `tunnel_udp`, `tunnel_tcp`, and `tunnel_udp/packets/N` (or `https_udp/…`) for packets of an older process. They
    are duplicated, the caller closes its own; those that the settings don't name are left alone, missing ones are bound.
    EngineError `bind_failed` (message names address and reason), `bad_certificate`, `bad_setting` (names the field),
    `bad_socket` (names the role: of another kind, or bound elsewhere than the settings say).

    From one process to the next: the new one is made with the old one's `sockets` and gets its tables. The old one stops
    accepting of connectors (`stop_accepting(tunnels_only=True)`), the new one calls `open_tunnels`, the old one
    `send_connectors_away`. When the new one's `connected_tunnels` has the tunnels that had several connections before, or
    after a while, it calls `expect` with the rest and `open`; the old one calls `drain`, then `close`.
    """

    def __new__(
        cls, settings: EdgeSettings, *, tunnel_certificate: Certificate, sockets: Mapping[str, int]
    ) -> Edge: ...
    def open(self) -> None:
        """Begins to serve. For two seconds requests wait for connectors that were here before, and come back; after
        `expect` for those alone, and as long as that says."""
    def open_tunnels(self) -> None:
        """Begins to serve connectors; visitors wait until `open`."""
    def sockets(self) -> dict[str, int]:
        """New file descriptors of the sockets that it serves on, by role, to pass to a process that takes over and to
        close: as the constructor takes them. What an earlier call gave is void, unless `stop_accepting` was called.
        EngineError `bind_failed`: no descriptors are left. Empty after `close`."""
    def stop_accepting(self, *, tunnels_only: bool) -> None:
        """Accepts no more connections: the process that has the `sockets` does, those that wait in the queue among them.
        Packets of connections that there are come by that process from now on. `tunnels_only`: visitors go on to be
        accepted. Releases the GIL."""
    def connected_tunnels(self) -> dict[str, int]:
        """By id, how many connections of each tunnel take requests; those without any are left out."""
    def expect(self, *, tunnel_ids: Sequence[str], timeout_s: float) -> None:
        """Requests wait for connectors of these tunnels, which an edge before this one sends here, at most so long from
        now. Before `open`; in place of the two seconds for all."""
    def send_connectors_away(self, *, connectors_every_s: float) -> None:
        """Begins to tell connectors to go to the process that took over: one connection of each connector at a time, when
        its open requests have ended (at the latest after 5 s the next may go as well) and the one before has registered
        there (30 s are waited for that); of all connectors one in that time. The last connection of each node stays until
        `drain` has sent the visitors away. Does not wait; another call changes nothing."""
    def drain(self, *, notice_s: float, grace_s: float) -> None:
        """Leaves everything to the process that took over: `stop_accepting`, then every visitor is told to go (HTTP/1.1
        `Connection: close`, HTTP/2 GOAWAY) and served for `notice_s` or until none is connected, then idle connections
        end and connectors' last connections may go. Returns when no request and no connector is left, WebSockets among
        them, or after `grace_s` in all. Releases the GIL. `close` comes next."""
    def addresses(self) -> EdgeAddresses: ...
    def swap_routes(self, routes: Sequence[Route]) -> None:
        """Replaces all routes at once. EngineError `route_conflict` when one hostname occurs twice, or its targets
        can't be: nothing changes then."""
    def change_routes(self, *, put: Sequence[Route], remove: Sequence[str]) -> None:
        """Adds or replaces the routes of `put` and drops the hostnames of `remove` (those that are there) in one step;
        the cost is that of the change. EngineError `route_conflict` when one hostname occurs twice: nothing changes
        then."""
    def route(self, *, hostname: str) -> Route | None:
        """Where requests for a hostname go now: the route that decides about it. One without a tunnel: none is served,
        since that name exists (it is the hostname's own, or the closest above it)."""
    def swap_tunnels(self, tunnels: Sequence[Tunnel]) -> None:
        """Replaces all tunnels at once; connections of a tunnel that is gone or deleted or whose secret changed stay
        until `disconnect`."""
    def put_tunnel(self, tunnel: Tunnel) -> None:
        """Replaces or adds one tunnel, and pushes its configuration when the version rose. When it returns, no request
        is sent any more to a node that doesn't serve, by this row or a newer one; what was sent before ends there,
        unless it is `cut`. While the active node has no connection but others have, requests wait for `standby_wait_s`,
        then fail with `no_active_node`. The same holds for `swap_tunnels`. Releases the GIL."""
    def swap_certificates(self, certificates: Sequence[Certificate]) -> None:
        """Replaces all public certificates. A hostname without one gets the TLS alert unrecognized_name."""
    def swap_challenges(self, *, http: Sequence[tuple[str, str, str]], tls: Sequence[tuple[str, bytes, bytes]]) -> None:
        """Replaces what CAs are answered while orders are pending, before redirect, access and tunnel. `http`: hostname,
        token, key authorization (RFC 8555 8.3); any other token goes the way of any request. `tls`: hostname, PEM chain
        and PEM key (RFC 8737; no `Certificate`, for its critical extension makes it good for nothing else), shown to who
        offers the protocol `acme-tls/1` alone. EngineError `bad_certificate`: nothing changes then."""
    def disconnect(self, *, tunnel_id: str, connector_id: str | None = None, token_id: str | None = None) -> int:
        """Closes the live connections of a tunnel (of one connector, of those that registered with one token); how
        many. After `put_tunnel` without a secret none that came with it is left."""
    def probe(
        self,
        *,
        probe_id: int,
        tunnel_id: str,
        token_id: str | None,
        hostname: str,
        scheme: Literal["http", "https"],
        path: str,
        method: str,
        headers: Sequence[tuple[str, str]],
        timeout_s: float,
        max_body_bytes: int,
        to_connector: bool,
        is_websocket: bool,
    ) -> None:
        """Begins one request of ours through a connection that registered with that token ("" is the tunnel's own secret;
        None: any connection of the tunnel), whether or not its node gets traffic. It goes out as a visitor's would, from
        192.0.0.8 (RFC 7600), and counts as none; redirects are not followed. Its answer is a `ProbeAnswered` with that id,
        within `timeout_s`; at most 256 run at once. `to_connector`: it is for the connector's management, by a connection that
        announced one, and its path needs a token as any does. EngineError `bad_setting` for what no request can say."""
    def hold(
        self, *, name: str, hostnames: Sequence[str], tunnel_ids: Sequence[str], timeout_s: float, most: int
    ) -> None:
        """New requests for these hostnames (or routes: `*.example.com`), and for whatever leads to these tunnels, wait
        from now on, in order of arrival: until `release`, at most until `timeout_s` (0 to 30) after this call; then
        they go on wherever the tables lead. At most `most` of them wait, a quarter of that (at least 16) for one
        visitor: others are answered 503 with Retry-After (`held_too_many`). No request waits longer than 30 s in all
        holds together. A second hold of the same name takes the place of the first. EngineError `bad_setting`."""
    def release(self, *, name: str) -> int:
        """Ends a hold: how many requests waited (0: none, or there is no such hold)."""
    def open_requests(self, *, tunnel_id: str, token_id: str | None = None) -> int:
        """Visitors' requests, WebSockets too, that are open on a node (None: on all of the tunnel), with those that are
        about to choose one, which may still come to it. Those that are held or wait for a node don't count: 0 after
        `hold` is final until `release`."""
    def open_websockets(self, *, tunnel_id: str, token_id: str | None = None) -> int:
        """Those of them that are WebSockets."""
    def cut(self, *, tunnel_id: str, token_id: str | None, only_websockets: bool) -> int:
        """Ends what is open on a node now (None: on all of the tunnel), or its WebSockets alone: how many. Nothing more
        of them passes either way; their clients hear of it within a second. What has no answer yet and may be repeated
        goes to a node that serves, the rest is answered 502 (`request_cut`) or broken off. The connections stay."""
    def next_events(self, *, limit: int, timeout_s: float) -> list[EdgeEvent]:
        """Waits up to `timeout_s` for the first event, then takes what is there, at most `limit`. [] on time-out and
        after `close`. Releases the GIL."""
    def counters(self) -> dict[str, int]:
        """Totals since start: `requests`, `requests_failed`, `requests_open`, `retries`, `bytes_in`, `bytes_out`,
        `connections_open`, `tunnel_connections_open`, `events_dropped`, `trailers_dropped`, `unknown_streams`,
        `packets_passed` (to older processes), `packets_not_passed` (too many waited), `packets_taken` (of newer ones), …"""
    def next_access(self, *, timeout_s: float) -> tuple[bytes, int, list[bytes]]:
        """Waits up to `timeout_s` for half of `access_log_bytes`, then takes what is there: the log's lines (JSON, one object a
        request) and how many they are, and those of traced requests. At once after `close`. Releases the GIL."""
    def list_requests(self, *, hostnames: Sequence[str]) -> None:
        """From now on the requests of these routes (`app.example.com`, `*.example.com`) are listed when they have ended,
        in place of those that were named before; []: none are."""
    def listed_requests(self) -> list[bytes]:
        """What was listed since the last call, in order: JSON, one object each, with the fields of an access line, the
        route's `hostname`, and `headers` as the tunnel got them: pairs of a name and a value, "*" where it may be a
        secret. At most 4 MiB wait; others are dropped and counted (`listed_requests_dropped`). Releases the GIL."""
    def lines(self) -> list[tuple[str, float | None, str]]:
        """Of every live connection of a connector its id, the round trip of its line in seconds (over QUIC the smoothed
        one of packets, over HTTP/2 the shortest of the newest PINGs; None: not measured yet), and the group of its key
        exchange (`X25519MLKEM768`; "": one that isn't known). Releases the GIL."""
    def management(self) -> int:
        """A new socket, to be closed by the caller, on which this process asks connectors' management by HTTP/1.1: with
        management tokens, like anybody, and any Host that means the management. EngineError `bind_failed`: no
        descriptors are left."""
    def swap_zones(self, zones: Sequence[ZoneRules]) -> None:
        """What zones want, in place of all that was there; those that want nothing are left out. EngineError
        `bad_setting`."""
    def failures(self) -> dict[str, int]:
        """How many requests the edge answered itself or cut since start, by cause; those that never occurred are left
        out."""
    def traffic(self) -> list[Traffic]:
        """What has passed, by hostname, tunnel and node. Nothing is stopped meanwhile. Releases the GIL."""
    def set_pressure(self, *, level: Literal["none", "shed", "refuse"]) -> None:
        """How short of memory the edge is: `shed` answers public requests 503 with Retry-After, `refuse` closes new
        public connections as well. Connections of connectors and requests under way go on. EngineError `bad_setting`.
        """
    def leave(self, *, notice_s: float, grace_s: float) -> None:
        """Tells every client to go (HTTP/1.1 `Connection: close`, HTTP/2 GOAWAY), and serves on: for `notice_s`, unless
        no client is connected, and until the requests that are open at the call have ended, at most `grace_s`. Releases
        the GIL."""
    def close(self, *, grace_s: float) -> None:
        """Takes nothing new, waits up to `grace_s` for open requests, then ends everything: connectors are told to come
        back. Releases the GIL. Idempotent."""

# ---------------------------------------------------------------- connector: tables down
@type_check_only
class IpRule(TypedDict):
    """Where a SOCKS proxy's clients may go, or not. `prefix`: a network; `ports`: empty for all."""

    prefix: str
    ports: Sequence[int]
    allow: bool

@type_check_only
class AccessSettings(TypedDict):
    """Which tokens let a request in: `iss` is `issuer`, one of `aud` is in `audiences`, and the signature is by one of the
    keys that `Connector.put_key_set` has put for that issuer."""

    issuer: str
    audiences: Sequence[str]

@type_check_only
class WarpRouting(TypedDict):
    """How TCP streams that the edge opens to an address are dialled; `max_active_flows` 0: any number."""

    connect_timeout_s: float
    tcp_keep_alive_s: float
    max_active_flows: int

@type_check_only
class OriginSettings(TypedDict):
    """originRequest of one rule, defaults filled in (protocol.md, *Configuration*): each of these and nothing else.
    Seconds; None: not set. `socks`: SOCKS5 is spoken before the bytes of TCP (`proxyType`)."""

    connect_timeout_s: float
    tls_timeout_s: float
    tcp_keep_alive_s: float
    no_happy_eyeballs: bool
    keep_alive_connections: int
    keep_alive_timeout_s: float
    http_host_header: str | None
    origin_server_name: str | None
    match_sni_to_host: bool
    ca_pool_pem: bytes | None
    no_tls_verify: bool
    disable_chunked_encoding: bool
    http2_origin: bool
    socks: bool
    ip_rules: Sequence[IpRule]
    access: AccessSettings | None

@final
class Rule:
    """One ingress rule, in order. `hostname` "" matches every host; `*.x` any depth below x; `path` "" matches every
    path.

    `kind`: `http` (`target`: `http://host:port` or https), `unix` / `unix+tls` (`target`: path), `status` (`target`:
    code), `tcp` (`target`: `host:port`), `hello_world`, `bastion`, `socks-proxy` (`target`: "").
    `service` is the text the user wrote, for logs.
    """

    def __new__(
        cls, *, hostname: str, path: str, kind: str, target: str, service: str, origin: OriginSettings
    ) -> Rule: ...

@final
class OriginBounds:
    """What a pushed configuration's origins may not be: link-local and cloud metadata addresses, and `own` (`ip:port`),
    the connector's listeners; asked of every address that is dialled, after its name was resolved. `allowed`:
    addresses, networks and names, each with or without a port, that are reached all the same. EngineError
    `bad_setting`."""

    def __new__(cls, *, allowed: Sequence[str], own: Sequence[str]) -> OriginBounds: ...
    def refusal(self, *, target: str) -> str | None:
        """What is at a target `http://host:port` or `host:port` that is written as an address and denied; None for all
        others."""

@final
class IngressTable:
    """Rules compiled for matching; `bounds`: what their origins may not be, `client_bounds`: what destinations that
    clients choose may not be (bastion, SOCKS, private networks). EngineError (message: `ingress[N].path …`)
    `bad_pattern`, `patterns_too_large`, `bad_target`, `bad_hostname` or `bad_origin_setting`."""

    def __new__(
        cls,
        *,
        rules: Sequence[Rule],
        bounds: OriginBounds | None = None,
        client_bounds: OriginBounds | None = None,
        warp_routing: WarpRouting | None = None,
    ) -> IngressTable: ...
    def match(self, *, hostname: str, path: str) -> int:
        """Index of the first rule for a Host (port ignored) and a path as sent (matched percent-decoded, query
        excluded); -1 when there are no rules."""

@type_check_only
class EdgePlace(TypedDict):
    """One edge. `address`: `host:port`. `service`: an SRV name asked on each round; where it answers, its targets take the place
    of `address`, and of that of every other place with the same service. `server_name`: its name in TLS; None: those that stock
    connectors ask for. `other_port`: where HTTP/2 is tried when nothing answers. `through_proxy`: by `proxy` of the settings."""

    address: str
    service: str | None
    server_name: str | None
    other_port: int | None
    through_proxy: bool

@type_check_only
class NameServer(TypedDict):
    """A name server that is asked over TLS: `ip:port`, and its name in TLS."""

    address: str
    name: str

@type_check_only
class HttpProxy(TypedDict):
    """The way out by CONNECT. `address`: `host:port`. `tls`: with the proxy itself. `authorization`: of Proxy-Authorization."""

    address: str
    tls: bool
    authorization: bytes | None

@type_check_only
class ConnectorSettings(TypedDict):
    """What a connector is told once, at its start: a dict with each of these and nothing else. `edges`: in order.
    `edge_resolver`: `ip:port` of the name server asked for all names of edges; None: the system's resolver.
    `edge_resolver_over_tls`: asked for a service that is found nowhere else. `edge_ca_pem`: the only trust anchors for the
    edge; None: the system's roots, and `edge_more_ca_pem`.

    `protocol`: `auto` starts on QUIC and falls back to HTTP/2 (and tries QUIC again later).
    `edge_ip_version`: which of an edge's addresses are dialled, where it has such. `edge_bind_address`: dialled from
    it; None: the system's choice. `post_quantum`: no key exchange with the edge but X25519MLKEM768, which is preferred
    anyway.
    `quic_stream_window`, `quic_connection_window`: bytes that may lie unread; 0: as the line needs. `write_stream_timeout_s`:
    how long a QUIC stream may wait for the edge to take something; 0: for ever.
    `congestion`: as the edge's. `max_unread_bytes` 0: an eighth of the memory.
    `worker_threads` 0: half of the cores, at least one, since the connector runs beside the application.
    `tell_requests`: every request is two events, for a debug log.
    `tags`: key and value of fields `Cf-Warp-Tag-KEY` that requests to origins get. `features`: announced to the edge
    besides its own. `management_hostname`: the Host by which a request of a stock edge is one for the management
    (`ManagementAsked`); ours marks them; "": none is.
    """

    account_tag: str
    tunnel_id: str
    tunnel_secret: bytes
    connector_id: str
    edges: Sequence[EdgePlace]
    edge_resolver: str | None
    edge_resolver_over_tls: NameServer | None
    proxy: HttpProxy | None
    version: str
    edge_ca_pem: bytes | None
    edge_more_ca_pem: bytes | None
    edge_ip_version: Literal["auto", "4", "6"]
    edge_bind_address: str | None
    post_quantum: bool
    protocol: Literal["auto", "quic", "http2"]
    ha_connections: int
    congestion: Literal["tolerant", "cubic", "bbr"]
    quic_stream_window: int
    quic_connection_window: int
    quic_mtu_discovery: bool
    write_stream_timeout_s: float
    grace_period_s: float
    rpc_timeout_s: float
    dial_timeout_s: float
    retries: int
    worker_threads: int
    max_unread_bytes: int
    event_queue: int
    tell_requests: bool
    tags: Sequence[tuple[str, str]]
    features: Sequence[str]
    management_hostname: str

# ---------------------------------------------------------------- connector: events up
@final
class Registered:
    connection_index: int
    connection_id: str
    edge_ip: str
    location: str
    protocol: Literal["quic", "http2"]
    remotely_managed: bool

@final
class Disconnected:
    """`reason` is for people. `retry_in_s` None: it will not be dialled again."""

    connection_index: int
    edge_ip: str
    protocol: Literal["quic", "http2"]
    reason: str
    retry_in_s: float | None

@final
class Doubted:
    """`suspect`: what was sent on this connection isn't acknowledged by the edge in time. Not `suspect`: it is again. It may end
    in between, which says Disconnected only."""

    connection_index: int
    edge_ip: str
    suspect: bool

@final
class Refused:
    """The edge refused the registration; `retry_in_s` as in Disconnected."""

    connection_index: int
    edge_ip: str
    cause: str
    retry_in_s: float | None

@final
class ProtocolFallback:
    connection_index: int
    protocol: Literal["quic", "http2"]

@final
class ConfigurationPushed:
    """The edge pushed a configuration: answer with `Connector.answer_configuration(push_id=…)` within `rpc_timeout_s`."""

    push_id: int
    connection_index: int
    version: int
    configuration: bytes

@final
class KeySetWanted:
    """A token was signed with a key of this issuer that is not known: at most one in ten seconds for each."""

    issuer: str

@final
class Unregistered:
    """The edge knows that a connection takes no new requests: `stop` was called."""

    connection_index: int
    edge_ip: str

@final
class RequestReceived:
    """A request found its rule: what goes to the origin, less what is hop-by-hop. `rule` -1: there is none.
    `request_id`: as the edge gave it. `content_length` -1: not known. Headers, target and host hold whatever a client
    sent, secrets as well."""

    connection_index: int
    rule: int
    service: str
    request_id: str
    method: str
    host: str
    target: str
    headers: list[tuple[str, str]]
    content_length: int

@final
class RequestAnswered:
    """The answer to a request began; the rest as in RequestReceived."""

    connection_index: int
    rule: int
    service: str
    request_id: str
    status: int
    content_length: int

@final
class OriginFailed:
    """The connector answered a request itself because the origin could not. `rule` -1: no rule was asked. `code`:
    `origin_refused`, `origin_timeout`, `origin_tls`, `origin_closed`, `reused_connection_closed`,
    `origin_bad_response`, `response_head_too_large`, `origin_reset_mid_body`, `length_required`, `bad_destination`,
    `too_many_flows`, `access_denied`, `access_unknown` or `bad_request` (the edge's request is malformed)."""

    connection_index: int
    rule: int
    service: str
    method: str
    destination: str
    code: str
    message: str

@final
class RequestCanceled:
    """The client went away: debug level, no error."""

    connection_index: int
    destination: str

@final
class ManagementAsked:
    """A request for the connector's management: an HTTP/1.1 server's end of a blocking socket. `socket` is its descriptor and
    the event's: duplicate it to keep it longer. Its request holds a token: log nothing of it."""

    socket: int

@final
class Stopped:
    """All connections have ended after `stop`."""

ConnectorEvent = (
    Registered
    | Disconnected
    | Doubted
    | Refused
    | ProtocolFallback
    | ConfigurationPushed
    | KeySetWanted
    | Unregistered
    | RequestReceived
    | RequestAnswered
    | OriginFailed
    | RequestCanceled
    | ManagementAsked
    | EngineWarning
    | Stopped
)

@type_check_only
class Histogram(TypedDict):
    """`counts`: by bucket, each its own, and one more above the last of `bounds`."""

    bounds: list[float]
    counts: list[int]
    sum: float

@type_check_only
class CallSnapshot(TypedDict):
    """RPC calls of one kind that have ended. `client`: we asked the edge; `server`: it asked us. `latency`: seconds."""

    side: Literal["client", "server"]
    handler: str
    method: str
    operations: int
    failures: int
    latency: Histogram

@type_check_only
class QuicSnapshot(TypedDict):
    """What one connection index has carried over QUIC, through all its connections since the start, and how its line is,
    or was last. Bytes are of UDP payloads; frames by type, under stock cloudflared's names. `congestion_state`: 0 slow
    start, 1 avoidance, 2 limited by the application, 3 recovery, -1 not known."""

    connection_index: int
    sent_bytes: int
    received_bytes: int
    lost_packets: int
    sent_frames: dict[str, int]
    received_frames: dict[str, int]
    mtu: int
    congestion_window: int
    congestion_state: int
    smoothed_rtt_ms: float
    latest_rtt_ms: float
    min_rtt_ms: float

@type_check_only
class ConnectorSnapshot(TypedDict):
    """All that is counted, at one moment. `counters`: as `Connector.counters`. `connect_latency_ms`: how long it took until
    an origin of bytes (TCP, a stream) was reached. `tasks`: how many the engine has under way."""

    counters: dict[str, int]
    calls: list[CallSnapshot]
    connect_latency_ms: Histogram
    quic: list[QuicSnapshot]
    tasks: int

@final
class Connector:
    """The connector's data path: keeps `ha_connections` registered and serves streams by the current table.

    Until a table is swapped in every request is answered 503. EngineError `bad_setting` (names the field).
    """

    def __new__(cls, settings: ConnectorSettings) -> Connector: ...
    def start(self) -> None:
        """Begins to dial; returns at once. EngineError `start_failed` (threads or sockets could not be had)."""
    def swap_ingress(self, table: IngressTable) -> None:
        """Requests that arrive from now on use this table. Open ones end as they began; connections to origins that it
        doesn't name any more are closed as soon as nothing is open on them."""
    def answer_configuration(self, *, push_id: int, version: int, error: str = "") -> None:
        """`version`: what is applied now; `error` "" when the pushed one is in force. EngineError `unknown_push`:
        nobody waits for this answer any more."""
    def tell_requests(self, wanted: bool) -> None:
        """Whether every request is two events from now on, as `tell_requests` of the settings at the start."""
    def put_key_set(self, *, issuer: str, keys: bytes) -> None:
        """Tokens of `issuer` are checked with the keys of this JWK set from now on. EngineError `bad_setting`: it is none
        (the keys before stay)."""
    def send_local_configuration(self, configuration: bytes) -> None:
        """JSON that connection 0 tells the edge after registration when the tunnel isn't remotely managed."""
    def next_events(self, *, limit: int, timeout_s: float) -> list[ConnectorEvent]:
        """As `Edge.next_events`."""
    def counters(self) -> dict[str, int]:
        """`requests`, `requests_open`, `request_errors`, `responses_<status>`, `connections`, `register_success`,
        `register_fail`, `origin_connections_open`, `origin_connections_reused`, …"""
    def snapshot(self) -> ConnectorSnapshot:
        """What a scrape reads: holds up no request. Releases the GIL while it counts."""
    def ready_connections(self) -> int: ...
    def reconnect(self, *, delay_s: float) -> None:
        """Makes one connection anew, so long after it ended."""
    def check_edges(self, *, limit_s: float) -> list[tuple[str, str, str | None, str | None, list[str]]]:
        """Asks each edge for a handshake over either transport, within `limit_s` in all, also before `start`: its name; why that
        has no address ("" when it has); why QUIC doesn't reach it ("": it does, None: not tried); the same of HTTP/2; the
        addresses that were asked, none through a proxy."""
    def stop(self) -> None:
        """Graceful: unregisterConnection on each, serve open streams up to `grace_period_s`, then `Stopped`. A second
        call ends at once. Does not wait."""
    def close(self) -> None:
        """Ends everything now. Releases the GIL."""
