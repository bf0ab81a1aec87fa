"""Tunnels, connectors and connections as the API answers them: the description, and the rows told in it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from qanat.api.http.envelope import rfc3339
from qanat.api.http.shapes import Shape
from qanat.control import tunnels
from qanat.control.tunnel_status import ConnectorStatus, Status, TunnelState, connector_status
from qanat.health.lines import Line
from qanat.store.models import Configuration, Connection, Connector, Tunnel

ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
TUNNEL = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"
CONNECTOR = "1bedc50d-42b3-473c-b108-ff3d10c0d925"
CONNECTION = "6d6bb8e8-61ea-4c3c-9a4e-2f4c1f4b2b7c"
MOMENT = "2026-01-02T03:04:05.678901Z"
ConfigSource = Literal["local", "cloudflare"]
Protocol = Literal["quic", "http2"]
EventKind = Literal["registered", "lost", "refused", "suspect", "recovered"]


class ConnectionShape(Shape):
    """One of a connector's connections to an edge. `is_pending_reconnect`: lost a moment ago, and likely to come back."""

    id: Annotated[str, Field(examples=[CONNECTION])]
    uuid: Annotated[str, Field(examples=[CONNECTION], description="the same as `id`")]
    client_id: Annotated[str, Field(examples=[CONNECTOR])]
    client_version: Annotated[str, Field(examples=["2026.8.0"])]
    colo_name: Annotated[str, Field(examples=["fra1"], description="the edge's location")]
    is_pending_reconnect: bool
    opened_at: Annotated[str, Field(examples=[MOMENT])]
    origin_ip: Annotated[str, Field(examples=["192.0.2.7"])]


class ConnectorShape(Shape):
    """A connector with its connections."""

    id: Annotated[str, Field(examples=[CONNECTOR])]
    features: Annotated[list[str], Field(examples=[["allow_remote_config", "serialized_headers"]])]
    version: Annotated[str, Field(examples=["2026.8.0"])]
    arch: Annotated[str, Field(examples=["linux_amd64"])]
    run_at: Annotated[str, Field(examples=[MOMENT])]
    config_version: Annotated[int, Field(examples=[7])]
    conns: list[ConnectionShape]


class TunnelShape(Shape):
    """A tunnel. Its secret is never in it."""

    id: Annotated[str, Field(examples=[TUNNEL])]
    account_tag: Annotated[str, Field(examples=[ACCOUNT])]
    name: Annotated[str, Field(examples=["web"])]
    created_at: Annotated[str, Field(examples=[MOMENT])]
    deleted_at: Annotated[str | None, Field(examples=[None])]
    config_src: ConfigSource
    remote_config: bool
    status: Status
    tun_type: Literal["cfd_tunnel"]
    conns_active_at: Annotated[str | None, Field(examples=[MOMENT])]
    conns_inactive_at: Annotated[str | None, Field(examples=[None])]
    connections: list[ConnectionShape]
    metadata: Annotated[dict[str, Any], Field(examples=[{}])]


class NewTunnelShape(TunnelShape):
    """A tunnel just made, with its connector token."""

    token: Annotated[str, Field(examples=["eyJhIjoi…"])]


class OwnConnectionShape(Shape):
    """A connection, with what its connector made of the configuration that was pushed over it."""

    id: Annotated[str, Field(examples=[CONNECTION])]
    index: Annotated[int, Field(examples=[0])]
    protocol: Protocol
    location: Annotated[str, Field(examples=["fra1"])]
    origin_ip: Annotated[str, Field(examples=["192.0.2.7"])]
    opened_at: Annotated[str, Field(examples=[MOMENT])]
    lost_at: Annotated[str | None, Field(examples=[None])]
    lost_reason: Annotated[str | None, Field(examples=[None])]
    pushed_version: Annotated[int | None, Field(examples=[7])]
    applied_version: Annotated[int | None, Field(examples=[7])]
    config_error: Annotated[str, Field(examples=[""])]
    rtt_s: Annotated[
        float | None,
        Field(
            examples=[0.012],
            description="the round trip of its line now: over QUIC the smoothed one of packets, over HTTP/2 the shortest of the "
            "newest PINGs; null: lost, or not measured yet",
        ),
    ]
    key_exchange: Annotated[
        str | None,
        Field(
            examples=["X25519MLKEM768"],
            description="the group of its TLS handshake; null: lost, or not known",
        ),
    ]


class ConnectorTokenName(Shape):
    """Which named connector token a connector came with."""

    id: Annotated[str, Field(examples=[CONNECTION])]
    name: Annotated[str, Field(examples=["web-1"])]


class OwnConnectorShape(Shape):
    """A connector with everything that is known of it. `connector_token` null: the tunnel's own."""

    id: Annotated[str, Field(examples=[CONNECTOR])]
    status: ConnectorStatus
    version: Annotated[str, Field(examples=["2026.8.0"])]
    arch: Annotated[str, Field(examples=["linux_amd64"])]
    features: Annotated[list[str], Field(examples=[["allow_remote_config"]])]
    run_at: Annotated[str, Field(examples=[MOMENT])]
    lost_at: Annotated[str | None, Field(examples=[None])]
    wanted_connections: Annotated[int, Field(examples=[4])]
    connector_token: ConnectorTokenName | None
    config_version: Annotated[int, Field(examples=[7], description="the version that it applied; 0: none")]
    config_in_force: Annotated[bool, Field(description="whether that is the tunnel's newest version")]
    config_error: Annotated[str, Field(examples=[""], description="why it didn't apply the one that was pushed")]
    connections: list[OwnConnectionShape]


