"""What one process alone may do for a data directory: promotions, cutovers, certificates, probes, alerts, chores, and the
control API with its writes. Begun and ended as a whole: at an upgrade the one that runs ends it before the new one begins it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING

import structlog

from qanat.auth.management import ManagementKey
from qanat.edge import engine
from qanat.edge.alerter import Alerter, sending_of
from qanat.edge.certificates import Certificates, GivenCertificates
from qanat.edge.chores import Chores
from qanat.edge.data_dir import State
from qanat.edge.engine_settings import quick_limits
from qanat.edge.failures import Failures
from qanat.edge.feed import Feed
from qanat.edge.listen import LocalSocket
from qanat.edge.listeners import Listeners
from qanat.edge.place import own_names
from qanat.edge.presence import Presence
from qanat.edge.pressure import Pressure
from qanat.edge.prober import Prober
from qanat.edge.promoter import Promoter
from qanat.edge.promotions import Promotions
from qanat.edge.roles import ASKED_EVERY_S, Roles, by_probes
from qanat.edge.running import RunningEdge
from qanat.edge.steering import Both
from qanat.health.health import Health
from qanat.health.probing import Probes
from qanat.series import Recorder
from qanat.series.recorder import EVERY_S as SERIES_S
from qanat.settings import EdgeSettings
from qanat.store.skipped import SkippedRows

if TYPE_CHECKING:
    from qanat.alerts.look import Look
    from qanat.alerts.sending import Sending
    from qanat.control.quick_tunnels import QuickLimits
    from qanat.edge.control import ControlApi
    from qanat.edge.cutover_runner import CutoverRunner
    from qanat.edge.metrics_listener import MetricsListener
    from qanat.edge.server import ApiServer

CATCH_UP_S = 1.0
MEMORY_S = 1.0
SECOND_S = 1.0
QUICK_S = 10.0
HOUR_S = 3600.0
FAILED_LOGINS_S = 10.0
READ_CERTIFICATES = "read given certificates"
RENEW_CERTIFICATES = "renew certificates"
API_NOTICE_S = 0.4
"""For clients of the API to hear that their connections close, before another process answers."""
PROMOTION_S = 35.0
"""Longer than a promotion may hold requests: one that is under way is not undone for an upgrade."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The running edge, piece by piece; all of it lasts as long as the process. `steering`: of this process's engine, and of the
    one that it takes over from. `api_connections`: most of them."""

    settings: EdgeSettings
    state: State
    engine: engine.Edge
    steering: Both
    listeners: Listeners
    local: LocalSocket | None
    live: RunningEdge
    feed: Feed
    certificates: Certificates
    given: GivenCertificates
    found_by: Mapping[str, str]
    management: ManagementKey
    presence: Presence
    probes: Probes
    health: Health
    failures: Failures
    series: Recorder
    skipped: SkippedRows
    api_connections: int


class Duties:
    """From `steer` and `begin` to `end`, once."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ends: list[Callable[[], object]] = []
        store = parts.state.store
        self._promotions = Promotions(store, parts.steering, put=parts.feed.put, facts=parts.live.node)
        self._promoter = Promoter(store, parts.presence, parts.live.node)
        self._prober = Prober(
            store,
            parts.probes,
            parts.health,
            route_of=parts.live.tunnel_of,
            enabled=parts.settings.probes.enabled,
            per_second=parts.settings.probes.per_second,
        )
        self._alerter = Alerter(store, parts.state.sealer, parts.live.alerts, self._alerting)
        self._control: ControlApi | None = None
        self._chores: Chores | None = None
        self._cutovers: CutoverRunner | None = None
        self._api: ApiServer | None = None
        self._metrics: MetricsListener | None = None

    def steer(self) -> None:
        """Promotions, which must be there before requests are served."""
        self._promotions.start()
        self._ends.append(self._parts.health.changed(lambda tunnel_id, _token_id: self._promoter.touch(tunnel_id)))
        self._promoter.start()

    def load(self) -> "ControlApi":
        """The control API's code (half of all that is loaded), and the API that is made of it."""
        from qanat.edge.control import ControlApi
        from qanat.edge.cutover_edge import RunningCutoverEdge
        from qanat.edge.cutover_runner import CutoverRunner

        if self._control is None:
            parts = self._parts
            cutover_edge = RunningCutoverEdge(parts.engine, parts.steering, parts.probes, parts.health)
            self._cutovers = CutoverRunner(parts.state.store, cutover_edge)
            self._control = ControlApi(
                parts.state,
                parts.live,
                parts.settings,
                management=parts.management,
                found_by=parts.found_by,
                quick=self._quick,
                skipped=parts.skipped,
                cutover_edge=cutover_edge,
                certificate_files=lambda: parts.certificates.given_chains,
                given_files=parts.given.files,
            )
        return self._control

    def begin(self) -> None:
        """The rest. The API is answered first: who comes meanwhile waits for it."""
        control = self.load()
        parts = self._parts
        self._api = control.serve(parts.listeners.api, local=parts.local, connections=parts.api_connections)
        self._prober_ends = self._prober.start()
        self._chores = Chores(self._tasks(control))
        self._chores.start()
        self._alerter.start()
        if self._cutovers is not None:
            self._cutovers.start()
        if parts.settings.acme.email:
            self._ends.append(_start_issuer(parts))
        if parts.listeners.metrics is not None:
            self._serve_metrics()

    def hurry(self, *chores: str) -> None:
        """At the next tick."""
        if self._chores is not None:
            self._chores.hurry(*chores)

    def stop(self) -> None:
        """All of it, the API last, for everything that takes time and serves no request is to end while requests are served."""
        self._alerter.stop()
        for end in self._ends:
            end()
        self._ends.clear()
        if self._chores is not None:
            self._prober_ends()
            self._prober.stop()
        self._promoter.stop()
        self._promotions.stop()
        if self._chores is not None:
            self._chores.stop()
        if self._cutovers is not None and self._chores is not None:
            self._cutovers.stop()
        if self._api is not None:
            self._api.stop()
        if self._control is not None:
            self._control.flush_failed_logins()
        if self._metrics is not None:
            self._metrics.stop()

    def end_streams(self) -> None:
        """Open pages of the dashboard are told no more: a drain would wait for them."""
        if self._api is not None:
            self._api.end_streams()

    def leave(self, *, also_records: bool) -> None:
        """Ends for another process, with nothing half done: from here on this one writes no decision, nor (`also_records`) what
        merely happens."""
        self._promotions.settled(timeout_s=PROMOTION_S)
        self._alerter.stop()
        if self._api is not None:
            self._api.leave()
            Event().wait(API_NOTICE_S)
        self.stop()
        self._parts.state.store.leave_to_other(also_records=also_records)
        if self._parts.state.lease is not None:
            self._parts.state.lease.close()

    def _alerting(self) -> "tuple[Look, Sending]":
        from qanat.alerts.look import Look

        parts, sending = self._parts, sending_of(self._parts.settings)
        look = Look(
            parts.state.store,
            parts.health,
            probing=parts.settings.probes.enabled,
            files=lambda: parts.certificates.given_chains,
            url=sending.url,
        )
        return look, sending

    @property
    def _quick(self) -> "QuickLimits | None":
        return quick_limits(self._parts.settings.control.quick_tunnels)

    def _tasks(self, control: "ControlApi") -> list[tuple[str, float, Callable[[], object]]]:
        # Loaded when requests are served already.
        from qanat.edge.sweeps import end_connector_tokens, end_quick_tunnels, forget_deleted, trim

        parts, store = self._parts, self._parts.state.store
        expiry = timedelta(seconds=parts.settings.control.quick_tunnels.expiry_s)
        roles = Roles(store, parts.presence, parts.management, by_probes(parts.probes))
        pressure = Pressure(parts.engine, memory_bytes=parts.settings.limits.memory_bytes)
        lease = parts.state.lease
        return [
            *([("hold the database", CATCH_UP_S, lease.keep)] if lease is not None else []),
            ("look at the memory", MEMORY_S, pressure.look),
            ("catch up", CATCH_UP_S, parts.feed.catch_up),
            ("settle promotions", CATCH_UP_S, self._promotions.settle),
            ("ask for roles", ASKED_EVERY_S, roles.look),
            ("end connector tokens", CATCH_UP_S, lambda: end_connector_tokens(store, parts.skipped)),
            (
                "end quick tunnels",
                min(QUICK_S, expiry.total_seconds()),
                lambda: end_quick_tunnels(store, parts.skipped, expiry=expiry),
            ),
            (READ_CERTIFICATES, HOUR_S, lambda: parts.certificates.give(parts.given.load())),
            (RENEW_CERTIFICATES, HOUR_S, parts.feed.refresh_routes),
            ("note failed log-ins", FAILED_LOGINS_S, control.note_failed_logins),
            ("keep failed requests", SECOND_S, parts.failures.write),
            ("list requests", SECOND_S, parts.live.request_lists.look),
            ("record what passed", SERIES_S, parts.series.record),
            ("trim", HOUR_S, lambda: trim(store)),
            ("forget", HOUR_S, lambda: forget_deleted(store)),
        ]

    def _serve_metrics(self) -> None:
        from qanat.edge.metrics_listener import MetricsListener
        from qanat.health.metrics import exposed

        parts = self._parts
        assert parts.listeners.metrics is not None
        self._metrics = MetricsListener(
            parts.listeners.metrics.dup(),  # which it closes
            lambda: exposed(parts.live, most_hostnames=parts.settings.metrics.hostnames),
        )
        self._metrics.start()
        log.info("metrics", url=self._metrics.url)


def _start_issuer(parts: Parts) -> Callable[[], None]:
    """Certificates are ordered from now on; returns what ends that."""
    from qanat.edge.challenges import Challenges
    from qanat.edge.issuer import Issuer  # and with it an HTTP client, only where it is used

    settings, public = parts.settings, parts.settings.public
    is_ours = public.management_hostname != type(public).model_fields["management_hostname"].default
    shown_on = {"http-01": public.http, "tls-alpn-01": public.https}
    issuer = Issuer(
        parts.state.store,
        parts.state.keys.sealer,
        Challenges(parts.engine),
        settings.acme,
        own=[*([public.management_hostname] if is_ours and public.management_hostname else []), *own_names(settings)],
        given=lambda: parts.certificates.given_names,
        kinds=[kind for kind in settings.acme.challenges if shown_on.get(kind, "") is not None],
        most_of_account=settings.account_limits.certificates,
        skipped=parts.skipped,
    )
    return issuer.start()
