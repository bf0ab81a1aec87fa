"""All tunnels of an account at a glance: a few queries for a thousand of them, and no row of theirs as an object."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.control.tunnel_status import Status
from qanat.store.lots import in_lots
from qanat.store.models import Connection, Connector, ConnectorToken, Tunnel, TunnelRole


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelRow:
    """A tunnel: how its connections are (`status`, as stock has it), since when, and why it is down (a code of the edge's
    events). `connections` that take requests, and the `connectors` that hold them."""

    id: str
    name: str
    status: Status
    since: datetime
    reason: str
    connections: int
    connectors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one connector of a tunnel holds: `node` is its connector token's name, `wanted` the most connections that it had at
    once."""

    tunnel_id: str
    connector_id: str
    token_id: str
    node: str
    protocols: tuple[str, ...]
    connections: int
    wanted: int
    version: str


def rows(session: Session, account_id: str) -> list[TunnelRow]:
    """In order of their names; deleted ones are left out."""
    live = {
        row.tunnel_id: (row.connections, row.connectors)
        for row in session.execute(
            select(
                Connection.tunnel_id,
                func.count().label("connections"),
                func.count(Connection.connector_id.distinct()).label("connectors"),
            )
            .where(Connection.lost_at.is_(None), Connection.draining_at.is_(None))
            .group_by(Connection.tunnel_id)
        )
    }
    query = select(
        Tunnel.id, Tunnel.name, Tunnel.status, Tunnel.status_since, Tunnel.created_at, Tunnel.down_reason
    ).where(Tunnel.account_id == account_id, Tunnel.deleted_at.is_(None))
    return [
        TunnelRow(
            id=row.id,
            name=row.name,
            status=cast(Status, row.status),
            since=row.status_since or row.created_at,
            reason=row.down_reason or "",
            connections=live.get(row.id, (0, 0))[0],
            connectors=live.get(row.id, (0, 0))[1],
        )
        for row in session.execute(query.order_by(Tunnel.name))
    ]


def held(session: Session, tunnel_ids: Sequence[str]) -> dict[str, list[Held]]:
    """What the connectors of these tunnels hold now, by tunnel."""
    found: dict[str, list[Held]] = {tunnel_id: [] for tunnel_id in tunnel_ids}
    for ids in in_lots(list(tunnel_ids)):
        query = (
            select(
                Connection.tunnel_id,
                Connection.connector_id,
                Connection.token_id,
                Connection.protocol,
                func.count().label("connections"),
                Connector.max_connections,
                Connector.version,
                ConnectorToken.name,
            )
            .join(Connector, (Connector.tunnel_id == Connection.tunnel_id) & (Connector.id == Connection.connector_id))
            .outerjoin(ConnectorToken, ConnectorToken.id == Connection.token_id)
            .where(Connection.tunnel_id.in_(ids), Connection.lost_at.is_(None), Connection.draining_at.is_(None))
            .group_by(
                Connection.tunnel_id,
                Connection.connector_id,
                Connection.token_id,
                Connection.protocol,
                Connector.max_connections,
                Connector.version,
                ConnectorToken.name,
            )
            .order_by(Connection.tunnel_id, Connection.connector_id, Connection.protocol)
        )
        for row in session.execute(query):
            own = found[row.tunnel_id]
            before = own[-1] if own and own[-1].connector_id == row.connector_id else None
            if before is not None:
                own.pop()
            own.append(
                Held(
                    tunnel_id=row.tunnel_id,
                    connector_id=row.connector_id,
                    token_id=row.token_id,
                    node=row.name or (row.token_id or "default"),
                    protocols=(*(before.protocols if before else ()), row.protocol),
                    connections=row.connections + (before.connections if before else 0),
                    wanted=row.max_connections,
                    version=row.version,
                )
            )
    return found


def active_nodes(session: Session, tunnel_ids: Sequence[str]) -> dict[str, str]:
    """Of tunnels with an active node, its connector token ("" the tunnel's own)."""
    found: dict[str, str] = {}
    for ids in in_lots(list(tunnel_ids)):
        query = select(TunnelRole.tunnel_id, TunnelRole.active_token_id).where(
            TunnelRole.tunnel_id.in_(ids), TunnelRole.mode == "active-standby"
        )
        found.update({row.tunnel_id: row.active_token_id for row in session.execute(query) if row[1] is not None})
    return found
