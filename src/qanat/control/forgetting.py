"""What was deleted long ago is forgotten: of each account (or tunnel) only the newest deleted rows stay."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from qanat.control.tunnels import forget_tunnels
from qanat.control.zones import HELD
from qanat.store.audit import SYSTEM
from qanat.store.database import Store
from qanat.store.models import ConnectorToken, Record, ReleasedName, TeamnetRoute, Tunnel, VirtualNetwork

AT_ONCE = 200


def forget_deleted(store: Store) -> int:
    """Rows beyond `limits.deleted`, the oldest first; how many. In short writes, so that others come between. A tunnel that
    records still point to stays: its hostnames say that it was deleted."""
    keep = store.limits.deleted
    pointed_to = Tunnel.id.in_(select(Record.tunnel_id).where(Record.tunnel_id.is_not(None)))
    routed = VirtualNetwork.id.in_(select(TeamnetRoute.virtual_network_id))
    forgotten = 0
    for owner, at, key, spared in (
        (Tunnel.account_id, Tunnel.deleted_at, Tunnel.id, pointed_to),
        (TeamnetRoute.account_id, TeamnetRoute.deleted_at, TeamnetRoute.id, None),
        (VirtualNetwork.account_id, VirtualNetwork.deleted_at, VirtualNetwork.id, routed),
        (ConnectorToken.tunnel_id, ConnectorToken.revoked_at, ConnectorToken.id, None),
        (ReleasedName.account_id, ReleasedName.released_at, ReleasedName.name, None),
    ):
        with store.reading() as session:
            many = select(owner).where(at.is_not(None)).group_by(owner).having(func.count() > keep)
            owners = list(session.scalars(many))
        for each in owners:
            forgotten += _forget(store, owner == each, at, key, spared, keep)
    over = select(ReleasedName.name).where(ReleasedName.released_at < store.clock() - HELD)
    return forgotten + _delete(store, over, ReleasedName.name)


def _forget(
    store: Store,
    owned: ColumnElement[bool],
    at: InstrumentedAttribute[Any],
    key: InstrumentedAttribute[str],
    spared: ColumnElement[bool] | None,
    keep: int,
) -> int:
    old = select(key).where(owned, at.is_not(None)).order_by(at.desc(), key).offset(keep).limit(1_000_000)
    with store.reading() as session:
        names = list(session.scalars(old))
    query = select(key).where(at.is_not(None))
    if spared is not None:
        query = query.where(~spared)
    done = 0
    for start in range(0, len(names), AT_ONCE):
        done += _delete(store, query.where(key.in_(names[start : start + AT_ONCE])), key)
    return done


def _delete(store: Store, query: Any, key: InstrumentedAttribute[str]) -> int:
    """By one write a lot."""
    done = 0
    while True:
        with store.recording() as write:
            names = list(write.session.scalars(query.limit(AT_ONCE)))
            if not names:
                return done
            if key is Tunnel.id:
                accounts = _accounts(write.session, names)
                forget_tunnels(write.session, names)
                write.actor = SYSTEM
                for account_id, some in accounts.items():
                    write.audit("tunnel.forget", some[0], account_id=account_id, detail={"tunnels": some})
            else:
                write.session.execute(delete(key.class_).where(key.in_(names)))
        done += len(names)


def _accounts(session: Session, tunnel_ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tunnel_id, account_id in session.execute(
        select(Tunnel.id, Tunnel.account_id).where(Tunnel.id.in_(tunnel_ids)).order_by(Tunnel.id)
    ):
        found.setdefault(account_id, []).append(tunnel_id)
    return found
