"""What was deleted long ago is forgotten: of each account (or tunnel) only the newest deleted rows stay."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from qanat.control import tunnels
from qanat.control.zones import HELD
from qanat.store.database import Write
from qanat.store.lots import in_lots
from qanat.store.models import ConnectorToken, Record, ReleasedName, TeamnetRoute, Tunnel, VirtualNetwork

AT_ONCE = 200
MOST_OF_AN_OWNER = 1_000_000


@dataclass(frozen=True, slots=True)
class Deleted:
    """A kind of rows that stay for a while when they are deleted. `spared`: those that something still refers to."""

    owner: InstrumentedAttribute[Any]
    at: InstrumentedAttribute[Any]
    key: InstrumentedAttribute[str]
    spared: ColumnElement[bool] | None = None


@dataclass(frozen=True, slots=True)
class Old:
    """Rows of one kind that may go, as many as one short write forgets."""

    kind: Deleted
    keys: Sequence[str]


# A tunnel that records still point to stays: its hostnames say that it was deleted.
_POINTED_TO = Tunnel.id.in_(select(Record.tunnel_id).where(Record.tunnel_id.is_not(None)))
_ROUTED = VirtualNetwork.id.in_(select(TeamnetRoute.virtual_network_id))
_NAMES = Deleted(ReleasedName.account_id, ReleasedName.released_at, ReleasedName.name)
KINDS = (
    Deleted(Tunnel.account_id, Tunnel.deleted_at, Tunnel.id, _POINTED_TO),
    Deleted(TeamnetRoute.account_id, TeamnetRoute.deleted_at, TeamnetRoute.id),
    Deleted(VirtualNetwork.account_id, VirtualNetwork.deleted_at, VirtualNetwork.id, _ROUTED),
    Deleted(ConnectorToken.tunnel_id, ConnectorToken.revoked_at, ConnectorToken.id),
    _NAMES,
)


def old(session: Session, at: datetime, *, keep: int) -> Iterator[Old]:
    """What each owner has beyond the newest `keep`, and names that are held no longer."""
    for kind in KINDS:
        many = select(kind.owner).where(kind.at.is_not(None)).group_by(kind.owner).having(func.count() > keep)
        for owner in session.scalars(many).all():
            beyond = (
                select(kind.key).where(kind.owner == owner, kind.at.is_not(None)).order_by(kind.at.desc(), kind.key)
            )
            keys = session.scalars(beyond.offset(keep).limit(MOST_OF_AN_OWNER)).all()
            yield from (Old(kind, some) for some in in_lots(keys, AT_ONCE))
    over = session.scalars(select(ReleasedName.name).where(ReleasedName.released_at < at - HELD)).all()
    yield from (Old(_NAMES, some) for some in in_lots(over, AT_ONCE))


def forget(write: Write, rows: Old) -> int:
    """Deletes those that are still deleted and that nothing refers to; how many."""
    kind = rows.kind
    query = select(kind.key).where(kind.at.is_not(None), kind.key.in_(rows.keys))
    if kind.spared is not None:
        query = query.where(~kind.spared)
    keys = list(write.session.scalars(query))
    if not keys:
        write.idle()
    elif kind.key is Tunnel.id:
        for account_id, some in _accounts(write.session, keys).items():
            write.audit("tunnel.forget", some[0], account_id=account_id, detail={"tunnels": some})
        tunnels.forget(write.session, keys)
    else:
        write.session.execute(delete(kind.key.class_).where(kind.key.in_(keys)))
    return len(keys)


def _accounts(session: Session, tunnel_ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tunnel_id, account_id in session.execute(
        select(Tunnel.id, Tunnel.account_id).where(Tunnel.id.in_(tunnel_ids)).order_by(Tunnel.id)
    ):
        found.setdefault(account_id, []).append(tunnel_id)
    return found
