"""`qanat edge`, from the locked data directory to the last drained request.

A restart is an interruption for everybody: what requests need comes first at the start, the control API (half of all the code
that is loaded) after it, and at the end requests are the last that is given up."""

import gc
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import structlog

from qanat.auth.management import ManagementKey
from qanat.control.connections import clear_live
from qanat.control.quick_tunnels import QuickLimits
from qanat.descriptors import Shares, raise_limit
from qanat.edge import engine
from qanat.edge.authority import Authority
from qanat.edge.certificates import Certificates, GivenCertificates, found_by, tunnel_certificate
from qanat.edge.chores import Chores
from qanat.edge.data_dir import DataDir, State
from qanat.edge.events import EventPump
from qanat.edge.failures import Failures, KeptFailure
from qanat.edge.feed import Feed
from qanat.edge.listen import LocalSocket, listen
from qanat.edge.place import on_https, own_names
from qanat.edge.presence import Presence
from qanat.edge.pressure import Pressure
from qanat.edge.prober import Prober
from qanat.edge.promoter import Promoter
from qanat.edge.promotions import Promotions, recover
from qanat.edge.roles import ASKED_EVERY_S, Roles, by_probes
from qanat.edge.signals import Signals
from qanat.edge.sweeps import end_connector_tokens, end_quick_tunnels, forget_deleted, trim
from qanat.health.engine import Traffic
from qanat.health.health import Health
from qanat.health.probing import Probes
from qanat.health.rates import Meter
from qanat.nodes.readiness import Facts
from qanat.settings import AccountLimitSettings, EdgeSettings, QuickTunnelSettings
from qanat.store import SYSTEM
from qanat.store.limits import AccountLimits
from qanat.store.skipped import SkippedRows
from qanat.systemd import ServiceManager

if TYPE_CHECKING:
    from qanat.edge.access_log import AccessLog

Output = Literal["text", "json"]

CATCH_UP_S = 1.0
MEMORY_S = 1.0
SECOND_S = 1.0
QUICK_S = 10.0
HOUR_S = 3600.0
EVENTS_LEFT_S = 5.0
FAILED_LOGINS_S = 10.0
READ_CERTIFICATES = "read given certificates"
RENEW_CERTIFICATES = "renew certificates"
LATE_S = 3.0
"""For requests that came when clients were already told to go: nobody else is served meanwhile."""

log = structlog.get_logger(__name__)


class RunningEdge:
    """The API's view of the edge (api.context.Live)."""

    def __init__(
        self, running: engine.Edge, failures: Failures, health: Health, probes: Probes, presence: Presence
    ) -> None:
        self._engine = running
        self._failures = failures
        self.health = health
        self.probes = probes
        self._presence = presence
        self.access_log: AccessLog | None = None

    def counters(self) -> Mapping[str, int]:
        """The engine's, and the access log's."""
        lost = self.access_log.lost if self.access_log is not None else 0
        return {**self._engine.counters(), "access_lines_lost": lost}

    def failures(self) -> Mapping[str, int]:
        """The engine's."""
        return self._engine.failures()

    def addresses(self) -> Mapping[str, str | None]:
        """After ports were chosen."""
        addresses = self._engine.addresses()
        return {"https": addresses.https, "http": addresses.http, "tunnel": addresses.tunnel}

    def route(self, hostname: str) -> engine.Route | None:
        """From the table in force."""
        return self._engine.route(hostname=hostname)

    def tunnel_of(self, hostname: str) -> str | None:
        """Where requests for a hostname go now; of several tunnels the one that most go to."""
        route = self._engine.route(hostname=hostname)
        return max(route.targets, key=lambda target: target[1])[0] if route is not None and route.targets else None

    def traffic(self) -> Sequence[Traffic]:
        """The engine's."""
        return self._engine.traffic()

    def failed_request(self, request_id: str) -> engine.RequestFailed | KeptFailure | None:
        """From the ring of the newest."""
        return self._failures.get(request_id)

    def node(self, tunnel_id: str, token_id: str) -> Facts:
        """Connections as the events told them, what is open on them now, and how its origin is."""
        connections, suspect = self._presence.connections(tunnel_id, token_id)
        found = self.health.of(tunnel_id, token_id)
        return Facts(
            connections=connections,
            suspect=suspect,
            open_requests=self._engine.open_requests(tunnel_id=tunnel_id, token_id=token_id),
            health=found.state,
            why=found.why,
            since=found.since,
        )

    def cut(self, tunnel_id: str, token_id: str) -> int:
        """WebSockets too; the connections stay."""
        return self._engine.cut(tunnel_id=tunnel_id, token_id=token_id, only_websockets=False)


