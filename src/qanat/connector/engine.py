"""The connector's door to the engine: the only module of this room that imports `qanat._engine`."""

from qanat._engine import (
    ConfigurationPushed,
    Connector,
    ConnectorEvent,
    ConnectorSettings,
    Disconnected,
    EngineError,
    EngineWarning,
    OriginBounds,
    OriginFailed,
    ProtocolFallback,
    Refused,
    Registered,
    RequestCanceled,
    Stopped,
    __version__,
)

__all__ = [
    "ConfigurationPushed",
    "Connector",
    "ConnectorEvent",
    "ConnectorSettings",
    "Disconnected",
    "EngineError",
    "EngineWarning",
    "OriginBounds",
    "OriginFailed",
    "ProtocolFallback",
    "Refused",
    "Registered",
    "RequestCanceled",
    "Stopped",
    "__version__",
]
