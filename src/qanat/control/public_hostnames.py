"""Public hostnames of an account as lists show them: the proxied CNAMEs to tunnels in its zones."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from qanat.store.lots import in_lots
from qanat.store.models import Record, Tunnel, Zone
from qanat.store.reach import Reach


@dataclass(frozen=True, slots=True)
class PublicHostname:
    """A hostname, and the tunnel that its record names ("": that tunnel is forgotten)."""

    name: str
    tunnel_id: str
    tunnel: str
    is_paused: bool


def page(
    session: Session, account_id: str, *, reach: Reach, search: str = "", offset: int, limit: int
) -> tuple[list[PublicHostname], int]:
    """By name, those in zones within reach that contain `search`; and how many match in all."""
    query = _routed(account_id).where(_within(reach))
    if search:
        query = query.where(Record.name.contains(search.lower(), autoescape=True))
    total = session.scalar(query.with_only_columns(func.count())) or 0
    rows = query.outerjoin(Tunnel, Tunnel.id == Record.tunnel_id).with_only_columns(
        Record.name, Record.tunnel_id, Tunnel.name.label("tunnel"), Zone.paused
    )
    found = session.execute(rows.order_by(Record.name, Record.id).offset(offset).limit(limit))
    return [PublicHostname(row.name, row.tunnel_id or "", row.tunnel or "", row.paused) for row in found], total


def numbers(session: Session, account_id: str) -> dict[str, int]:
    """How many lead to each tunnel: for who sees the tunnels, whose hostnames they see with them."""
    query = _routed(account_id).with_only_columns(Record.tunnel_id, func.count()).group_by(Record.tunnel_id)
    return {str(row[0]): row[1] for row in session.execute(query)}


def of_tunnels(session: Session, account_id: str, tunnel_ids: Sequence[str]) -> dict[str, list[str]]:
    """The names that lead to these tunnels, sorted: for who sees the tunnels, as `numbers`."""
    found: dict[str, list[str]] = {tunnel_id: [] for tunnel_id in tunnel_ids}
    for ids in in_lots(list(tunnel_ids)):
        query = _routed(account_id).where(Record.tunnel_id.in_(ids))
        for row in session.execute(query.with_only_columns(Record.name, Record.tunnel_id).order_by(Record.name)):
            found[row.tunnel_id].append(row.name)
    return found


def covered(
    session: Session, account_id: str, names: Sequence[str], *, reach: Reach, zone_id: str | None = None, most: int
) -> tuple[list[str], int]:
    """The hostnames in zones within reach that a certificate for `names` is good for, exact or by a wildcard of one label: the
    first by name, and how many. `zone_id`: only of that zone."""
    query = _routed(account_id).where(_within(reach)).with_only_columns(Record.name).order_by(Record.name)
    if zone_id is not None:
        query = query.where(Record.zone_id == zone_id)
    exact = [name for name in names if not name.startswith("*.")]
    below = [Record.name.endswith(name[1:], autoescape=True) for name in names if name.startswith("*.")]
    rows = session.scalars(query.where(or_(Record.name.in_(exact), *below)))
    parents = {name[2:] for name in names if name.startswith("*.")}
    found = [name for name in rows if name in exact or name in names or name.partition(".")[2] in parents]
    return found[:most], len(found)


def _within(reach: Reach) -> ColumnElement[bool]:
    return reach.zones_where(Zone.id, Zone.account_id)


def _routed(account_id: str) -> Select[Record]:
    return (
        select(Record)
        .join(Zone, Zone.id == Record.zone_id)
        .where(
            Zone.account_id == account_id,
            Record.type == "CNAME",
            Record.proxied.is_(True),
            Record.tunnel_id.is_not(None),
        )
    )
