"""The connector's door to the engine: the only module of this room that imports `qanat._engine`."""

from typing import TYPE_CHECKING

from qanat._engine import (
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

if TYPE_CHECKING:  # a dict, of which only the stub knows
    from qanat._engine import ConnectorSettings as ConnectorSettings

__all__ = [
    "ConfigurationPushed",
    "Connector",
    "ConnectorEvent",
    "Disconnected",
    "EngineError",
    "EngineWarning",
    "OriginBounds",
    "OriginFailed",
    "ProtocolFallback",
    "Refused",
    "Registered",
    "RequestAnswered",
    "RequestCanceled",
    "RequestReceived",
    "Stopped",
    "Unregistered",
    "__version__",
]