def run_edge(settings: EdgeSettings, *, output: Output) -> int:
    """Serves until SIGTERM or SIGINT, then drains. A second signal ends at once; SIGHUP reads the given certificates again. The
    exit status.

    Raises:
        QanatError: what stands in the way of a start, before anything was served.
    """
    signals = Signals()
    manager = ServiceManager()
    sockets = Shares.of(raise_limit())
    with ExitStack() as stack:
        stack.enter_context(signals)
        data_dir = DataDir(settings.data_dir).lock()
        stack.callback(data_dir.unlock)
        state = data_dir.open(settings.store, account=settings.control.account)
        stack.callback(state.close)
        state.store.limits = account_limits(settings.account_limits)
        state.store.own_names = own_names(settings)
        with state.store.writing(SYSTEM) as write:
            cleared = clear_live(write)
        if cleared:
            log.info("connections of an earlier run were cleared", connections=cleared)
        if settled := recover(state.store):
            log.warning("promotions of an earlier run were undone or finished", promotions=settled)

        authority = None
        if settings.tls.development_ca:
            authority = Authority.open(ca_file=data_dir.ca, directory=data_dir.certificates)
        skipped = SkippedRows()
        given = GivenCertificates(settings.tls, skipped)
        certificates = Certificates(
            given.load(),
            authority,
            own=[
                *([settings.public.management_hostname] if settings.public.management_hostname else []),
                *own_names(settings),
            ],
            skipped=skipped,
            most_of_account=settings.account_limits.certificates,
        )
        management = ManagementKey.open(data_dir.management_key, served_at=management_place(settings))
        shown = tunnel_certificate(settings.tls, authority, settings.tunnel.names)
        api_socket = listen(settings.control.address)
        stack.callback(api_socket.close)
        local = stack.enter_context(LocalSocket(data_dir.control_socket)) if settings.control.hostname else None
        with engine.engine_errors():
            running = engine.Edge(engine_settings(settings, management, sockets, local), tunnel_certificate=shown)
        failures = Failures(file=data_dir.failed_requests)
        stack.callback(failures.write)
        probes, health, presence = Probes(running), Health(Meter(running)), Presence()
        live = RunningEdge(running, failures, health, probes, presence)
        pump = EventPump(
            running,
            state.store,
            failures,
            probes=probes,
            health=health,
            presence=presence,
            location=settings.location,
        )
        stack.callback(pump.stop, timeout_s=EVENTS_LEFT_S)
        if settings.access_log.to != "off" or settings.tracing.endpoint is not None:
            live.access_log = _access_log(settings, running, stack)
        stack.callback(running.close, grace_s=0.0)
        feed = Feed(
            state.store,
            state.sealer,
            running,
            certificates,
            rotation_grace_s=settings.tunnel.rotation_grace_s,
            skipped=skipped,
        )
        with engine.engine_errors():
            stack.callback(feed.start())
        promotions = Promotions(state.store, running, put=feed.put, facts=live.node)
        promotions.start()
        stack.callback(promotions.stop)
        roles = Roles(state.store, presence, management, by_probes(probes))
        promoter = Promoter(state.store, presence, live.node)
        health.changed(lambda tunnel_id, _token_id: promoter.touch(tunnel_id))
        promoter.start()
        stack.callback(promoter.stop)
        running.open()
        pump.start()
        manager.watch(running.counters)
        stack.callback(manager.close)
        prober = Prober(
            state.store,
            probes,
            health,
            route_of=live.tunnel_of,
            enabled=settings.probes.enabled,
            per_second=settings.probes.per_second,
        )
        if settings.metrics.address:
            from qanat.edge.metrics_listener import MetricsListener
            from qanat.health.metrics import exposed

            metrics = MetricsListener(
                listen(settings.metrics.address), lambda: exposed(live, most_hostnames=settings.metrics.hostnames)
            )
            stack.callback(metrics.stop)
            metrics.start()
            log.info("metrics", url=metrics.url)
        stack.callback(prober.start())
        stack.callback(prober.stop)
        pressure = Pressure(running, memory_bytes=settings.limits.memory_bytes)
        quick = quick_limits(settings.control.quick_tunnels)
        quick_expiry = timedelta(seconds=settings.control.quick_tunnels.expiry_s)
        from qanat.edge.control import ControlApi  # now that requests are served
        from qanat.edge.cutover_edge import RunningCutoverEdge
        from qanat.edge.cutover_runner import CutoverRunner

        cutover_edge = RunningCutoverEdge(running, probes, health)
        cutovers = CutoverRunner(state.store, cutover_edge)
        control = ControlApi(
            state,
            live,
            settings,
            management=management,
            found_by=found_by(settings.tls, authority, settings.tunnel.public_name),
            quick=quick,
            skipped=skipped,
            cutover_edge=cutover_edge,
        )
        stack.callback(control.flush_failed_logins)
        chores = Chores(
            [
                *([("hold the database", CATCH_UP_S, state.lease.keep)] if state.lease is not None else []),
                ("look at the memory", MEMORY_S, pressure.look),
                ("catch up", CATCH_UP_S, feed.catch_up),
                ("settle promotions", CATCH_UP_S, promotions.settle),
                ("ask for roles", ASKED_EVERY_S, roles.look),
                ("end connector tokens", CATCH_UP_S, lambda: end_connector_tokens(state.store, skipped)),
                (
                    "end quick tunnels",
                    min(QUICK_S, quick_expiry.total_seconds()),
                    lambda: end_quick_tunnels(state.store, skipped, expiry=quick_expiry),
                ),
                (READ_CERTIFICATES, HOUR_S, lambda: certificates.give(given.load())),
                (RENEW_CERTIFICATES, HOUR_S, feed.refresh_routes),
                ("note failed log-ins", FAILED_LOGINS_S, control.note_failed_logins),
                ("keep failed requests", SECOND_S, failures.write),
                ("trim", HOUR_S, lambda: trim(state.store)),
                ("forget", HOUR_S, lambda: forget_deleted(state.store)),
            ]
        )
        chores.start()
        stack.callback(chores.stop)
        cutovers.start()
        stack.callback(cutovers.stop)
        if settings.acme.email:
            stack.callback(_start_issuer(settings, state, running, certificates, skipped))
        api = control.serve(api_socket, local=local, connections=min(settings.control.connections, sockets.api))
        stack.callback(api.stop)

        public_api = public_url(settings, running.addresses(), urlsplit(api.url).path)
        _say_ready(
            data_dir, state, running.addresses(), api.url, public_api, has_ca=authority is not None, output=output
        )
        manager.ready()
        gc.freeze()
        gc.enable()
        while not signals.wait():
            log.info("SIGHUP: the given certificates are read again")
            chores.hurry(READ_CERTIFICATES, RENEW_CERTIFICATES)
        manager.stopping()
        end = monotonic() + settings.grace_period_s
        log.info("draining; a second signal ends at once", grace_s=settings.grace_period_s)
        # In a thread: the engine's wait lets other threads run, but no signal handler of this one.
        leaving = {"notice_s": settings.stop_notice_s, "grace_s": settings.grace_period_s}
        _in_thread(running.leave, leaving)
        prober.stop()
        # Everything that takes time and serves no request ends while requests are still served.
        promoter.stop()
        promotions.stop()
        chores.stop()
        cutovers.stop()
        api.stop()
        _in_thread(running.close, {"grace_s": max(0.0, min(LATE_S, end - monotonic()))})
        pump.stop(timeout_s=EVENTS_LEFT_S)
        log.info("stopped")
    return 0


