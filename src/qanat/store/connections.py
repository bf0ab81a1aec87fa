"""Connectors and their connections, as the edge's events tell them, and the tunnel's status that follows from them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal

from sqlalchemy import CursorResult, delete, func, select, update
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.store.audit import Actor
from qanat.store.database import Store, Write
from qanat.store.models import Connection, Connector, Event, Tunnel
from qanat.store.notices import Notice, NoticeKind

LOST_KEPT = timedelta(hours=1)
CONNECTORS_KEPT = timedelta(days=1)
EVENTS_KEPT = 10_000
IDS_A_QUERY = 500

Status = Literal["inactive", "healthy", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class State:
    """A tunnel's status, since when, why (when down), and its live connectors with their live connections."""

    status: Status
    since: datetime
    reason: str | None
    connectors: list[tuple[Connector, list[Connection]]] = field(default_factory=list)


# ---------------------------------------------------------------- what the edge tells


def registered(
    write: Write,
    *,
    connection_id: str,
    tunnel_id: str,
    connector_id: str,
    index: int,
    protocol: str,
    origin_ip: str,
    location: str,
    version: str,
    arch: str,
    features: Iterable[str],
    at: datetime,
) -> None:
    """A connection is live. One with the same index of the same connector was replaced by it."""
    session = write.session
    tunnel = session.get(Tunnel, tunnel_id)
    if tunnel is None:
        return
    if not count_live(session, tunnel_id):
        tunnel.conns_active_at = at
        tunnel.conns_inactive_at = None
        tunnel.down_reason = None
    session.execute(
        update(Connection)
        .where(
            Connection.tunnel_id == tunnel_id,
            Connection.connector_id == connector_id,
            Connection.index == index,
            Connection.lost_at.is_(None),
        )
        .values(lost_at=at, lost_reason="replaced")
    )
    session.merge(
        Connection(
            id=connection_id,
            tunnel_id=tunnel_id,
            connector_id=connector_id,
            index=index,
            protocol=protocol,
            origin_ip=origin_ip,
            location=location,
            opened_at=at,
            draining_at=None,
            lost_at=None,
            lost_reason=None,
            pushed_version=None,
            applied_version=None,
            config_error="",
        )
    )
    session.flush()
    connector = session.get(Connector, (tunnel_id, connector_id))
    if connector is None:
        connector = Connector(
            tunnel_id=tunnel_id,
            id=connector_id,
            run_at=at,
            max_connections=0,
            config_version=0,
            config_error="",
        )
        session.add(connector)
    connector.version = version
    connector.arch = arch
    connector.features = list(features)
    connector.lost_at = None
    connector.max_connections = max(connector.max_connections, count_live(session, tunnel_id, connector_id))
    _changed(write, tunnel_id)


def draining(write: Write, *, connection_id: str, at: datetime) -> None:
    """The connector said goodbye on this connection: open streams finish, no new ones go there."""
    connection = write.session.get(Connection, connection_id)
    if connection is None or connection.lost_at is not None or connection.draining_at is not None:
        return
    connection.draining_at = at
    _ended(write, connection, at=at, reason="unregistered")


def lost(write: Write, *, connection_id: str, reason: str, at: datetime) -> None:
    """The connection ended."""
    connection = write.session.get(Connection, connection_id)
    if connection is None or connection.lost_at is not None:
        return
    connection.lost_at = at
    connection.lost_reason = reason
    if connection.draining_at is None:
        _ended(write, connection, at=at, reason=reason)
    else:
        _changed(write, connection.tunnel_id)


def configuration_applied(write: Write, *, connection_id: str, pushed: int, applied: int, error: str) -> None:
    """What the connector answered to a push."""
    connection = write.session.get(Connection, connection_id)
    if connection is None:
        return
    connection.pushed_version = pushed
    connection.applied_version = applied
    connection.config_error = error
    connector = write.session.get(Connector, (connection.tunnel_id, connection.connector_id))
    if connector is not None:
        connector.config_version = max(applied, 0)
        connector.config_error = error
    _changed(write, connection.tunnel_id)


def local_configuration(write: Write, *, tunnel_id: str, document: str, at: datetime) -> None:
    """What a locally managed connector said that it runs."""
    tunnel = write.session.get(Tunnel, tunnel_id)
    if tunnel is not None:
        tunnel.local_configuration = document
        tunnel.local_configuration_at = at


def note_event(write: Write, kind: str, *, tunnel_id: str | None, at: datetime, detail: dict[str, Any]) -> None:
    """One line of a tunnel's story."""
    write.session.add(Event(at=at, kind=kind, tunnel_id=tunnel_id, detail=detail))


def trim(store: Store) -> None:
    """Forgets what was lost long ago; a transaction only where there is something to forget."""
    with store.recording() as write:
        newest = write.session.scalar(select(func.max(Event.id))) or 0
        write.session.execute(delete(Event).where(Event.id <= newest - EVENTS_KEPT))
        write.session.execute(delete(Connection).where(Connection.lost_at < write.at - LOST_KEPT))
        write.session.execute(delete(Connector).where(Connector.lost_at < write.at - CONNECTORS_KEPT))


def clear_live(store: Store, actor: Actor) -> int:
    """At an edge's start nothing is connected, whatever the rows say; how many were not."""
    with store.writing(actor) as write:
        tunnel_ids = list(
            write.session.scalars(select(Connection.tunnel_id).where(Connection.lost_at.is_(None)).distinct())
        )
        cleared = sum(drop_live(write, tunnel_id, reason="edge_restarted") for tunnel_id in tunnel_ids)
        write.audit("edge.start", "", detail={"connections_cleared": cleared})
    return cleared


