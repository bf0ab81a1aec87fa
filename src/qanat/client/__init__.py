"""A typed client of the v4 API, for the CLI, the demo and tests."""

from qanat.client.api import TUNNEL_SUFFIX, ApiRefusedError, Client
from qanat.client.shapes import (
    Account,
    AuditRow,
    Certificate,
    Configuration,
    Connection,
    Connector,
    ConnectorToken,
    ImportReport,
    PrivateRoute,
    Record,
    Token,
    TokenStatus,
    Tunnel,
    TunnelDetail,
    VirtualNetwork,
    Zone,
)

__all__ = [
    "TUNNEL_SUFFIX",
    "Account",
    "ApiRefusedError",
    "AuditRow",
    "Certificate",
    "Client",
    "Configuration",
    "Connection",
    "Connector",
    "ConnectorToken",
    "ImportReport",
    "PrivateRoute",
    "Record",
    "Token",
    "TokenStatus",
    "Tunnel",
    "TunnelDetail",
    "VirtualNetwork",
    "Zone",
]
