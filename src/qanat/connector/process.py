"""`qanat tunnel run` itself: options, engine, events, signals, exit code.

Two threads of ours besides the endpoints': the main one waits for signals, `events` takes what the engine tells. Nobody
polls: at rest both sleep.
"""

import os
import platform
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import msgspec
from msgspec import structs

from qanat.called import called
from qanat.connector import endpoints, flags, metrics
from qanat.connector.configuration import CurrentConfiguration, local_document
from qanat.connector.credentials import name_to_look_up
from qanat.connector.engine import (
    ConfigurationPushed,
    Connector,
    ConnectorEvent,
    Disconnected,
    EngineError,
    EngineWarning,
    OriginBounds,
    OriginFailed,
    ProtocolFallback,
    Refused,
    Registered,
    RequestAnswered,
    RequestCanceled,
    RequestReceived,
    Stopped,
    Unregistered,
    __version__,
)
from qanat.connector.log import CONTROL, HTTP, LineFile, Log
from qanat.connector.log_file import RollingFile
from qanat.connector.options import LogOptions, Options, log_options, read_options
from qanat.connector.reload import Reload
from qanat.connector.request_lines import log_answer, log_request
from qanat.connector.sources import Sources, configuration_flags, gather, shown_environment
from qanat.descriptors import raise_limit
from qanat.errors import QanatError, render
from qanat.ids import ConnectorId
from qanat.systemd import ServiceManager

if TYPE_CHECKING:
    from qanat.connector.engine import ConnectorSettings

USAGE = 255
"""Exit code of a command line or token that is none, as stock cloudflared's. Stock ends with 0 where a flag is unknown."""
FAILED = 1
"""Of everything else: a bad value, file or rule, or a tunnel that gave up."""

WORKER_THREADS = 0
"""Half of the cores, at least one."""
MAX_UNREAD_BYTES = 0
"""An eighth of the memory."""
EVENT_QUEUE = 8192

_USAGE_CODES = ("usage", "token_missing", "token_invalid", "token_file_unreadable")

_ENDED = b"\0"
_SIGNAL_NAMES = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupt"}
_HANG_UP = getattr(signal, "SIGHUP", None)
_HARMLESS = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""Their default would end the process. A stock connector takes no notice of the last two either."""


def main(arguments: Sequence[str], *, tunnel_id_of: Callable[[str, flags.CommandLine], str] | None = None) -> int:
    """Runs a connector until it is told to stop; the process's exit code. `tunnel_id_of` asks the API about a tunnel's name."""
    try:
        command_line = flags.read_command_line(arguments)
        if command_line.help:
            print(flags.help_text())
            return 0
        environment = _environment()
        sources = gather(command_line, environment)
        log = _open_log(log_options(sources))
        name = name_to_look_up(sources)
        if name is not None and tunnel_id_of is not None:
            sources = structs.replace(sources, tunnel=tunnel_id_of(name, command_line))
        options = read_options(sources)
    except QanatError as error:
        print(render(error), file=sys.stderr)
        if error.code not in _USAGE_CODES:
            return FAILED
        print(f"See '{called()} tunnel run --help'.", file=sys.stderr)
        return USAGE
    return Process(options, sources, log, lambda: gather(command_line, environment, path=sources.path)).run()


def _environment() -> dict[str, str]:
    """With the user's home: a service has none of its own, and stock asks the system then."""
    environment = dict(os.environ)
    if not environment.get("HOME"):
        environment["HOME"] = os.path.expanduser("~")  # noqa: PTH111
    return environment


