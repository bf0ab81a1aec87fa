"""A typed client of the v4 API, for the CLI, the demo and tests."""

from qanat.client.api import ApiRefusedError, Client
from qanat.client.shapes import (
    Account,
    Configuration,
    Connection,
    Connector,
    Record,
    TokenStatus,
    Tunnel,
    TunnelDetail,
    Zone,
)

__all__ = [
    "Account",
    "ApiRefusedError",
    "Client",
    "Configuration",
    "Connection",
    "Connector",
    "Record",
    "TokenStatus",
    "Tunnel",
    "TunnelDetail",
    "Zone",
]
