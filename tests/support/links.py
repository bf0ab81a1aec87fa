"""Connections in a store as the edge's events would make them, where no engine runs."""

from uuid import uuid4

from qanat.control import connections
from qanat.store import Store


def register(store: Store, tunnel_id: str, connector_id: str, index: int = 0, *, token_id: str = "") -> str:
    """A live connection; its id."""
    connection_id = str(uuid4())
    with store.recording() as write:
        connections.registered(
            write,
            connection_id=connection_id,
            tunnel_id=tunnel_id,
            connector_id=connector_id,
            index=index,
            protocol="quic",
            origin_ip="192.0.2.9",
            location="lab01",
            version="2026.8.0",
            arch="linux_amd64",
            features=["allow_remote_config"],
            at=write.at,
            token_id=token_id,
        )
    return connection_id


def lose(store: Store, connection_id: str, reason: str = "timed_out") -> None:
    """The connection ends."""
    with store.recording() as write:
        connections.lost(write, connection_id=connection_id, reason=reason, at=write.at)
