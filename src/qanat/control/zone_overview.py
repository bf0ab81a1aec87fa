"""An account's zones as lists show them, with what is in each; held names of deleted ones; what a zone's end takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.control import zone_settings, zones
from qanat.store.models import Certificate, Record, ReleasedName, Tunnel, Zone, ZoneSetting
from qanat.store.reach import Reach

MOST_HELD = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneLine:
    """A zone, and how many records, public hostnames and certificates it has. `said`: its own settings by name, error pages as
    True."""

    id: str
    name: str
    paused: bool
    created_at: datetime
    records: int
    hostnames: int
    certificates: int
    said: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """The name of a deleted zone, which until then only its account may take again."""

    name: str
    released_at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Loss:
    """What goes with a zone: counts, and the first of its public hostnames with the tunnels (names) that serve them."""

    records: int
    hostnames: int
    certificates: int
    first: list[tuple[str, str]]


def page(
    session: Session, account_id: str, *, reach: Reach, search: str, offset: int, limit: int
) -> tuple[list[ZoneLine], int]:
    """By name, those whose name contains `search`; and how many match in all."""
    rows, total = zones.page(
        session,
        reach=reach,
        match_any=False,
        name=f"contains:{search}" if search else None,
        statuses=(),
        account_id=account_id,
        account_name=None,
        types=(),
        order="name",
        descending=False,
        offset=offset,
        limit=limit,
    )
    ids = [zone.id for zone, _ in rows]
    routed = Record.proxied.is_(True), Record.tunnel_id.is_not(None), Record.type == "CNAME"
    records = _counted(session, Record.zone_id, Record.zone_id.in_(ids))
    hostnames = _counted(session, Record.zone_id, Record.zone_id.in_(ids), *routed)
    certificates = _counted(session, Certificate.zone_id, Certificate.zone_id.in_(ids))
    said = _said(session, ids)
    return [
        ZoneLine(
            id=zone.id,
            name=zone.name,
            paused=zone.paused,
            created_at=zone.created_at,
            records=records.get(zone.id, 0),
            hostnames=hostnames.get(zone.id, 0),
            certificates=certificates.get(zone.id, 0),
            said=said[zone.id],
        )
        for zone, _ in rows
    ], total


def held(session: Session, account_id: str, now: datetime) -> list[Held]:
    """Names that the account may take again, and nobody else; the newest first."""
    query = select(ReleasedName).where(
        ReleasedName.account_id == account_id, ReleasedName.released_at > now - zones.HELD
    )
    rows = session.scalars(query.order_by(ReleasedName.released_at.desc(), ReleasedName.name).limit(MOST_HELD))
    return [Held(row.name, row.released_at, row.released_at + zones.HELD) for row in rows]


def loss(session: Session, zone: Zone, *, most: int) -> Loss:
    """What deleting the zone takes, and what pausing it stops. At most `most` hostnames are named."""
    routed = Record.proxied.is_(True), Record.tunnel_id.is_not(None), Record.type == "CNAME"
    mine = Record.zone_id == zone.id
    first = (
        select(Record.name, Tunnel.name.label("tunnel"))
        .outerjoin(Tunnel, Tunnel.id == Record.tunnel_id)
        .where(mine, *routed)
    )
    return Loss(
        records=_counted(session, Record.zone_id, mine).get(zone.id, 0),
        hostnames=_counted(session, Record.zone_id, mine, *routed).get(zone.id, 0),
        certificates=_counted(session, Certificate.zone_id, Certificate.zone_id == zone.id).get(zone.id, 0),
        first=[
            (row.name, row.tunnel or "") for row in session.execute(first.order_by(Record.name, Record.id).limit(most))
        ],
    )


def _counted(session: Session, column: Any, *conditions: Any) -> dict[str, int]:
    rows = session.execute(select(column, func.count()).where(*conditions).group_by(column))
    return {str(row[0]): int(row[1]) for row in rows}


def _said(session: Session, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Pages are large, and here only whether there are any is told."""
    found: dict[str, dict[str, Any]] = {zone_id: {} for zone_id in ids}
    is_page = ZoneSetting.name.in_([zone_settings.page_setting(kind) for kind in zone_settings.PAGE_KINDS])
    query = select(ZoneSetting).where(ZoneSetting.zone_id.in_(ids), ~is_page)
    for row in session.scalars(query):
        found[row.zone_id][row.name] = row.value["value"]
    pages = select(ZoneSetting.zone_id, ZoneSetting.name).where(ZoneSetting.zone_id.in_(ids), is_page)
    for zone_id, name in session.execute(pages):
        found[zone_id][name] = True
    return found