class OwnTunnelShape(TunnelShape):
    """A tunnel with its status since when and why, and its connectors."""

    status_since: Annotated[str, Field(examples=[MOMENT])]
    status_reason: Annotated[str | None, Field(examples=[None])]
    configuration_version: Annotated[int, Field(examples=[7])]
    mode: Annotated[Literal["replicas", "active-standby"], Field(examples=["active-standby"])]
    active_node: Annotated[
        str | None, Field(examples=["web-1"], description="null in mode `replicas`: all get requests")
    ]
    epoch: Annotated[int, Field(examples=[3], description="it rises with every change of the active node")]
    connectors: list[OwnConnectorShape]
    local_configuration: Annotated[
        str | None,
        Field(examples=[None], description="what the connector of a locally managed tunnel said that it runs, JSON"),
    ]


class EventShape(Shape):
    """One line of a tunnel's story."""

    at: Annotated[str, Field(examples=[MOMENT])]
    kind: EventKind
    detail: Annotated[dict[str, Any], Field(examples=[{"connector_id": CONNECTOR, "index": 0, "reason": "timed_out"}])]


def shown(tunnel: Tunnel, state: TunnelState) -> TunnelShape:
    """A tunnel as stock clients read it (api.md 2.2). The secret is never in it."""
    return {
        "id": tunnel.id,
        "account_tag": tunnel.account_id,
        "name": tunnel.name,
        "created_at": rfc3339(tunnel.created_at),
        "deleted_at": rfc3339(tunnel.deleted_at),
        "config_src": cast(ConfigSource, tunnel.config_src),
        "remote_config": tunnel.config_src == "cloudflare",
        "status": state.status,
        "tun_type": "cfd_tunnel",
        "conns_active_at": rfc3339(tunnel.conns_active_at),
        "conns_inactive_at": rfc3339(tunnel.conns_inactive_at),
        "connections": [
            shown_connection(connection, connector)
            for connector, connections in state.all_connectors
            for connection in connections
        ],
        "metadata": {},
    }


def shown_connector(connector: Connector, connections: list[Connection]) -> ConnectorShape:
    """A "client" of api.md 2.3."""
    return {
        "id": connector.id,
        "features": connector.features,
        "version": connector.version,
        "arch": connector.arch,
        "run_at": rfc3339(connector.run_at),
        "config_version": connector.config_version,
        "conns": [shown_connection(connection, connector) for connection in connections],
    }


def shown_connection(connection: Connection, connector: Connector) -> ConnectionShape:
    """A connection of api.md 2.3; `colo_name` is the edge's location."""
    return {
        "id": connection.id,
        "uuid": connection.id,
        "client_id": connection.connector_id,
        "client_version": connector.version,
        "colo_name": connection.location,
        "is_pending_reconnect": connection.lost_at is not None,
        "opened_at": rfc3339(connection.opened_at),
        "origin_ip": connection.origin_ip,
    }


def shown_own_connector(
    connector: Connector,
    connections: list[Connection],
    token_names: dict[str, str],
    newest: Configuration | None,
    lines: Mapping[str, Line],
) -> OwnConnectorShape:
    """A connector with everything that is known of it. `lines`: of live connections."""
    token_id = next((connection.token_id for connection in connections if connection.token_id in token_names), None)
    return {
        "id": connector.id,
        "status": connector_status(connector, connections),
        "version": connector.version,
        "arch": connector.arch,
        "features": connector.features,
        "run_at": rfc3339(connector.run_at),
        "lost_at": rfc3339(connector.lost_at),
        "wanted_connections": connector.max_connections,
        "connector_token": {"id": token_id, "name": token_names[token_id]} if token_id is not None else None,
        "config_version": connector.config_version,
        "config_in_force": connector.config_version == (newest.version if newest is not None else 0),
        "config_error": connector.config_error,
        "connections": [
            {
                "id": connection.id,
                "index": connection.index,
                "protocol": cast(Protocol, connection.protocol),
                "location": connection.location,
                "origin_ip": connection.origin_ip,
                "opened_at": rfc3339(connection.opened_at),
                "lost_at": rfc3339(connection.lost_at),
                "lost_reason": connection.lost_reason,
                "pushed_version": connection.pushed_version,
                "applied_version": connection.applied_version,
                "config_error": connection.config_error,
                "rtt_s": line.rtt_s if line is not None else None,
                "key_exchange": (line.key_exchange or None) if line is not None else None,
            }
            for connection in connections
            for line in (lines.get(connection.id),)
        ],
    }


def connector_token(tunnel: Tunnel, secret: bytes, found_by: Mapping[str, str]) -> str:
    """As `tunnels.token_text`."""
    return tunnels.token_text(tunnel, secret, found_by)
