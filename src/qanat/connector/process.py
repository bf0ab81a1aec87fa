"""One run of a connector: engine, endpoints, threads, signals, hand-over, exit code.

Two threads of ours besides the endpoints': the main one waits for signals and for commands of this host, `events` takes what
the engine tells. Nobody polls: at rest both sleep.
"""

import os
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qanat.connector import endpoints
from qanat.connector.configuration import CurrentConfiguration, local_document
from qanat.connector.connections import Connections
from qanat.connector.engine import (
    Connector,
    EngineError,
    OriginBounds,
    Registered,
    Stopped,
    __version__,
)
from qanat.connector.engine_settings import engine_settings
from qanat.connector.events import Events
from qanat.connector.handover import Predecessor
from qanat.connector.handover import Registered as InCharge
from qanat.connector.key_sets import KeySets
from qanat.connector.local_answers import LocalAnswers
from qanat.connector.log import Log
from qanat.connector.management.service import Facts, ManagementService
from qanat.connector.management.viewers import Viewers
from qanat.connector.options import Options
from qanat.connector.orders import Orders
from qanat.connector.reload import Reload
from qanat.connector.sources import OwnTunnel, Sources, configuration_flags
from qanat.connector.start_lines import tell_start
from qanat.connector.upgrade import Place, Upgrades
from qanat.descriptors import raise_limit
from qanat.errors import QanatError
from qanat.ids import ConnectorId
from qanat.succession.local_socket import LocalSocket
from qanat.systemd import ServiceManager

if TYPE_CHECKING:
    from qanat.connector.role.keeper import RoleKeeper

FAILED = 1
"""Exit code of a bad value, file or rule, or of a tunnel that gave up."""

SETTLE_S = 5.0
"""After its first connection a process that takes over waits so long for the others, and for its configuration."""


