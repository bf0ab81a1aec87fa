"""A failed request as the edge tells it: the engine's own can only be made by the engine."""

from types import SimpleNamespace
from typing import cast

from qanat.api import RequestFailed


def failed_request(**told: object) -> RequestFailed:
    """One that reached no connector, but for what is said otherwise."""
    usual: dict[str, object] = {
        "request_id": "0123456789abcdef-lab01",
        "hostname": "app.example.test",
        "method": "GET",
        "path": "/x",
        "tunnel_id": None,
        "connection_id": None,
        "status": 530,
        "cause": "no_connection",
        "fault": "tunnel",
        "detail": "the tunnel has no connection",
        "started_at": 1_700_000_000.25,
        "duration_s": 0.001,
        "client_ip": "192.0.2.1",
        "hops": [("edge", 0.0, 0.001, "no_connection: the tunnel has no connection")],
    }
    return cast(RequestFailed, SimpleNamespace(**usual | told))
