"""Connectors and their connections, as the edge's events tell them; each change settles its tunnel's status."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import CursorResult, and_, delete, event, func, or_, select, update
from sqlalchemy.orm import Session

from qanat.control.tunnel_status import stored_status
from qanat.store.database import Write
from qanat.store.models import Connection, Connector, ConnectorToken, Event, Tunnel

LOST_KEPT = timedelta(hours=1)
CONNECTORS_KEPT = timedelta(days=1)
HISTORY_KEPT = 1000
"""Lines of one tunnel's story, and as many of its lost connections and connectors: its own churn pushes out no other's."""
REFUSALS_KEPT = 200
"""Refused registrations in it, counted apart: whoever has no secret pushes out nothing but earlier refusals."""
_UNSETTLED = "unsettled tunnels"

log = structlog.get_logger(__name__)

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
    token_id: str = "",
) -> None:
    """A connection is live. One with the same index of the same connector was replaced by it. `token_id`: the named
    connector token that it came with, "" for the tunnel's own."""
    session = write.session
    tunnel = session.get(Tunnel, tunnel_id)
    if tunnel is None:
        return
    is_first = not _has_live(session, tunnel_id)
    if is_first:
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
            token_id=token_id,
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
    if token_id:
        used = update(ConnectorToken).where(ConnectorToken.id == token_id, ConnectorToken.tunnel_id == tunnel_id)
        session.execute(used.values(last_used_at=at, last_used_from=origin_ip))
    if is_first:
        _settle(session, tunnel_id, at=at, reason="")
    else:
        _settle_once(session, tunnel_id, at=at)


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


def local_configuration(write: Write, *, tunnel_id: str, document: str, at: datetime) -> None:
    """What a locally managed connector said that it runs."""
    tunnel = write.session.get(Tunnel, tunnel_id)
    if tunnel is not None:
        tunnel.local_configuration = document
        tunnel.local_configuration_at = at


def note_event(write: Write, kind: str, *, tunnel_id: str | None, at: datetime, detail: dict[str, Any]) -> None:
    """One line of a tunnel's story."""
    write.session.add(Event(at=at, kind=kind, tunnel_id=tunnel_id, detail=detail))


def bound_history(session: Session, tunnel_id: str) -> None:
    """Forgets the oldest of what one tunnel has too much of."""
    of_tunnel = Event.tunnel_id == tunnel_id
    for of_kind, kept in ((Event.kind == "refused", REFUSALS_KEPT), (Event.kind != "refused", HISTORY_KEPT)):
        newest = select(Event.id).where(of_tunnel, of_kind).order_by(Event.id.desc())
        last = session.scalar(newest.offset(kept).limit(1))
        if last is not None:
            session.execute(delete(Event).where(of_tunnel, of_kind, Event.id <= last))
    for row in (Connection, Connector):
        lost_of_tunnel = and_(row.tunnel_id == tunnel_id, row.lost_at.is_not(None))
        newest_lost = select(row.lost_at).where(lost_of_tunnel).order_by(row.lost_at.desc())
        since = session.scalar(newest_lost.offset(HISTORY_KEPT).limit(1))
        if since is not None:
            session.execute(delete(row).where(lost_of_tunnel, row.lost_at <= since))


def trim(write: Write) -> None:
    """Forgets what was lost long ago."""
    session = write.session
    known = select(Tunnel.id)
    session.execute(delete(Event).where(or_(Event.tunnel_id.is_(None), Event.tunnel_id.not_in(known))))
    crowded = select(Event.tunnel_id).group_by(Event.tunnel_id).having(func.count() > REFUSALS_KEPT)
    for tunnel_id in list(session.scalars(crowded)):
        if tunnel_id is not None:
            bound_history(session, tunnel_id)
    session.execute(delete(Connection).where(Connection.lost_at < write.at - LOST_KEPT))
    session.execute(delete(Connector).where(Connector.lost_at < write.at - CONNECTORS_KEPT))


def clear_live(write: Write) -> int:
    """At an edge's start nothing is connected, whatever the rows say; how many were not."""
    tunnel_ids = list(
        write.session.scalars(select(Connection.tunnel_id).where(Connection.lost_at.is_(None)).distinct())
    )
    cleared = sum(_clear(write, tunnel_id) for tunnel_id in tunnel_ids)
    write.audit("edge.start", "", detail={"connections_cleared": cleared})
    return cleared


def _clear(write: Write, tunnel_id: str) -> int:
    """One tunnel's. A tunnel that can't be read gets no status, and stops neither the others nor the start."""
    try:
        with write.session.begin_nested():
            return drop_live(write, tunnel_id, reason="edge_restarted")
    except (LookupError, TypeError, ValueError) as error:
        log.error("a tunnel's status could not be settled", code="row_unreadable", tunnel=tunnel_id, reason=str(error))
    query = update(Connection).where(Connection.tunnel_id == tunnel_id, Connection.lost_at.is_(None))
    result = write.session.execute(query.values(lost_at=write.at, lost_reason="edge_restarted"))
    return result.rowcount if isinstance(result, CursorResult) else 0