def _access_log(settings: EdgeSettings, running: engine.Edge, stack: ExitStack) -> "AccessLog":
    """Lines are taken from now on, and until the engine is closed."""
    from qanat.edge.access_log import AccessLog
    from qanat.edge.access_sinks import open_sink

    traced = None
    if settings.tracing.endpoint is not None:
        from qanat.edge.tracing import Spans  # and with it the SDK, only where it is used

        spans = Spans(settings.tracing, location=settings.location)
        stack.callback(spans.close)
        traced = spans.add
    access_log = AccessLog(running, open_sink(settings.access_log), traced=traced)
    stack.callback(access_log.stop, timeout_s=EVENTS_LEFT_S)
    access_log.start()
    return access_log


def _start_issuer(
    settings: EdgeSettings, state: State, running: engine.Edge, certificates: Certificates, skipped: SkippedRows
) -> Callable[[], None]:
    """Certificates are ordered from now on; returns what ends that."""
    from qanat.edge.challenges import Challenges
    from qanat.edge.issuer import Issuer  # and with it an HTTP client, only where it is used

    public = settings.public
    is_ours = public.management_hostname != type(public).model_fields["management_hostname"].default
    shown_on = {"http-01": public.http, "tls-alpn-01": public.https}
    issuer = Issuer(
        state.store,
        state.keys.sealer,
        Challenges(running),
        settings.acme,
        own=[*([public.management_hostname] if is_ours and public.management_hostname else []), *own_names(settings)],
        given=lambda: certificates.given_names,
        kinds=[kind for kind in settings.acme.challenges if shown_on.get(kind, "") is not None],
        most_of_account=settings.account_limits.certificates,
        skipped=skipped,
    )
    return issuer.start()


