"""Zones: a name that belongs to one account, and the records below it."""

from collections.abc import Collection
from secrets import token_hex

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.ids import parse_hostname
from qanat.store.audit import Actor
from qanat.store.database import Store
from qanat.store.models import Account, Record, Zone
from qanat.store.notices import Notice, NoticeKind

ORDERS = {
    "name": Zone.name,
    "status": Zone.name,
    "account.id": Zone.account_id,
    "account.name": Account.name,
    "plan.id": Zone.name,
}


def create_zone(store: Store, actor: Actor, *, account_id: str, name: str, paused: bool = False) -> Zone:
    """QanatError `zone_exists`, also when another account has a zone above or below: its hostnames are taken."""
    hostname = parse_hostname(name, wildcard=False)
    if "." not in hostname:
        raise QanatError("bad_hostname", f"{hostname} is a single label; a zone has at least two", where="name")
    with store.writing(actor) as write:
        suffixes = [hostname.split(".", cut)[-1] for cut in range(hostname.count("."))]
        taken = write.session.scalar(
            select(Zone)
            .where(
                or_(
                    Zone.name == hostname,
                    and_(
                        Zone.account_id != account_id,
                        or_(Zone.name.in_(suffixes), Zone.name.endswith(f".{hostname}", autoescape=True)),
                    ),
                )
            )
            .limit(1)
        )
        if taken is not None:
            raise QanatError("zone_exists", f"{hostname} already exists", where="name")
        zone = Zone(
            id=token_hex(16),
            account_id=account_id,
            name=hostname,
            paused=paused,
            type="full",
            created_at=write.at,
            modified_at=write.at,
        )
        write.session.add(zone)
        write.audit("zone.create", zone.id, account_id=account_id, detail={"name": hostname})
        write.notice(Notice(NoticeKind.ZONE, zone_id=zone.id, account_id=account_id))
    return zone


def change_zone(store: Store, actor: Actor, zone_id: str, *, only: str | None, paused: bool | None) -> Zone:
    """Sets what is given; `modified_at` moves only on a real change."""
    with store.writing(actor) as write:
        zone = get_zone(write.session, zone_id, only=only)
        if paused is not None and paused != zone.paused:
            zone.paused = paused
            zone.modified_at = write.at
        write.audit("zone.change", zone.id, account_id=zone.account_id, detail={"paused": paused})
        write.notice(Notice(NoticeKind.ZONE, zone_id=zone.id, account_id=zone.account_id))
    return zone


def delete_zone(store: Store, actor: Actor, zone_id: str, *, only: str | None) -> Zone:
    """The zone and its records."""
    with store.writing(actor) as write:
        zone = get_zone(write.session, zone_id, only=only)
        records = write.session.scalar(select(func.count()).select_from(Record).where(Record.zone_id == zone.id)) or 0
        write.session.delete(zone)
        write.audit("zone.delete", zone.id, account_id=zone.account_id, detail={"name": zone.name, "records": records})
        write.notice(Notice(NoticeKind.ZONE, zone_id=zone.id, account_id=zone.account_id))
    return zone


def get_zone(session: Session, zone_id: str, *, only: str | None = None) -> Zone:
    """QanatError `zone_unknown`, the same for another account's."""
    zone = session.get(Zone, zone_id)
    if zone is None or only not in (None, zone.account_id):
        raise QanatError("zone_unknown", "no such zone", where="zone_id")
    return zone


def list_zones(
    session: Session,
    *,
    only: str | None,
    match_any: bool,
    name: str | None,
    statuses: Collection[str],
    account_id: str | None,
    account_name: str | None,
    types: Collection[str],
    order: str | None,
    descending: bool,
    offset: int,
    limit: int,
) -> tuple[list[tuple[Zone, Account]], int]:
    """A page of zones with their accounts, and how many match in all. A zone here is always `active`, type `full`."""
    filters: list[ColumnElement[bool]] = []
    if name is not None:
        filters.append(Zone.name == _folded(name))
    if statuses:
        filters.append(Zone.id.is_not(None) if "active" in statuses else Zone.id.is_(None))
    if types:
        filters.append(Zone.type.in_(types))
    if account_id is not None:
        filters.append(Zone.account_id == account_id)
    if account_name is not None:
        filters.append(Account.name == account_name)
    query = select(Zone, Account).join(Account, Account.id == Zone.account_id)
    if only is not None:
        query = query.where(Zone.account_id == only)
    if filters:
        query = query.where(or_(*filters) if match_any else and_(*filters))
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(Zone.id).subquery())) or 0
    column = ORDERS.get(order or "name", Zone.name)
    ordered = (column.desc(), Zone.id.desc()) if descending else (column, Zone.id)
    rows = session.execute(query.order_by(*ordered).offset(offset).limit(limit))
    return [(zone, account) for zone, account in rows], total


def _folded(name: str) -> str:
    try:
        return parse_hostname(name, wildcard=False)
    except QanatError:
        return name.lower()
