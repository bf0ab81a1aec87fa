"""The control API of a running edge. It is loaded when requests are served already: it takes longer to load than all the rest."""

import socket
from collections.abc import Callable, Mapping, Sequence

import structlog

from qanat import __version__
from qanat.api.app import create_app
from qanat.api.http.context import Context
from qanat.auth.management import ManagementKey
from qanat.certificates.stored import GivenFile
from qanat.control.quick_tunnels import QuickLimits
from qanat.cutover.edge import CutoverEdge
from qanat.edge.alerter import sending_of
from qanat.edge.dashboard import Beside
from qanat.edge.data_dir import State
from qanat.edge.listen import LocalSocket
from qanat.edge.place import own_names
from qanat.edge.running import RunningEdge
from qanat.edge.server import ApiServer
from qanat.errors import QanatError
from qanat.settings import EdgeSettings
from qanat.store.skipped import SkippedRows

log = structlog.get_logger(__name__)


class ControlApi:
    """The application and what it works on."""

    def __init__(
        self,
        state: State,
        live: RunningEdge,
        settings: EdgeSettings,
        *,
        management: ManagementKey,
        found_by: Mapping[str, str],
        quick: QuickLimits | None,
        skipped: SkippedRows,
        cutover_edge: CutoverEdge,
        certificate_files: Callable[[], Sequence[bytes]],
        given_files: Callable[[], Sequence[GivenFile]],
    ) -> None:
        self._live = live
        self._settings = settings
        self._context = Context(
            store=state.store,
            keys=state.keys,
            live=live,
            location=settings.location,
            version=__version__,
            hosts=frozenset(settings.control.hosts) | own_names(settings),
            own_endpoints=settings.control.own_endpoints,
            name_servers=settings.dns.name_servers,
            redirects_http=settings.public.http_mode == "redirect",
            legacy_keys=settings.control.legacy_keys,
            management=management,
            found_by=found_by,
            quick=quick,
            skipped=skipped,
            certificate_files=certificate_files,
            given_files=given_files,
            most_certificates=settings.account_limits.certificates,
            cutover_edge=cutover_edge,
            cutover_policy=settings.control.cutover_policy,
            cutover_watch=settings.control.cutover_watch,
            metrics_hostnames=settings.metrics.hostnames,
            oidc=settings.control.oidc,
            sending=sending_of(settings),
        )

    def serve(self, where: socket.socket, *, local: LocalSocket | None, connections: int) -> ApiServer:
        """Started; whoever gets it stops it."""
        api = create_app(self._context)
        if not self._settings.control.dashboard:
            server = ApiServer(api, where, local=local, connections=connections)
        else:
            beside = Beside(api, self._context, self._live, probing=self._settings.probes.enabled)
            server = ApiServer(beside, where, local=local, connections=connections, ending=[beside.close])
        server.start()
        return server

    def note_failed_logins(self) -> None:
        """Now and then."""
        self._context.failed_logins.flush()

    def flush_failed_logins(self) -> None:
        """At the end, when the API answers no more."""
        try:
            self._context.failed_logins.flush(all_now=True)
        except QanatError as error:
            log.error("failed log-ins could not be noted", reason=error.message)