def drop_live(write: Write, tunnel_id: str, *, connector_id: str | None = None, reason: str = "disconnected") -> int:
    """Marks the live connections (of one connector) as ended by us; how many."""
    query = update(Connection).where(Connection.tunnel_id == tunnel_id, Connection.lost_at.is_(None))
    if connector_id is not None:
        query = query.where(Connection.connector_id == connector_id)
    result = write.session.execute(query.values(lost_at=write.at, lost_reason=reason))
    dropped = result.rowcount if isinstance(result, CursorResult) else 0
    if dropped:
        gone = update(Connector).where(Connector.tunnel_id == tunnel_id, Connector.lost_at.is_(None))
        if connector_id is not None:
            gone = gone.where(Connector.id == connector_id)
        write.session.execute(gone.values(lost_at=write.at))
        _settle(write.session, tunnel_id, at=write.at, reason=reason)
        _changed(write, tunnel_id)
    return dropped


# ---------------------------------------------------------------- what is asked


def count_live(session: Session, tunnel_id: str, connector_id: str | None = None) -> int:
    """Connections that take new streams."""
    query = (
        select(func.count())
        .select_from(Connection)
        .where(Connection.tunnel_id == tunnel_id, Connection.lost_at.is_(None), Connection.draining_at.is_(None))
    )
    if connector_id is not None:
        query = query.where(Connection.connector_id == connector_id)
    return session.scalar(query) or 0


def states(session: Session, tunnels: Sequence[Tunnel]) -> dict[str, State]:
    """The state of each tunnel, by two queries for many."""
    connections: dict[tuple[str, str], list[Connection]] = {}
    connectors: dict[str, list[Connector]] = {}
    for ids in _batches(tunnel.id for tunnel in tunnels):
        live = (
            select(Connection)
            .where(Connection.tunnel_id.in_(ids), Connection.lost_at.is_(None), Connection.draining_at.is_(None))
            .order_by(Connection.index, Connection.id)
        )
        for connection in session.scalars(live):
            connections.setdefault((connection.tunnel_id, connection.connector_id), []).append(connection)
        known = select(Connector).where(Connector.tunnel_id.in_(ids)).order_by(Connector.run_at, Connector.id)
        for connector in session.scalars(known):
            if (connector.tunnel_id, connector.id) in connections:
                connectors.setdefault(connector.tunnel_id, []).append(connector)
    return {
        tunnel.id: _state(
            tunnel,
            [(each, connections[tunnel.id, each.id]) for each in connectors.get(tunnel.id, [])],
        )
        for tunnel in tunnels
    }


def state(session: Session, tunnel: Tunnel) -> State:
    """The state of one tunnel."""
    return states(session, [tunnel])[tunnel.id]


def get_connector(session: Session, tunnel: Tunnel, connector_id: str) -> tuple[Connector, list[Connection]]:
    """A live connector. QanatError `connector_unknown`."""
    for connector, connections in state(session, tunnel).connectors:
        if connector.id == connector_id:
            return connector, connections
    raise QanatError("connector_unknown", "no such connector is connected", where="connector_id")


def events(session: Session, tunnel_id: str, *, offset: int, limit: int) -> tuple[list[Event], int]:
    """A page of the tunnel's story, newest first."""
    query = select(Event).where(Event.tunnel_id == tunnel_id)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    return list(session.scalars(query.order_by(Event.id.desc()).offset(offset).limit(limit))), total


def connectors_before(session: Session, tunnel_id: str, moment: datetime) -> list[str]:
    """Live connectors with a connection that was opened before `moment`: those that hold an older secret."""
    return list(
        session.scalars(
            select(Connection.connector_id)
            .where(Connection.tunnel_id == tunnel_id, Connection.lost_at.is_(None), Connection.opened_at < moment)
            .distinct()
        )
    )


def _state(tunnel: Tunnel, connectors: list[tuple[Connector, list[Connection]]]) -> State:
    if not connectors:
        if tunnel.conns_active_at is None:
            return State("inactive", tunnel.created_at, None)
        return State("down", tunnel.conns_inactive_at or tunnel.conns_active_at, tunnel.down_reason)
    short = [each.id for each, connections in connectors if len(connections) < each.max_connections]
    since = tunnel.conns_active_at or tunnel.created_at
    if not short:
        return State("healthy", since, None, connectors)
    reason = f"{len(short)} of {len(connectors)} connectors have fewer connections than they asked for"
    return State("degraded", since, reason, connectors)


def _ended(write: Write, connection: Connection, *, at: datetime, reason: str) -> None:
    write.session.flush()
    if not count_live(write.session, connection.tunnel_id, connection.connector_id):
        connector = write.session.get(Connector, (connection.tunnel_id, connection.connector_id))
        if connector is not None:
            connector.lost_at = at
    _settle(write.session, connection.tunnel_id, at=at, reason=reason)
    _changed(write, connection.tunnel_id)


def _settle(session: Session, tunnel_id: str, *, at: datetime, reason: str) -> None:
    """Notes since when the tunnel is down, when its last connection has gone."""
    tunnel = session.get(Tunnel, tunnel_id)
    if tunnel is not None and tunnel.conns_inactive_at is None and not count_live(session, tunnel_id):
        tunnel.conns_inactive_at = at
        tunnel.down_reason = reason


def _changed(write: Write, tunnel_id: str) -> None:
    notice = Notice(NoticeKind.CONNECTIONS, tunnel_id=tunnel_id)
    if notice not in write.notices:
        write.notice(notice)


def _batches(ids: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(ids)
    while batch := list(islice(iterator, IDS_A_QUERY)):
        yield batch
