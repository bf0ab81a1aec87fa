"""Tunnels with the secrets that are good, and the newest configuration of each."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.store.models import Configuration, ConnectorToken, NodeState, Tunnel, TunnelRole
from qanat.store.sealing import Sealer
from qanat.store.skipped import Failure, Kind, LeftOut
from qanat.tables.reading.rows import read_rows
from qanat.tables.tunnels import TunnelEntry, compile_tunnel


def read_tunnels(session: Session, sealer: Sealer, at: datetime, left_out: LeftOut | None = None) -> list[TunnelEntry]:
    """All tunnels, deleted ones too, with the tokens that are good at `at`. What can't be read, and secrets that don't
    open, go to `left_out`: a tunnel goes on with the secrets that do."""
    return _read(session, sealer, at, None, left_out if left_out is not None else LeftOut())


def read_tunnel(
    session: Session, sealer: Sealer, tunnel_id: str, at: datetime, left_out: LeftOut | None = None
) -> TunnelEntry | None:
    """One tunnel as it is now; None when there is none, or it can't be read."""
    found = _read(session, sealer, at, tunnel_id, left_out if left_out is not None else LeftOut())
    return found[0] if found else None


def _read(
    session: Session, sealer: Sealer, at: datetime, tunnel_id: str | None, left_out: LeftOut
) -> list[TunnelEntry]:
    # columns, not rows of the models: what the edge doesn't need can't fail here
    tunnels = select(
        Tunnel.id,
        Tunnel.account_id,
        Tunnel.name,
        Tunnel.sealed_secret,
        Tunnel.config_src,
        Tunnel.deleted_at.is_not(None).label("deleted"),
    ).order_by(Tunnel.id)
    newest = (
        select(Configuration.tunnel_id, func.max(Configuration.version).label("version"))
        .group_by(Configuration.tunnel_id)
        .subquery()
    )
    configurations = select(Configuration.tunnel_id, Configuration.version, Configuration.document).join(
        newest, and_(Configuration.tunnel_id == newest.c.tunnel_id, Configuration.version == newest.c.version)
    )
    tokens = (
        select(ConnectorToken.id, ConnectorToken.tunnel_id, ConnectorToken.sealed_secret)
        .where(
            ConnectorToken.revoked_at.is_(None),
            or_(ConnectorToken.expires_at.is_(None), ConnectorToken.expires_at > at),
        )
        .order_by(ConnectorToken.id)
    )
    roles = select(TunnelRole.tunnel_id, TunnelRole.active_token_id, TunnelRole.epoch).order_by(TunnelRole.tunnel_id)
    fences = select(NodeState.tunnel_id, NodeState.token_id).where(NodeState.fenced_at.is_not(None))
    if tunnel_id is not None:
        roles = roles.where(TunnelRole.tunnel_id == tunnel_id)
        fences = fences.where(NodeState.tunnel_id == tunnel_id)
        tunnels = tunnels.where(Tunnel.id == tunnel_id)
        configurations = configurations.where(Configuration.tunnel_id == tunnel_id)
        tokens = tokens.where(ConnectorToken.tunnel_id == tunnel_id)
    documents = {
        row.tunnel_id: (row.version, row.document)
        for row in read_rows(session, configurations, Configuration.tunnel_id, "configuration", left_out)
    }
    good: dict[str, list[Any]] = {}
    for token in read_rows(session, tokens, ConnectorToken.id, "connector_token", left_out):
        good.setdefault(token.tunnel_id, []).append(token)
    active: dict[str, tuple[str | None, int]] = {row.tunnel_id: (row[1], row[2]) for row in session.execute(roles)}
    fenced: dict[str, list[str]] = {}
    for row in session.execute(fences.order_by(NodeState.token_id)):
        fenced.setdefault(row.tunnel_id, []).append(row.token_id)
    entries = []
    for tunnel in read_rows(session, tunnels, Tunnel.id, "tunnel", left_out):
        try:
            secrets = _secrets(sealer, tunnel, good.get(tunnel.id, ()), left_out)
            state = active.get(tunnel.id, (None, 0)), fenced.get(tunnel.id, ())
            entries.append(compile_tunnel(tunnel, documents.get(tunnel.id), secrets, *state))
        except (AttributeError, TypeError, ValueError) as error:
            left_out.add("tunnel", tunnel.id, Failure.of(error, account_id=tunnel.account_id))
    return entries


def _secrets(sealer: Sealer, tunnel: Any, tokens: Sequence[Any], left_out: LeftOut) -> list[tuple[str, bytes]]:
    """Those that open."""
    found: list[tuple[str, bytes]] = []
    named: list[tuple[Kind, str, Any]] = [("connector_token", token.id, token) for token in tokens]
    for kind, token_id, row in [("tunnel", "", tunnel), *named]:
        try:
            found.append((token_id, sealer.open(row.sealed_secret, row.id)))
        except (QanatError, TypeError, ValueError) as error:
            left_out.add(kind, row.id, Failure.of(error, account_id=tunnel.account_id))
    return found
