"""What the engine tells, event by event, and whom each concerns."""

from collections.abc import Callable
from typing import assert_never

from qanat.connector.configuration import CurrentConfiguration
from qanat.connector.connections import Connections
from qanat.connector.engine import (
    ConfigurationPushed,
    ConnectorEvent,
    Disconnected,
    Doubted,
    EngineWarning,
    KeySetWanted,
    ManagementAsked,
    OriginFailed,
    ProtocolFallback,
    Refused,
    Registered,
    RequestAnswered,
    RequestCanceled,
    RequestReceived,
    Stopped,
    Unregistered,
)
from qanat.connector.key_sets import KeySets
from qanat.connector.log import CONTROL, Log
from qanat.connector.management.service import ManagementService
from qanat.connector.request_lines import log_answer, log_cancel, log_failure, log_request


class Events:
    """Takes them on one thread."""

    def __init__(
        self,
        log: Log,
        *,
        connections: Connections,
        configuration: CurrentConfiguration,
        key_sets: KeySets,
        management: ManagementService,
        registered: Callable[[Registered], None],
    ) -> None:
        self._log = log
        self._connections = connections
        self._configuration = configuration
        self._key_sets = key_sets
        self._management = management
        self._registered = registered

    def handle(self, event: ConnectorEvent) -> None:
        """Tells whom it concerns."""
        match event:
            case Registered():
                self._registered(event)
            case ConfigurationPushed():
                self._configuration.apply(event)
            case KeySetWanted():
                self._key_sets.want(event.issuer)
            case OriginFailed():
                log_failure(self._log, event, edge_ip=self._connections.edge_ip(event.connection_index))
            case RequestCanceled():
                log_cancel(self._log, event)
            case RequestReceived():
                if self._is_told():
                    log_request(self._log, event)
            case RequestAnswered():
                if self._is_told():
                    log_answer(self._log, event)
            case ManagementAsked():
                self._management.take(event.socket)
            case Unregistered():
                self._connections.unregistered(event)
            case Disconnected():
                self._connections.disconnected(event)
            case Doubted():
                self._connections.doubted(event)
            case Refused():
                self._connections.refused(event)
            case ProtocolFallback():
                self._connections.fell_back(event)
            case EngineWarning():
                if not self._log.tells_transport("error" if event.level == "error" else "warn"):
                    return
                line = self._log.error if event.level == "error" else self._log.warn
                told: dict[str, str | int] = {
                    name: text for name, text in event.fields if name not in ("level", "time", "message")
                }
                line(event.message, **{**told, "event": CONTROL, "moreLikeIt": event.held_back})
            case Stopped():
                pass  # nothing follows it: who takes events ends there
            case _:
                assert_never(event)

    def _is_told(self) -> bool:
        return self._log.writes("debug") or self._management.viewers.spares_a_line()
