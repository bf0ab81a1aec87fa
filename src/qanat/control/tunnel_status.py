"""How a tunnel and its connectors are, from their connections: healthy, degraded, down or inactive, since when and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.store.lots import in_lots
from qanat.store.models import Connection, Connector, Tunnel

RECONNECTING = timedelta(minutes=5)
"""For so long a connection that nobody meant to end is shown as one that will come back."""
ENDED_ON_PURPOSE = ("unregistered", "replaced", "disconnected")

Status = Literal["inactive", "healthy", "degraded", "down"]
ConnectorStatus = Literal["healthy", "degraded", "reconnecting", "lost"]
ConnectorConnections = tuple[Connector, list[Connection]]


@dataclass(frozen=True, slots=True)
class TunnelState:
    """A tunnel's status, since when, why (when down or degraded), its live connectors with their live connections, and
    those with connections that were lost a moment ago and are likely to come back."""

    status: Status
    since: datetime
    reason: str | None
    connectors: list[ConnectorConnections] = field(default_factory=list)
    lost: list[ConnectorConnections] = field(default_factory=list)

    @property
    def all_connectors(self) -> list[ConnectorConnections]:
        """Each connector once: its live connections, then the lost ones."""
        lost = {connector.id: connections for connector, connections in self.lost}
        live = [(connector, [*connections, *lost.pop(connector.id, [])]) for connector, connections in self.connectors]
        return live + [(connector, connections) for connector, connections in self.lost if connector.id in lost]


def states(
    session: Session, tunnels: Sequence[Tunnel], *, lost_since: datetime | None = None
) -> dict[str, TunnelState]:
    """The state of each tunnel, by two queries for many. `lost_since`: with the connections that were lost after it and
    may come back."""
    live: dict[tuple[str, str], list[Connection]] = {}
    lost: dict[tuple[str, str], list[Connection]] = {}
    connectors: dict[str, list[Connector]] = {}
    is_live = and_(Connection.lost_at.is_(None), Connection.draining_at.is_(None))
    wanted = is_live
    if lost_since is not None:
        wanted = or_(is_live, and_(Connection.lost_at > lost_since, Connection.lost_reason.not_in(ENDED_ON_PURPOSE)))
    for ids in in_lots([tunnel.id for tunnel in tunnels]):
        rows = (
            select(Connection)
            .where(Connection.tunnel_id.in_(ids), wanted)
            .order_by(Connection.index, Connection.opened_at, Connection.id)
        )
        for connection in session.scalars(rows):
            table = live if connection.lost_at is None else lost
            table.setdefault((connection.tunnel_id, connection.connector_id), []).append(connection)
        known = select(Connector).where(Connector.tunnel_id.in_(ids)).order_by(Connector.run_at, Connector.id)
        for connector in session.scalars(known):
            if (connector.tunnel_id, connector.id) in live or (connector.tunnel_id, connector.id) in lost:
                connectors.setdefault(connector.tunnel_id, []).append(connector)
    for key, connections in lost.items():
        lost[key] = _awaited(connections, live.get(key, []))
    found = {}
    for tunnel in tunnels:
        own = connectors.get(tunnel.id, [])
        found[tunnel.id] = _state(
            tunnel,
            [(each, live[tunnel.id, each.id]) for each in own if live.get((tunnel.id, each.id))],
            [(each, lost[tunnel.id, each.id]) for each in own if lost.get((tunnel.id, each.id))],
        )
    return found


def state(session: Session, tunnel: Tunnel, *, lost_since: datetime | None = None) -> TunnelState:
    """The state of one tunnel."""
    return states(session, [tunnel], lost_since=lost_since)[tunnel.id]


def recent_states(session: Session, tunnels: Sequence[Tunnel], *, now: datetime) -> dict[str, TunnelState]:
    """As they are shown: with the connections that were lost a moment ago and may come back."""
    return states(session, tunnels, lost_since=now - RECONNECTING)


def recent_state(session: Session, tunnel: Tunnel, *, now: datetime) -> TunnelState:
    """As `recent_states`, of one tunnel."""
    return recent_states(session, [tunnel], now=now)[tunnel.id]


def connector_status(connector: Connector, connections: Sequence[Connection]) -> ConnectorStatus:
    """Of a connector with these connections, live ones and those that may come back: healthy has as many as it ever had."""
    live = sum(connection.lost_at is None for connection in connections)
    if live:
        return "healthy" if live >= connector.max_connections else "degraded"
    return "reconnecting" if connections else "lost"


def get_connector(session: Session, tunnel: Tunnel, connector_id: str) -> ConnectorConnections:
    """A live connector. QanatError `connector_unknown`."""
    for connector, connections in state(session, tunnel).connectors:
        if connector.id == connector_id:
            return connector, connections
    raise QanatError("connector_unknown", "no such connector is connected", where="connector_id")


def every_connector(session: Session, tunnel_id: str, state: TunnelState) -> list[ConnectorConnections]:
    """Those of the state, then those that are known from the last day and no longer connected, in order of start."""
    rows = state.all_connectors
    shown = {connector.id for connector, _ in rows}
    query = select(Connector).where(Connector.tunnel_id == tunnel_id)
    known = sorted(session.scalars(query), key=lambda each: (each.lost_at is not None, each.run_at, each.id))
    return rows + [(connector, []) for connector in known if connector.id not in shown]


def _state(
    tunnel: Tunnel,
    connectors: list[ConnectorConnections],
    lost: list[ConnectorConnections],
) -> TunnelState:
    status: Status = "inactive"
    reason = None
    short = [each.id for each, connections in connectors if len(connections) < each.max_connections]
    if connectors:
        status = "degraded" if short else "healthy"
    elif tunnel.conns_active_at is not None:
        status = "down"
        reason = tunnel.down_reason
    if short:
        reason = f"{len(short)} of {len(connectors)} connectors have fewer connections than they asked for"
    return TunnelState(status, tunnel.status_since or tunnel.created_at, reason, connectors, lost)


def _awaited(lost: list[Connection], live: list[Connection]) -> list[Connection]:
    """Of a connector's lost connections the newest of each index that is not back."""
    back = {connection.index for connection in live}
    newest = {connection.index: connection for connection in lost if connection.index not in back}
    return list(newest.values())


def stored_status(session: Session, tunnel: Tunnel) -> Status:
    """The tunnel's status as its rows tell it now, for the column that lists filter by."""
    rows = session.execute(
        select(func.count(Connection.id), Connector.max_connections)
        .join(Connector, and_(Connector.tunnel_id == Connection.tunnel_id, Connector.id == Connection.connector_id))
        .where(Connection.tunnel_id == tunnel.id, Connection.lost_at.is_(None), Connection.draining_at.is_(None))
        .group_by(Connector.id, Connector.max_connections)
    ).all()
    if not rows:
        return "inactive" if tunnel.conns_active_at is None else "down"
    return "degraded" if any(live < wanted for live, wanted in rows) else "healthy"
