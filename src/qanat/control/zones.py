"""Zones: a name that belongs to one account, and the records below it."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from secrets import token_hex

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import InstrumentedAttribute, Session

from qanat.control import accounts
from qanat.errors import QanatError
from qanat.ids import parse_hostname, shown_hostname
from qanat.store.database import Write
from qanat.store.models import Account, Record, ReleasedName, Zone
from qanat.store.notices import Notice, NoticeKind
from qanat.store.reach import EVERYTHING, Reach

ORDERS = {
    "name": Zone.name,
    "status": Zone.name,
    "account.id": Zone.account_id,
    "account.name": Account.name,
    "plan.id": Zone.name,
}
OPERATORS = frozenset(
    ["equal", "not_equal"]
    + [f"{each}{case}" for each in ("contains", "starts_with", "ends_with") for case in ("", "_case_sensitive")]
)
HELD = timedelta(days=30)


def create(write: Write, *, account_id: str, name: str, paused: bool = False) -> Zone:
    """A zone of an account, which then owns every name below it (security.md S47).

    Raises:
        QanatError: `zone_exists`, also when another account has a zone above or below; `zone_held`, when it had one lately;
            `account_unknown`: it is gone.
    """
    hostname = parse_hostname(name, wildcard=False)
    if "." not in hostname:
        raise QanatError("bad_hostname", f"{hostname} is a single label; a zone has at least two", where="name")
    accounts.get(write.session, account_id)
    check_free(write.session, hostname, account_id, write.at)
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
    write.grow("zones", account_id)
    write.session.execute(sql_delete(ReleasedName).where(ReleasedName.name == hostname))
    write.audit("zone.create", zone.id, account_id=account_id, detail={"name": hostname})
    write.notice(Notice(NoticeKind.ZONE, zone_id=zone.id, account_id=account_id))
    return zone


def change(write: Write, zone_id: str, *, reach: Reach, paused: bool | None) -> Zone:
    """Sets what is given; `modified_at` moves only on a real change."""
    zone = get(write.session, zone_id, reach=reach)
    if paused is not None and paused != zone.paused:
        zone.paused = paused
        zone.modified_at = write.at
    write.audit("zone.change", zone.id, account_id=zone.account_id, detail={"paused": paused})
    write.notice(Notice(NoticeKind.ZONE, zone_id=zone.id, account_id=zone.account_id))
    return zone


def set_cutover_policy(write: Write, zone_id: str, policy: str | None, *, reach: Reach) -> Zone:
    """What becomes of a record that is repointed to a tunnel that doesn't serve; None: as the edge's setting says."""
    zone = get(write.session, zone_id, reach=reach)
    zone.cutover_policy = policy
    write.audit("zone.cutover_policy", zone.id, account_id=zone.account_id, detail={"policy": policy})
    return zone


def delete(write: Write, zone_id: str, *, reach: Reach) -> Zone:
    """The zone and its records. Its name is held for the account: others may not claim it for 30 days."""
    zone = get(write.session, zone_id, reach=reach)
    records = write.session.scalar(select(func.count()).select_from(Record).where(Record.zone_id == zone.id)) or 0
    write.session.delete(zone)
    write.session.merge(ReleasedName(name=zone.name, account_id=zone.account_id, released_at=write.at))
    write.audit("zone.delete", zone.id, account_id=zone.account_id, detail={"name": zone.name, "records": records})
    write.notice(Notice(NoticeKind.ZONE, zone_id=zone.id, account_id=zone.account_id))
    return zone


def get(session: Session, zone_id: str, *, reach: Reach = EVERYTHING) -> Zone:
    """QanatError `zone_unknown`, the same for another account's."""
    zone = session.get(Zone, zone_id) if zone_id.isalnum() else None  # PostgreSQL takes no NUL
    if zone is None or not reach.has_zone(zone.id, zone.account_id):
        raise unknown()
    return zone


def unknown() -> QanatError:
    """Of a zone that isn't there, or isn't seen."""
    return QanatError("zone_unknown", "no such zone", where="zone_id")


def account_of(session: Session) -> Callable[[str], str | None]:
    """The account of a zone, by its id."""

    def find(zone_id: str) -> str | None:
        zone = session.get(Zone, zone_id)
        return zone.account_id if zone is not None else None

    return find


