"""The connector's door to the engine: the only module of this room that imports `qanat._engine`."""

from typing import TYPE_CHECKING

from qanat._engine import (
    ConfigurationPushed,
    Connector,
    ConnectorEvent,
    Disconnected,
    Doubted,
    EngineError,
    EngineWarning,
    KeySetWanted,
    ManagementAsked,
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

if TYPE_CHECKING:  # dicts, of which only the stub knows
    from qanat._engine import CallSnapshot as CallSnapshot
    from qanat._engine import ConnectorSettings as ConnectorSettings
    from qanat._engine import ConnectorSnapshot as ConnectorSnapshot
    from qanat._engine import EdgePlace as EdgePlace
    from qanat._engine import Histogram as Histogram
    from qanat._engine import HttpProxy as HttpProxy
    from qanat._engine import NameServer as NameServer
    from qanat._engine import QuicSnapshot as QuicSnapshot

__all__ = [
    "ConfigurationPushed",
    "Connector",
    "ConnectorEvent",
    "Disconnected",
    "Doubted",
    "EngineError",
    "EngineWarning",
    "KeySetWanted",
    "ManagementAsked",
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