def end_left(write: Write, connection_ids: Iterable[str], *, reason: str) -> None:
    """What a process that has ended left as live."""
    for connection_id in connection_ids:
        lost(write, connection_id=connection_id, reason=reason, at=write.at)


def drop_live(
    write: Write,
    tunnel_id: str,
    *,
    connector_id: str | None = None,
    token_id: str | None = None,
    reason: str = "disconnected",
) -> int:
    """Marks the live connections (of one connector, with one token) as ended by us; how many."""
    query = update(Connection).where(Connection.tunnel_id == tunnel_id, Connection.lost_at.is_(None))
    if connector_id is not None:
        query = query.where(Connection.connector_id == connector_id)
    if token_id is not None:
        query = query.where(Connection.token_id == token_id)
    result = write.session.execute(query.values(lost_at=write.at, lost_reason=reason))
    dropped = result.rowcount if isinstance(result, CursorResult) else 0
    if dropped:
        still = select(Connection.connector_id).where(
            Connection.tunnel_id == tunnel_id, Connection.lost_at.is_(None), Connection.draining_at.is_(None)
        )
        gone = update(Connector).where(
            Connector.tunnel_id == tunnel_id, Connector.lost_at.is_(None), Connector.id.not_in(still)
        )
        write.session.execute(gone.values(lost_at=write.at))
        _settle(write.session, tunnel_id, at=write.at, reason=reason)
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


def events(session: Session, tunnel_id: str, *, offset: int, limit: int) -> tuple[list[Event], int]:
    """A page of the tunnel's story, newest first."""
    query = select(Event).where(Event.tunnel_id == tunnel_id)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    return list(session.scalars(query.order_by(Event.id.desc()).offset(offset).limit(limit))), total


def connectors_before(session: Session, tunnel_id: str, moment: datetime, *, token_id: str = "") -> list[str]:
    """Live connectors with a connection that was opened before `moment` with a token: those that hold an older secret."""
    return list(
        session.scalars(
            select(Connection.connector_id)
            .where(
                Connection.tunnel_id == tunnel_id,
                Connection.token_id == token_id,
                Connection.lost_at.is_(None),
                Connection.opened_at < moment,
            )
            .distinct()
        )
    )


def _ended(write: Write, connection: Connection, *, at: datetime, reason: str) -> None:
    write.session.flush()
    if not _has_live(write.session, connection.tunnel_id, connection.connector_id):
        connector = write.session.get(Connector, (connection.tunnel_id, connection.connector_id))
        if connector is not None:
            connector.lost_at = at
    if _has_live(write.session, connection.tunnel_id):
        _settle_once(write.session, connection.tunnel_id, at=at)
    else:
        _settle(write.session, connection.tunnel_id, at=at, reason=reason)


def _has_live(session: Session, tunnel_id: str, connector_id: str | None = None) -> bool:
    """As `count_live`, without counting."""
    query = select(Connection.id).where(
        Connection.tunnel_id == tunnel_id, Connection.lost_at.is_(None), Connection.draining_at.is_(None)
    )
    if connector_id is not None:
        query = query.where(Connection.connector_id == connector_id)
    return session.scalar(query.limit(1)) is not None


def _settle_once(session: Session, tunnel_id: str, *, at: datetime) -> None:
    """`_settle` before the commit, once for all that this write tells of the tunnel: it looks at every connection, and a
    tunnel may have thousands. For changes after which the tunnel is still connected."""
    waiting: dict[str, datetime] | None = session.info.get(_UNSETTLED)
    if waiting is None:
        waiting = session.info[_UNSETTLED] = {}
        event.listen(session, "before_commit", _settle_all, once=True)
    waiting[tunnel_id] = at


def _settle_all(session: Session) -> None:
    for tunnel_id, at in session.info.pop(_UNSETTLED, {}).items():
        _settle(session, tunnel_id, at=at, reason="")


def _settle(session: Session, tunnel_id: str, *, at: datetime, reason: str) -> None:
    """Notes the tunnel's status, since when, and why it is down, when the last change made it another one."""
    session.flush()
    tunnel = session.get(Tunnel, tunnel_id)
    if tunnel is None:
        return
    status = stored_status(session, tunnel)
    if status == "down" and tunnel.conns_inactive_at is None:
        tunnel.conns_inactive_at = at
        tunnel.down_reason = reason
    if status != tunnel.status:
        tunnel.status = status
        tunnel.status_since = at
