"""`qanat edge`, from the locked data directory to the last drained request.

A restart is an interruption for everybody: what requests need comes first at the start, the control API (half of all the code
that is loaded) after it, and at the end requests are the last that is given up."""

import gc
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from qanat.auth.management import ManagementKey
from qanat.control.connections import clear_live
from qanat.descriptors import Shares, raise_limit
from qanat.edge import engine
from qanat.edge.authority import Authority
from qanat.edge.certificates import Certificates, GivenCertificates, found_by, tunnel_certificate
from qanat.edge.chores import Chores
from qanat.edge.data_dir import DataDir, State
from qanat.edge.engine_settings import account_limits, engine_settings, quick_limits
from qanat.edge.events import EventPump
from qanat.edge.failures import Failures
from qanat.edge.feed import Feed
from qanat.edge.listen import LocalSocket, listen
from qanat.edge.place import management_place, own_names, public_url
from qanat.edge.presence import Presence
from qanat.edge.pressure import Pressure
from qanat.edge.prober import Prober
from qanat.edge.promoter import Promoter
from qanat.edge.promotions import Promotions, recover
from qanat.edge.ready import Output, say_ready
from qanat.edge.roles import ASKED_EVERY_S, Roles, by_probes
from qanat.edge.running import RunningEdge
from qanat.edge.signals import Signals
from qanat.edge.sweeps import end_connector_tokens, end_quick_tunnels, forget_deleted, trim
from qanat.health.health import Health
from qanat.health.probing import Probes
from qanat.health.rates import Meter
from qanat.series import Recorder
from qanat.series.recorder import EVERY_S as SERIES_S
from qanat.settings import EdgeSettings
from qanat.store import SYSTEM
from qanat.store.skipped import SkippedRows
from qanat.systemd import ServiceManager

if TYPE_CHECKING:
    from qanat.edge.access_log import AccessLog

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
            running = engine.Edge(
                engine_settings(settings, management, sockets, local), tunnel_certificate=shown, sockets={}
            )
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
            certificate_files=lambda: certificates.given_chains,
        )
        stack.callback(control.flush_failed_logins)
        series = Recorder(running, state.store, most_hostnames=settings.series.hostnames)
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
                ("record what passed", SERIES_S, series.record),
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
        say_ready(
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