def _in_thread(work: Callable[..., None], given: Mapping[str, float]) -> None:
    thread = Thread(target=work, kwargs=given, name="qanat-close")
    thread.start()
    thread.join()


def account_limits(settings: AccountLimitSettings) -> AccountLimits:
    """As the store takes them."""
    return AccountLimits(**settings.model_dump(exclude={"certificates"}))


def quick_limits(settings: QuickTunnelSettings) -> QuickLimits | None:
    """None: quick tunnels are off."""
    if not settings.zone:
        return None
    return QuickLimits(
        zone=settings.zone,
        per_address=settings.per_address,
        in_all=settings.in_all,
        expiry=timedelta(seconds=settings.expiry_s),
    )


def management_place(settings: EdgeSettings) -> str:
    """Where management tokens say that they are good: `management.example.net:8443`; "" where it is stock's name, or nowhere."""
    name = settings.public.management_hostname or ""
    if (
        not name
        or not settings.public.https
        or name == type(settings.public).model_fields["management_hostname"].default
    ):
        return ""
    return on_https(settings, name)


def public_url(settings: EdgeSettings, addresses: engine.EdgeAddresses, path: str) -> str | None:
    """Where the API is found by the public listener; `path`: below which it is."""
    if not settings.control.hostname or addresses.https is None:
        return None
    port = settings.public.https_port or int(addresses.https.rpartition(":")[2])
    return f"https://{settings.control.hostname}{'' if port == 443 else f':{port}'}{path}"