def names(session: Session, account_id: str, *, reach: Reach, most: int) -> list[tuple[str, str]]:
    """Id and name of an account's zones within reach, the first by name."""
    query = select(Zone.id, Zone.name).where(Zone.account_id == account_id, reach.zones_where(Zone.id, Zone.account_id))
    return [(str(row[0]), str(row[1])) for row in session.execute(query.order_by(Zone.name).limit(most))]


def page(
    session: Session,
    *,
    reach: Reach,
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
        filters.append(_zone_named(session, name))
    if statuses:
        filters.append(Zone.id.is_not(None) if "active" in statuses else Zone.id.is_(None))
    if types:
        filters.append(Zone.type.in_(types))
    if account_id is not None:
        filters.append(Zone.account_id == account_id)
    if account_name is not None:
        filters.append(_named(Account.name, account_name, folded=str))
    query = select(Zone, Account).join(Account, Account.id == Zone.account_id)
    query = query.where(reach.zones_where(Zone.id, Zone.account_id))
    if filters:
        query = query.where(or_(*filters) if match_any else and_(*filters))
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(Zone.id).subquery())) or 0
    column = ORDERS.get(order or "name", Zone.name)
    ordered = (column.desc(), Zone.id.desc()) if descending else (column, Zone.id)
    rows = session.execute(query.order_by(*ordered).offset(offset).limit(limit))
    return [(zone, account) for zone, account in rows], total


def check_free(session: Session, hostname: str, account_id: str, now: datetime) -> None:
    """Nobody else has, or lately had, the name, one above or one below; and the account itself hasn't it."""
    above = [hostname.split(".", cut)[-1] for cut in range(hostname.count("."))]
    below = f".{hostname}"
    taken = select(Zone.id).where(
        or_(
            Zone.name == hostname,
            and_(
                Zone.account_id != account_id,
                or_(Zone.name.in_(above), Zone.name.endswith(below, autoescape=True)),
            ),
        )
    )
    if session.scalar(taken.limit(1)) is not None:
        raise QanatError("zone_exists", f"{hostname} already exists", where="name")
    held = select(ReleasedName).where(
        ReleasedName.account_id != account_id,
        ReleasedName.released_at > now - HELD,
        or_(ReleasedName.name.in_(above), ReleasedName.name.endswith(below, autoescape=True)),
    )
    released = session.scalar(held.order_by(ReleasedName.released_at.desc()).limit(1))
    if released is not None:
        until = (released.released_at + HELD).date().isoformat()
        raise QanatError(
            "zone_held",
            f"{hostname} is held until {until}: it belonged to another account's zone, which was deleted",
            where="name",
            hint="until then only that account may take it",
        )


def _zone_named(session: Session, text: str) -> ColumnElement[bool]:
    """A zone's name by either of its forms: as it is kept, and as it is answered, in Unicode."""
    operator, colon, operand = text.partition(":")
    if not colon or operator not in OPERATORS or operator in ("equal", "not_equal"):
        return _named(Zone.name, text, folded=_folded)
    test = {"contains": str.__contains__, "starts_with": str.startswith, "ends_with": str.endswith}
    passes, part = test[operator.removesuffix("_case_sensitive")], operand.lower()
    international = session.execute(select(Zone.id, Zone.name).where(Zone.name.contains("xn--")))
    ids = [row.id for row in international if passes(shown_hostname(row.name), part)]
    return or_(_named(Zone.name, text, folded=_folded), Zone.id.in_(ids))


def _named(column: InstrumentedAttribute[str], text: str, *, folded: Callable[[str], str]) -> ColumnElement[bool]:
    """A name's filter: exact, or with an operator as stock has them, such as `contains:shop`."""
    operator, colon, operand = text.partition(":")
    if not colon or operator not in OPERATORS:
        return column == folded(text)
    if operator in ("equal", "not_equal"):
        return column == folded(operand) if operator == "equal" else column != folded(operand)
    # Names of zones are in lower case, so that the case can only matter for accounts' names, where it doesn't to stock.
    match operator.removesuffix("_case_sensitive"):
        case "contains":
            return column.icontains(operand, autoescape=True)
        case "starts_with":
            return column.istartswith(operand, autoescape=True)
        case _:
            return column.iendswith(operand, autoescape=True)


def _folded(name: str) -> str:
    try:
        return parse_hostname(name, wildcard=False)
    except QanatError:
        return name.lower()
