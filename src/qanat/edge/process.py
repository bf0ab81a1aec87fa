"""`qanat edge`, from the locked data directory to the last drained request.

A restart is an interruption for everybody: what requests need comes first at the start, the control API (half of all the code
that is loaded) after it, and at the end requests are the last that is given up. A process that takes over from another one
(docs/explanation/restart.md) loads all of it before it says that it is ready."""

import gc
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from qanat import __version__
from qanat.auth.management import ManagementKey
from qanat.control.connections import clear_live
from qanat.defaults import API_PATH
from qanat.descriptors import Shares, raise_limit
from qanat.edge import engine
from qanat.edge.authority import Authority
from qanat.edge.certificates import Certificates, GivenCertificates, found_by, tunnel_certificate
from qanat.edge.data_dir import DataDir, State
from qanat.edge.duties import READ_CERTIFICATES, RENEW_CERTIFICATES, Duties, Parts
from qanat.edge.engine_settings import account_limits, engine_settings
from qanat.edge.events import EventPump
from qanat.edge.failures import Failures
from qanat.edge.feed import Feed
from qanat.edge.handover import Predecessor
from qanat.edge.listen import LocalSocket, url_of
from qanat.edge.listeners import LOCAL, Listeners, of_systemd, still_asked
from qanat.edge.place import management_place, own_names, public_url
from qanat.edge.presence import Presence
from qanat.edge.promotions import recover
from qanat.edge.ready import Output, say_ready
from qanat.edge.running import RunningEdge
from qanat.edge.signals import Heard, Order, Signals
from qanat.edge.steering import Both
from qanat.edge.takeover import Arrival
from qanat.edge.upgrade import Upgrades
from qanat.errors import QanatError
from qanat.health.health import Health
from qanat.health.probing import Probes
from qanat.health.rates import Meter
from qanat.health.request_lists import RequestLists
from qanat.series import Recorder
from qanat.settings import EdgeSettings
from qanat.store import SYSTEM
from qanat.store.skipped import SkippedRows
from qanat.systemd import ServiceManager

if TYPE_CHECKING:
    from qanat.edge.access_log import AccessLog

EVENTS_LEFT_S = 5.0
OTHERS_S = 5.0
"""For a process before this one, when its time is over: its last words."""
LATE_S = 3.0
"""For requests that came when clients were already told to go: nobody else is served meanwhile."""

log = structlog.get_logger(__name__)


def run_edge(settings: EdgeSettings, *, output: Output, predecessor: Predecessor | None = None) -> int:
    """Serves until SIGTERM or SIGINT, then drains. A second signal ends at once; SIGHUP reads the given certificates again,
    SIGUSR2 replaces the process by a new one of its program. The exit status. `predecessor`: which this one shall take over from.

    Raises:
        QanatError: what stands in the way of a start, before anything was served.
    """
    signals = Signals()
    manager = ServiceManager(in_charge=predecessor is None)
    arrival = Arrival(predecessor)
    with signals:
        upgrades = _serve(settings, output, predecessor, signals, manager, arrival)
        upgrades.become_watcher()
    return upgrades.failure()


def _serve(
    settings: EdgeSettings,
    output: Output,
    predecessor: Predecessor | None,
    signals: Signals,
    manager: ServiceManager,
    arrival: Arrival,
) -> Upgrades:
    """All of it, until nothing is open any more."""
    with ExitStack() as stack:
        data_dir = DataDir(settings.data_dir)
        stack.callback(data_dir.unlock)
        if predecessor is not None:
            data_dir.inherit(predecessor.lock)
        else:
            data_dir.lock()
        state = arrival.open(data_dir, settings, version=__version__)
        stack.callback(state.close)
        state.store.limits = account_limits(settings.account_limits)
        state.store.own_names = own_names(settings)
        if arrival.is_alone:
            _clear(state)
        parts, pump = _build(settings, data_dir, state, predecessor, stack)
        duties = Duties(parts)
        if arrival.is_beside:
            duties.load()
            arrival.wait_for_go(parts, version=__version__)
            if arrival.is_alone:
                _clear(state)
        duties.steer()
        upgrades = Upgrades(parts, data_dir, manager, signals, duties, predecessor=predecessor)
        stack.callback(upgrades.close)
        stack.callback(manager.close)

        def take_charge() -> None:
            manager.take_over()
            manager.ready()
            manager.watch(parts.engine.counters)

        if predecessor is None:
            parts.engine.open()
            pump.start()
            _say_ready(data_dir, parts, output)
            take_charge()
            duties.begin()
        else:
            pump.start()
            duties.begin()
            arrival.take_charge(parts, in_charge=take_charge, is_ended=lambda: signals.last != 0)
            _say_ready(data_dir, parts, output)
        upgrades.listen()
        gc.freeze()
        gc.enable()
        heard = _follow(signals, upgrades)
        if heard.order is Order.HANDED_OVER:
            _drain_beside(parts, signals, upgrades, heard)
        else:
            manager.stopping()
            _drain(parts, upgrades, heard)
        pump.stop(timeout_s=EVENTS_LEFT_S)
        log.info("stopped")
    return upgrades


def _clear(state: State) -> None:
    """What an earlier run has left."""
    with state.store.writing(SYSTEM) as write:
        cleared = clear_live(write)
    if cleared:
        log.info("connections of an earlier run were cleared", connections=cleared)
    if settled := recover(state.store):
        log.warning("promotions of an earlier run were undone or finished", promotions=settled)