def engine_settings(
    settings: EdgeSettings, management: ManagementKey, sockets: Shares, local: LocalSocket | None = None
) -> "engine.EdgeSettings":
    """Our settings as the engine takes them, within what file descriptors allow."""
    limits = settings.limits
    return {
        "location": settings.location,
        "https_address": settings.public.https,
        "http_address": settings.public.http,
        "tunnel_address": settings.tunnel.address,
        "http_mode": settings.public.http_mode,
        "public_https_port": settings.public.https_port,
        "worker_threads": settings.engine.worker_threads,
        "management_hostname": settings.public.management_hostname or "",
        "management_key": management.public,
        "control_hostname": settings.control.hostname or "",
        "control_socket": local.name if local is not None else "",
        "max_control_requests": min(settings.control.requests, sockets.api),
        "max_control_body_bytes": settings.control.body_bytes,
        "trusted_proxies": list(settings.public.trusted_proxies),
        "tunnels_on_https": settings.public.tunnels,
        "proxy_protocol": list(settings.public.proxy_protocol),
        "max_header_bytes": limits.header_bytes,
        "max_header_fields": limits.header_fields,
        "max_request_line_bytes": limits.request_line_bytes,
        "max_trailer_bytes": limits.trailer_bytes,
        "header_timeout_s": limits.header_timeout_s,
        "tls_handshake_timeout_s": limits.tls_handshake_timeout_s,
        "keep_alive_timeout_s": limits.keep_alive_timeout_s,
        "response_timeout_s": limits.response_timeout_s,
        "grpc_idle_timeout_s": limits.grpc_idle_timeout_s,
        "standby_wait_s": settings.tunnel.standby_wait_s,
        "max_streams_per_tunnel": limits.streams_per_tunnel,
        "max_connections": min(limits.connections, sockets.public),
        "max_connections_per_address": limits.connections_per_address,
        "max_new_connections_per_address": limits.new_connections_per_address,
        "max_failed_handshakes_per_address": limits.failed_handshakes_per_address,
        "shared_networks": list(limits.shared_networks),
        "max_pending_tunnel_handshakes": min(limits.pending_tunnel_handshakes, sockets.unregistered),
        "max_tunnel_tcp_connections": sockets.tunnels,
        "max_unread_bytes": limits.unread_bytes,
        "congestion": settings.tunnel.congestion,
        "access_log_sample": settings.access_log.sample if settings.access_log.to != "off" else 0.0,
        "access_log_query": settings.access_log.query,
        "access_log_bytes": settings.access_log.queue_bytes,
        "trace_sample": settings.tracing.sample if settings.tracing.endpoint is not None else 0.0,
        "event_queue": settings.engine.event_queue,
    }


def _say_ready(
    data_dir: DataDir,
    state: State,
    addresses: engine.EdgeAddresses,
    api: str,
    public_api: str | None,
    *,
    has_ca: bool,
    output: Output,
) -> None:
    facts = {
        "event": "ready",
        "https": addresses.https,
        "http": addresses.http,
        "tunnel": addresses.tunnel,
        "api": api,
        "public_api": public_api,
        "ca": str(data_dir.ca) if has_ca else None,
        "data_dir": str(data_dir.path),
        "token_file": str(data_dir.token_file) if data_dir.token_file.exists() else None,
        "first_start": state.first_token is not None,
        "pid": os.getpid(),
    }
    if output == "json":
        print(json.dumps(facts), flush=True)
        return
    if state.first_token is not None:
        # only to a person: what a service prints is kept by journald, for whoever may read logs
        shown = f"{state.first_token} (shown this once)" if sys.stdout.isatty() else "not shown here"
        print(f"API token: {shown}; it is in {data_dir.token_file}")
    print("qanat edge is ready")
    for label, value in (
        ("https", addresses.https and f"https://{addresses.https}"),
        ("http", addresses.http and f"http://{addresses.http}"),
        ("tunnel", f"{addresses.tunnel} (UDP and TCP)"),
        ("API", f"{api} (from this machine)" if public_api else api),
        ("API", public_api and f"{public_api} (from anywhere)"),
        ("CA", facts["ca"]),
        ("data", data_dir.path),
    ):
        if value:
            print(f"  {label:<7} {value}")
    if state.first_token is not None:
        for line in first_steps(data_dir, api, public_api, has_ca=has_ca):
            print(line)
    sys.stdout.flush()


def first_steps(data_dir: DataDir, api: str, public_api: str | None, *, has_ca: bool) -> list[str]:
    """What to type first: here, and on another machine."""
    lines = [
        "to begin, on this machine:",
        f"  export QANAT_API={api} QANAT_API_TOKEN_FILE={data_dir.token_file}",
        "  qanat zone create example.com",
    ]
    if public_api is None:
        return [*lines, "for other machines: give the edge a name for its API, `--control-hostname api.example.com`"]
    trust = ", once it trusts the development CA" if has_ca else ""
    return [
        *lines,
        f"on another machine{trust}, with a token of `qanat token create`:",
        f"  qanat login --api {public_api}",
        f"  export CLOUDFLARE_BASE_URL={public_api}   # Terraform, SDKs",
    ]