class Process:
    """One run of a connector."""

    def __init__(
        self,
        options: Options,
        sources: Sources,
        log: Log,
        gather_anew: Callable[[], Sources],
        predecessor: Predecessor | None = None,
        own_tunnel: OwnTunnel | None = None,
    ) -> None:
        self._options = options
        self._sources = sources
        self._gather_anew = gather_anew
        self._log = log
        self._connector_id = ConnectorId(str(uuid.uuid4()))
        self._exit_code = 0
        self._ending = False
        self._told_source = False
        self._predecessor = predecessor
        self._own_tunnel = own_tunnel
        self._settled_at = 0.0
        self._remotely_managed = False
        self._place = Place(bool(predecessor and predecessor.watched), bool(options.pidfile))
        self._manager = ServiceManager(in_charge=predecessor is None)
        self._orders = Orders(log)
        self._role: RoleKeeper | None = None
        if options.role_probe is not None:
            from qanat.connector.role import keeper  # few hosts have one

            self._role = keeper.RoleKeeper(options.role_probe, log)
        self._connections = Connections(
            log,
            self._manager,
            wanted=options.ha_connections,
            post_quantum=options.post_quantum,
            tell_trouble=self._tell_predecessor,
        )

    def run(self) -> int:
        raise_limit()
        tell_start(self._log, self._options, self._sources, self._connector_id)
        try:
            self._connector = self._make_connector()
            self._answers = LocalAnswers(
                self._options,
                self._connector,
                self._connector_id,
                self._connections,
                quick_hostname=self._sources.quick_hostname,
            )
            self._management = self._make_management()
            self._server = endpoints.listen(
                self._options.metrics,
                self._answers.of_endpoints(),
                is_own_hostname=self._leads_to_endpoints,
                place=self._sources.place("metrics"),
                inherited=self._predecessor.listeners(self._options.metrics) if self._predecessor else (),
                is_virtual=os.environ.get(endpoints.RUNTIME) == "virtual",
            )
            self._own_addresses = tuple(self._server.addresses)
            bounds = OriginBounds(allowed=self._options.allow_origins, own=self._own_addresses)
            self._key_sets = KeySets(self._connector, self._log)
            self._configuration = CurrentConfiguration(
                self._connector,
                self._log,
                bounds=bounds,
                key_sets=self._key_sets,
                max_active_flows=self._options.max_active_flows,
            )
            self._start_configuration()
            self._reload = Reload(
                self._gather_anew,
                self._sources,
                configuration=self._configuration,
                connector=self._connector,
                log=self._log,
            )
            self._answers.configuration, self._answers.reload = self._configuration, self._reload
            self._start_connector()
        except QanatError as error:
            self._tell_predecessor(str(error))
            self._log.fatal(error.message, code=error.code, where=error.where, fix=error.hint)
            return FAILED
        self._events = Events(
            self._log,
            connections=self._connections,
            configuration=self._configuration,
            key_sets=self._key_sets,
            management=self._management,
            registered=self._registered,
        )
        self._local_socket = LocalSocket("connector", self._connector_id)
        self._upgrades = Upgrades(
            self._log,
            self._manager,
            self._place,
            listeners=lambda: self._server.listeners,
            wanted=self._options.metrics,
            tunnel=self._own_tunnel,
            let_go=self._let_go,
            done=self._orders.tell_handed_over,
        )
        events = threading.Thread(target=self._take_events, name="events", daemon=True)
        events.start()
        self._reload.start()
        if self._role is not None:
            self._role.start()
        if self._predecessor is None:
            self._start_server()
            self._local_socket.listen()
        if self._options.prechecks and self._predecessor is None:
            threading.Thread(target=self._precheck, name="prechecks", daemon=True).start()
        if self._options.stdin_control:
            threading.Thread(target=self._take_commands, name="stdin", daemon=True).start()
        self._orders.follow(
            stop=self._stop,
            reload=self._reload.ask,
            upgrades=self._upgrades,
            ear=self._local_socket,
            describe=self._describe,
        )
        self._ending = True
        self._manager.stopping()
        if self._role is not None:
            self._role.stop()
        self._key_sets.close()
        self._connector.close()
        events.join(timeout=5)
        self._local_socket.close()
        if not self._upgrades.handed_over:
            self._server.stop()
        self._log.info("Tunnel server stopped")
        self._log.info("Metrics server stopped")
        self._upgrades.close()
        self._upgrades.become_watcher(self._orders.unheard)
        return self._exit_code or self._upgrades.failure()

    def _start_server(self) -> None:
        self._server.start()
        self._log.info(f"Starting metrics server on {self._server.address}/metrics")

    def _let_go(self) -> None:
        """A new process answers from here on: at the endpoints, and commands of this host."""
        self._server.stop()
        self._local_socket.close()

    def _stop(self) -> None:
        self._connector.stop()  # first: `/ready` says so from here on
        self._manager.stopping()
        self._management.viewers.end()

    def _make_connector(self) -> Connector:
        options = self._options
        try:
            connector = Connector(engine_settings(options, self._connector_id, tell_requests=self._log.writes("debug")))
        except EngineError as error:
            raise QanatError(f"engine_{error.code}", error.message) from error
        if options.local:
            connector.send_local_configuration(local_document(options.local, configuration_flags(self._sources)))
        return connector

    def _start_configuration(self) -> None:
        try:
            self._configuration.start(self._options.local)
        except QanatError as error:
            raise (self._sources.in_file(error) if self._sources.document.get("ingress") else error) from None

    def _start_connector(self) -> None:
        try:
            self._connector.start()
        except EngineError as error:
            raise QanatError(f"engine_{error.code}", error.message) from error

    def _make_management(self) -> ManagementService:
        options = self._options
        facts = Facts(
            connector_id=self._connector_id,
            tunnel_id=options.credentials.tunnel_id,
            account_tag=options.credentials.account_tag,
            label=options.label,
            service_op_ip=options.management.service_op_ip,
            diagnostics=self._answers.of_management(),
            role=self._role.answer if self._role is not None else None,
        )
        viewers = Viewers(
            on_change=lambda wanted: self._connector.tell_requests(wanted or self._log.writes("debug")),
            untold=lambda: self._connector.counters()["events_dropped"],
        )
        self._log.attend(viewers)
        return ManagementService(facts, viewers)

    def _leads_to_endpoints(self, hostname: str) -> bool:
        port = self._own_addresses[0].rpartition(":")[2]
        return self._configuration.has_rule_for(hostname, port)

    def _precheck(self) -> None:
        from qanat.connector import prechecks  # once, and never again

        hosted = self._options.edges.named_by == "hosted"
        prechecks.run(self._connector, self._log, protocol=self._options.protocol, hosted=hosted)

    def _take_commands(self) -> None:
        from qanat.connector import stdin_control

        stdin_control.take(sys.stdin, self._log, lambda delay_s: self._connector.reconnect(delay_s=delay_s))

    def _describe(self) -> dict[str, object]:
        return {
            "tunnel_id": self._options.credentials.tunnel_id,
            "connector_id": self._connector_id,
            "version": __version__,
            "metrics": self._server.address,
        }

    # ------------------------------------------------------------ events: their own thread
    def _take_events(self) -> None:
        patience_s = min(60.0, self._manager.watchdog_period_s or 60.0)
        try:
            while not self._ending:
                self._manager.alive()
                for event in self._connector.next_events(limit=256, timeout_s=min(patience_s, self._until_settled_s())):
                    if isinstance(event, Stopped):
                        return
                    self._events.handle(event)
                self._take_over()
                if self._connections.all_given_up:
                    self._log.fatal("No connection is left and none will be dialled again")
                    self._exit_code = FAILED
                    return
        except BaseException as error:
            self._exit_code = FAILED
            self._log.fatal("The connector failed", error=f"{type(error).__name__}: {error}")
            raise
        finally:
            self._orders.tell_ended()

    def _until_settled_s(self) -> float:
        if self._predecessor is None or not self._told_source:
            return 3600.0
        return max(0.0, self._settled_at - time.monotonic())

    def _take_over(self) -> None:
        """From the predecessor, once whatever it served can be served here."""
        if self._predecessor is None or not self._told_source:
            return
        is_complete = len(self._connections.up) >= self._options.ha_connections and (
            not self._remotely_managed or self._configuration.version >= 0
        )
        if not is_complete and self._until_settled_s() > 0:
            return
        self._local_socket.listen()
        self._predecessor.take_over(InCharge(os.getpid(), __version__, len(self._connections.up)))
        self._predecessor = None
        self._manager.take_over()
        self._start_server()
        self._take_charge()

    def _take_charge(self) -> None:
        """Others are told that this process serves."""
        self._manager.ready()
        if self._options.pidfile:
            self._write_pid(self._options.pidfile)

    def _registered(self, event: Registered) -> None:
        self._connections.registered(event)
        if self._told_source:
            return
        self._told_source = True
        self._remotely_managed = event.remotely_managed
        self._settled_at = time.monotonic() + SETTLE_S
        if event.remotely_managed and self._options.local:
            self._log.warn(
                "This tunnel is remotely managed: a configuration set there replaces the local ingress rules, "
                "which serve until one arrives",
                source=self._options.local_source,
            )
        elif not event.remotely_managed and not self._options.local:
            self._log.warn(
                "No ingress rules were defined in provided config (if any) nor from the cli, "
                "qanat will return 503 for all incoming HTTP requests"
            )
        if self._predecessor is None:
            self._take_charge()

    def _write_pid(self, path: str) -> None:
        try:
            Path(path).write_text(str(os.getpid()), encoding="ascii")
        except OSError as error:
            self._log.error(f"Unable to write pid to {path}", error=error.strerror)

    def _tell_predecessor(self, trouble: str) -> None:
        if self._predecessor:
            self._predecessor.tell_trouble(trouble)