def _build(
    settings: EdgeSettings, data_dir: DataDir, state: State, predecessor: Predecessor | None, stack: ExitStack
) -> tuple[Parts, EventPump]:
    """Everything that lasts as long as the process, its tables filled; nothing is served yet."""
    shares = Shares.of(raise_limit())
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
    inherited = None if predecessor is None else still_asked(settings, predecessor.sockets())
    sockets = of_systemd(settings, os.environ) if inherited is None else inherited
    listeners = Listeners.open(settings, sockets)
    stack.callback(listeners.close)
    local, at_path = None, sockets.pop(LOCAL, None)
    if settings.control.hostname:
        local = stack.enter_context(LocalSocket(data_dir.control_socket, at_path))
    running = _engine(settings, management, shares, local, shown, sockets)
    failures = Failures(file=data_dir.failed_requests)
    stack.callback(failures.write)
    probes, health, presence = Probes(running), Health(Meter(running)), Presence()
    live = RunningEdge(running, failures, health, probes, presence, RequestLists(running, state.store))
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
    parts = Parts(
        settings=settings,
        state=state,
        engine=running,
        steering=Both(running, predecessor),
        listeners=listeners,
        local=local,
        live=live,
        feed=feed,
        certificates=certificates,
        given=given,
        found_by=found_by(settings.tls, authority, settings.tunnel.public_name),
        management=management,
        presence=presence,
        probes=probes,
        health=health,
        failures=failures,
        series=Recorder(running, state.store, most_hostnames=settings.series.hostnames),
        skipped=skipped,
        api_connections=min(settings.control.connections, shares.api),
    )
    return parts, pump


def _engine(
    settings: EdgeSettings,
    management: ManagementKey,
    shares: Shares,
    local: LocalSocket | None,
    shown: engine.Certificate,
    sockets: Mapping[str, socket.socket],
) -> engine.Edge:
    """On these sockets, of which it has copies, and on others of its own where there are none."""
    try:
        with engine.engine_errors():
            return engine.Edge(
                engine_settings(settings, management, shares, local),
                tunnel_certificate=shown,
                sockets={role: each.fileno() for role, each in sockets.items()},
            )
    finally:
        for each in sockets.values():
            each.close()


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


def _say_ready(data_dir: DataDir, parts: Parts, output: Output) -> None:
    addresses, api = parts.engine.addresses(), url_of(parts.listeners.api)
    public_api = public_url(parts.settings, addresses, API_PATH)
    has_ca = parts.settings.tls.development_ca
    say_ready(data_dir, parts.state, addresses, api, public_api, has_ca=has_ca, output=output)


def _follow(signals: Signals, upgrades: Upgrades) -> Heard:
    """Until it is told to end."""
    while True:
        heard = signals.wait()
        if heard.order is Order.RELOAD:
            log.info("SIGHUP: the given certificates are read again")
            upgrades.duties.hurry(READ_CERTIFICATES, RENEW_CERTIFICATES)
        elif heard.order is Order.UPGRADE:
            upgrades.begin()
        else:
            return heard


def _drain(parts: Parts, upgrades: Upgrades, heard: Heard) -> None:
    """Ends, with nobody who takes over."""
    upgrades.cancel()
    grace_s = parts.settings.grace_period_s if heard.drain_s is None else heard.drain_s
    end = monotonic() + grace_s
    log.info("draining; a second signal ends at once", grace_s=grace_s)
    parts.steering.end(grace_s=grace_s)
    upgrades.duties.end_streams()
    # In a thread: the engine's wait lets other threads run, but no signal handler of this one.
    _in_thread(parts.engine.leave, {"notice_s": parts.settings.stop_notice_s, "grace_s": grace_s})
    # Everything that takes time and serves no request ends while requests are still served.
    upgrades.duties.stop()
    parts.listeners.close()
    upgrades.tell_drained(parts.engine.counters()["requests_open"])
    _in_thread(parts.engine.close, {"grace_s": max(0.0, min(LATE_S, end - monotonic()))})
    # Who waits for the edge's end waits for this process, and may kill what is left of it then.
    parts.steering.wait(max(0.0, end - monotonic()) + OTHERS_S)


def _drain_beside(parts: Parts, signals: Signals, upgrades: Upgrades, heard: Heard) -> None:
    """Ends, while a new process serves."""
    grace_s = parts.settings.drain_timeout_s if heard.drain_s is None else heard.drain_s
    log.info("draining beside the new process", grace_s=grace_s)

    closing = Lock()

    def close(grace_s: float) -> None:
        with closing:
            parts.engine.close(grace_s=grace_s)
        signals.tell(Order.DRAINED)

    def drain() -> None:
        parts.engine.drain(notice_s=parts.settings.stop_notice_s, grace_s=grace_s)
        close(0.0)

    Thread(target=drain, name="qanat-drain", daemon=True).start()
    while (heard := signals.wait()).order is not Order.DRAINED:
        if heard.number:  # whoever sent it means the edge
            upgrades.pass_on(heard.number)
        if heard.order is Order.END:
            sooner = parts.settings.grace_period_s if heard.drain_s is None else heard.drain_s
            Thread(target=close, args=(sooner,), name="qanat-close", daemon=True).start()
    try:
        parts.series.record()
    except QanatError as error:
        log.warning("what passed at the last is in no series", reason=error.message)


def _in_thread(work: Callable[..., None], given: Mapping[str, float]) -> None:
    thread = Thread(target=work, kwargs=given, name="qanat-close")
    thread.start()
    thread.join()