class Process:
    """One run of a connector."""

    def __init__(self, options: Options, sources: Sources, log: Log, gather_anew: Callable[[], Sources]) -> None:
        self._options = options
        self._sources = sources
        self._gather_anew = gather_anew
        self._log = log
        self._connector_id = ConnectorId(str(uuid.uuid4()))
        self._locations: dict[int, str] = {}
        self._given_up: set[int] = set()
        self._exit_code = 0
        self._ending = False
        self._told_source = False
        self._manager = ServiceManager()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)

    def run(self) -> int:
        raise_limit()
        self._catch_signals()
        self._log_start()
        try:
            self._connector = self._make_connector()
            server = endpoints.listen(
                self._options.metrics,
                self._endpoints(),
                is_own_hostname=self._leads_to_endpoints,
                place=self._sources.place("metrics"),
            )
            self._own_addresses = tuple(server.addresses)
            bounds = OriginBounds(allowed=self._options.allow_origins, own=self._own_addresses)
            self._configuration = CurrentConfiguration(self._connector, self._log, bounds=bounds)
            self._start_configuration()
            self._reload = Reload(
                self._gather_anew,
                self._sources,
                configuration=self._configuration,
                connector=self._connector,
                log=self._log,
            )
            self._start_connector()
        except QanatError as error:
            self._log.fatal(error.message, code=error.code, where=error.where, fix=error.hint)
            return FAILED
        events = threading.Thread(target=self._take_events, name="events", daemon=True)
        events.start()
        self._reload.start()
        server.start()
        self._log.info(f"Starting metrics server on {server.address}/metrics")
        self._wait()
        self._ending = True
        self._manager.stopping()
        self._connector.close()
        events.join(timeout=5)
        server.stop()
        self._log.info("Tunnel server stopped")
        self._log.info("Metrics server stopped")
        return self._exit_code

    def _log_start(self) -> None:
        options, log = self._options, self._log
        for warning in options.warnings:
            log.warn(warning)
        log.info("Starting tunnel", tunnelID=options.credentials.tunnel_id)
        log.info(f"Version {__version__}")
        log.info(f"OS: {platform.system().lower()}, Python: {platform.python_version()}, Arch: {_architecture()}")
        if options.settings:
            log.info(f"Settings: {_go_map(options.settings)}")
        if self._sources.environment:
            log.info(f"Environmental variables {_go_map(shown_environment(self._sources.environment))}")
        log.info(f"Generated Connector ID: {self._connector_id}")
        log.info(f"Initial protocol {'http2' if options.protocol == 'http2' else 'quic'}")

    def _make_connector(self) -> Connector:
        options = self._options
        try:
            connector = Connector(self._settings())
        except EngineError as error:
            raise QanatError(f"engine_{error.code}", error.message) from error
        if options.local:
            connector.send_local_configuration(local_document(options.local, configuration_flags(self._sources)))
        return connector

    def _settings(self) -> "ConnectorSettings":
        options = self._options
        return {
            "account_tag": options.credentials.account_tag,
            "tunnel_id": options.credentials.tunnel_id,
            "tunnel_secret": options.credentials.secret,
            "connector_id": self._connector_id,
            "edges": options.edges,
            "version": f"qanat/{__version__}",
            "edge_ca_pem": options.edge_ca_pem,
            "edge_ip_version": options.edge_ip_version,
            "edge_bind_address": options.edge_bind_address,
            "post_quantum": options.post_quantum,
            "protocol": options.protocol,
            "ha_connections": options.ha_connections,
            "congestion": options.congestion,
            "grace_period_s": options.grace_period_s,
            "rpc_timeout_s": options.rpc_timeout_s,
            "dial_timeout_s": options.dial_timeout_s,
            "retries": options.retries,
            "worker_threads": WORKER_THREADS,
            "max_unread_bytes": MAX_UNREAD_BYTES,
            "event_queue": EVENT_QUEUE,
            "tell_requests": self._log.tells("debug"),
            "tags": options.tags,
            "features": options.features,
        }

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

    def _endpoints(self) -> endpoints.Endpoints:
        return {
            "/ready": self._ready,
            "/healthcheck": lambda: endpoints.text("OK\n"),
            "/metrics": self._metrics,
            "/config": lambda: endpoints.json(self._configuration.as_json()),
            "/quicktunnel": lambda: endpoints.json(b'{"hostname":""}'),
        }

    def _leads_to_endpoints(self, hostname: str) -> bool:
        port = self._own_addresses[0].rpartition(":")[2]
        return self._configuration.has_rule_for(hostname, port)

    def _ready(self) -> endpoints.Answer:
        up = self._connector.ready_connections()
        status = 200 if up else 503
        body = {"status": status, "readyConnections": up, "connectorId": self._connector_id}
        return endpoints.json(msgspec.json.encode(body), status)

    def _metrics(self) -> endpoints.Answer:
        body = metrics.render(
            self._connector.counters(),
            version=__version__,
            configuration_version=self._configuration.version,
            locations=dict(self._locations),
            tunnel_id=self._options.credentials.tunnel_id,
        )
        return endpoints.Answer(200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", body.encode())

    # ------------------------------------------------------------ signals: the main thread
    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        for number in (*_SIGNAL_NAMES, *_HARMLESS):
            signal.signal(number, lambda _number, _frame: None)  # the pipe tells; this keeps the default off

    def _wait(self) -> None:
        """Until the events thread ends, or a second signal asks for the end at once."""
        stopping = False
        while True:
            for byte in os.read(self._wake_reader, 64):
                if byte == _ENDED[0]:
                    return
                number = signal.Signals(byte)
                name = _SIGNAL_NAMES.get(number)
                if number == _HANG_UP:
                    self._reload.ask()
                if name is None:
                    continue
                if stopping:
                    self._log.info(f"Ending at once due to a second signal {name} ...")
                    return
                stopping = True
                self._manager.stopping()
                self._log.info(f"Initiating graceful shutdown due to signal {name} ...")
                self._connector.stop()

    # ------------------------------------------------------------ events: their own thread
    def _take_events(self) -> None:
        patience_s = min(60.0, self._manager.watchdog_period_s or 60.0)
        try:
            while not self._ending:
                self._manager.alive()
                for event in self._connector.next_events(limit=256, timeout_s=patience_s):
                    if isinstance(event, Stopped):
                        return
                    self._handle(event)
                if len(self._given_up) >= self._options.ha_connections:
                    self._log.fatal("No connection is left and none will be dialled again")
                    self._exit_code = FAILED
                    return
        except BaseException as error:
            self._exit_code = FAILED
            self._log.fatal("The connector failed", error=f"{type(error).__name__}: {error}")
            raise
        finally:
            with suppress(OSError):
                os.write(self._wake_writer, _ENDED)

    def _handle(self, event: ConnectorEvent) -> None:
        match event:
            case Registered():
                self._registered(event)
            case ConfigurationPushed():
                self._configuration.apply(event)
            case OriginFailed():
                self._log.error(
                    "",
                    error=event.message,
                    connIndex=event.connection_index,
                    event=HTTP,
                    ingressRule=event.rule,
                    originService=event.service,
                )
                self._log.error(
                    "Request failed",
                    error=event.message,
                    connIndex=event.connection_index,
                    dest=event.destination.partition("?")[0],  # queries hold secrets (S39)
                    event=CONTROL,
                    type="http",
                )
            case RequestCanceled():
                self._log.debug(
                    "Request canceled", connIndex=event.connection_index, dest=event.destination, event=HTTP
                )
            case RequestReceived():
                log_request(self._log, event)
            case RequestAnswered():
                log_answer(self._log, event)
            case Unregistered():
                self._locations.pop(event.connection_index, None)
                self._tell_manager()
                self._log.info(
                    "Unregistered tunnel connection",
                    connIndex=event.connection_index,
                    event=CONTROL,
                    ip=event.edge_ip,
                )
            case Disconnected():
                self._disconnected(event.connection_index, event.edge_ip, event.reason, event.retry_in_s)
            case Refused():
                self._log.error(
                    "Register tunnel error from server side",
                    error=event.cause,
                    connIndex=event.connection_index,
                    event=CONTROL,
                    ip=event.edge_ip,
                )
                self._tell_manager(f"the edge refuses it: {event.cause}")
                self._retrying(event.connection_index, event.edge_ip, event.retry_in_s)
            case ProtocolFallback():
                self._log.info(
                    f"Switching to fallback protocol {event.protocol}",
                    connIndex=event.connection_index,
                    event=CONTROL,
                )
            case EngineWarning():
                if not self._log.tells_transport("error" if event.level == "error" else "warn"):
                    return
                line = self._log.error if event.level == "error" else self._log.warn
                told: dict[str, str | int] = {
                    name: text for name, text in event.fields if name not in ("level", "time", "message")
                }
                line(event.message, **{**told, "event": CONTROL, "moreLikeIt": event.held_back})
            case Stopped():
                pass  # nothing follows it: `_take_events` ends there
            case _:
                assert_never(event)

    def _registered(self, event: Registered) -> None:
        self._locations[event.connection_index] = event.location
        self._given_up.discard(event.connection_index)
        self._log.info(
            "Registered tunnel connection",
            connIndex=event.connection_index,
            connection=event.connection_id,
            event=CONTROL,
            ip=event.edge_ip,
            location=event.location,
            protocol=event.protocol,
        )
        self._tell_manager()
        if self._told_source:
            return
        self._told_source = True
        self._manager.ready()
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
        if self._options.pidfile:
            self._write_pid(self._options.pidfile)

    def _write_pid(self, path: str) -> None:
        try:
            Path(path).write_text(str(os.getpid()), encoding="ascii")
        except OSError as error:
            self._log.error(f"Unable to write pid to {path}", error=error.strerror)

    def _disconnected(self, index: int, edge_ip: str, reason: str, retry_in_s: float | None) -> None:
        if self._locations.pop(index, None) is not None:
            self._log.info("Lost connection with the edge", connIndex=index, error=reason, event=CONTROL, ip=edge_ip)
        else:
            self._log.error(
                "Unable to establish connection with the edge", connIndex=index, error=reason, event=CONTROL, ip=edge_ip
            )
        self._tell_manager(reason)
        self._retrying(index, edge_ip, retry_in_s)

    def _tell_manager(self, trouble: str = "") -> None:
        """`systemctl status` says how many connections are up, and what the trouble is when none is (case 44)."""
        up, wanted = len(self._locations), self._options.ha_connections
        self._manager.status(f"{up} of {wanted} connections" if up else f"not connected: {trouble or 'no connection'}")

    def _retrying(self, index: int, edge_ip: str, retry_in_s: float | None) -> None:
        if retry_in_s is None:
            self._given_up.add(index)
        else:
            text = f"Retrying connection in up to {max(1, round(retry_in_s))}s"
            self._log.info(text, connIndex=index, event=CONTROL, ip=edge_ip)


def _open_log(options: LogOptions) -> Log:
    """A file that can't be written to costs its lines and not the tunnel, as in stock."""
    path = options.file or options.folder
    file: LineFile | None = None
    failure = ""
    try:
        if options.file:
            Path(options.file).parent.mkdir(mode=0o744, parents=True, exist_ok=True)
            file = Path(options.file).open("a", encoding="utf-8")  # noqa: SIM115 - open until the process ends
        elif options.folder:
            file = RollingFile(options.folder)
    except OSError as error:
        failure = error.strerror or "it can't be opened"
    log = Log(level=options.level, transport_level=options.transport_level, json=options.json, file=file)
    for warning in options.warnings:
        log.error(warning)
    if failure:
        log.error("The log can't be written to a file as well", file=path, error=failure)
    return log


def _go_map(values: dict[str, str]) -> str:
    return f"map[{' '.join(f'{key}:{values[key]}' for key in sorted(values))}]"


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
