"""A hostname that leads to several tunnels by weights, for canary steps and plain balancing. Its record, a proxied
CNAME to one of them, stays the declaration: repointed to another tunnel, by whatever client, the record alone counts
(tables/routes.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from qanat.control import tunnels
from qanat.control.record_edit import RepointCheck
from qanat.errors import QanatError
from qanat.ids import parse_hostname
from qanat.store.database import Write
from qanat.store.models import HostnameTarget, Record, Tunnel, Zone
from qanat.store.notices import Notice, NoticeKind
from qanat.store.reach import Reach
from qanat.tables.routes import Sticky

MOST_TARGETS = 16
MOST_WEIGHT = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """A public hostname: its zone, and the record that declares it."""

    zone: Zone
    record: Record


@dataclass(frozen=True, slots=True)
class Targets:
    """Where a hostname leads: tunnels with their weights. `is_split`: by weights that were set, and not by its record alone.
    `overruled`: weights were set, and the record points to a tunnel that isn't among them."""

    place: Place
    shares: tuple[tuple[Tunnel, int], ...]
    sticky: Sticky
    is_split: bool
    overruled: bool = False


def find(session: Session, account_id: str, hostname: str, *, reach: Reach) -> Place:
    """QanatError `hostname_unknown`: it has no proxied CNAME to a tunnel in a zone of the account that is seen."""
    name = str(parse_hostname(hostname))
    labels = name.removeprefix("*.").split(".")
    above = [".".join(labels[start:]) for start in range(len(labels))]
    zones = session.scalars(select(Zone).where(Zone.name.in_(above)))
    zone = max(zones, key=lambda zone: len(zone.name), default=None)
    if zone is not None and zone.account_id == account_id and reach.has_zone(zone.id, zone.account_id):
        routed = select(Record).where(
            Record.zone_id == zone.id,
            Record.name == name,
            Record.type == "CNAME",
            Record.proxied.is_(True),
            Record.tunnel_id.is_not(None),
        )
        record = session.scalars(routed.order_by(Record.id)).first()
        if record is not None:
            return Place(zone, record)
    raise QanatError(
        "hostname_unknown",
        f"{name} has no proxied CNAME to a tunnel in a zone of this account",
        where="hostname",
        hint=f"make one: `qanat record create {name} --tunnel TUNNEL`",
    )


def get(session: Session, place: Place) -> Targets:
    """As it is now."""
    rows = _rows(session, place.zone.id, place.record.name)
    declared = place.record.tunnel_id
    among = any(row.tunnel_id == declared for row in rows)
    wanted = [(row.tunnel_id, row.weight) for row in rows] if among else [(declared or "", 1)]
    sticky = cast(Sticky, rows[0].sticky) if among else "none"
    found = [(session.get(Tunnel, tunnel_id), weight) for tunnel_id, weight in wanted]
    shares = tuple((tunnel, weight) for tunnel, weight in found if tunnel is not None)
    return Targets(place, shares, sticky, is_split=among, overruled=bool(rows) and not among)


def put(
    write: Write,
    place: Place,
    shares: Sequence[tuple[str, int]],
    sticky: Sticky,
    *,
    repoint: RepointCheck | None = None,
) -> None:
    """Sets the weights of a hostname, all at once. `repoint`: asked of each tunnel that gets a larger part than it had.

    Raises:
        QanatError: `targets_bad`: none, too many, one twice, a weight out of bounds, none above 0, or the record's
            tunnel isn't among them; `tunnel_unknown`; and as the `RepointCheck`.
    """
    check_shares(shares)
    if all(tunnel_id != place.record.tunnel_id for tunnel_id, _ in shares):
        raise _bad(f"the tunnel that the record points to, {place.record.tunnel_id}, is one of them")
    for at, (tunnel_id, _) in enumerate(shares):
        try:
            tunnels.get(write.session, place.zone.account_id, tunnel_id)
        except QanatError as error:
            raise QanatError("tunnel_unknown", error.message, where=f"targets[{at}].tunnel_id") from error
    _ask(write, place, shares, repoint)
    replace(write, place.zone.id, place.record.name, shares, sticky)
    _audit(write, "hostname.weights", place, {"targets": [list(share) for share in shares], "sticky": sticky})


def clear(write: Write, place: Place, *, repoint: RepointCheck | None = None) -> None:
    """Its record alone says where the hostname leads. QanatError as the `RepointCheck`."""
    if not _rows(write.session, place.zone.id, place.record.name):
        write.idle()
        return
    _ask(write, place, alone(place), repoint)
    replace(write, place.zone.id, place.record.name, (), "none")
    _audit(write, "hostname.weights", place, {"targets": []})


def alone(place: Place) -> list[tuple[str, int]]:
    """The shares of a hostname without weights."""
    return [(place.record.tunnel_id or "", 1)]


def gains(session: Session, place: Place, shares: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
    """What these shares would move: from the tunnel that has most of the hostname now, to each that gets a larger part."""
    now = _parts([(tunnel.id, weight) for tunnel, weight in get(session, place).shares])
    later = _parts(shares)
    found = []
    for tunnel_id, part in later.items():
        others = {each: held for each, held in now.items() if each != tunnel_id and held > 0}
        if part > now.get(tunnel_id, 0.0) and others:
            found.append((max(others, key=lambda each: (others[each], each)), tunnel_id))
    return found


def replace(write: Write, zone_id: str, hostname: str, shares: Sequence[tuple[str, int]], sticky: Sticky) -> None:
    """The rows themselves, and the notice, as part of a larger write that has its own audit row. Nothing is checked."""
    put_rows(write, zone_id, hostname, shares, sticky)
    write.notice(Notice(NoticeKind.ROUTES, hostnames=(hostname,), zone_id=zone_id))


def put_rows(write: Write, zone_id: str, hostname: str, shares: Sequence[tuple[str, int]], sticky: Sticky) -> None:
    """The rows alone."""
    gone = delete(HostnameTarget).where(HostnameTarget.zone_id == zone_id, HostnameTarget.hostname == hostname)
    write.session.execute(gone)
    for tunnel_id, weight in shares:
        row = HostnameTarget(zone_id=zone_id, hostname=hostname, tunnel_id=tunnel_id, weight=weight, sticky=sticky)
        write.session.add(row)
    write.session.flush()


def shares_of(session: Session, zone_id: str, hostname: str) -> list[tuple[str, int]]:
    """(tunnel id, weight) as they were set; [] when none were."""
    return [(row.tunnel_id, row.weight) for row in _rows(session, zone_id, hostname)]


def _rows(session: Session, zone_id: str, hostname: str) -> list[HostnameTarget]:
    query = select(HostnameTarget).where(HostnameTarget.zone_id == zone_id, HostnameTarget.hostname == hostname)
    return list(session.scalars(query.order_by(HostnameTarget.tunnel_id)))


def check_shares(shares: Sequence[tuple[str, int]]) -> None:
    """QanatError `targets_bad`."""
    if not 1 <= len(shares) <= MOST_TARGETS:
        raise _bad(f"a hostname leads to 1 to {MOST_TARGETS} tunnels, not to {len(shares)}")
    for at, (tunnel_id, weight) in enumerate(shares):
        if not 0 <= weight <= MOST_WEIGHT:
            raise _bad(f"{weight} is not a valid weight: it is 0 to {MOST_WEIGHT}", f"targets[{at}].weight")
        if any(tunnel_id == before for before, _ in shares[:at]):
            raise _bad("this tunnel is there twice", f"targets[{at}].tunnel_id")
    if not any(weight for _, weight in shares):
        raise _bad("at least one weight is above 0")


def _ask(write: Write, place: Place, shares: Sequence[tuple[str, int]], repoint: RepointCheck | None) -> None:
    if repoint is None:
        return
    for source, target in gains(write.session, place, shares):
        repoint(write, place.zone, place.record.name, source, target)


def _parts(shares: Sequence[tuple[str, int]]) -> dict[str, float]:
    whole = sum(weight for _, weight in shares) or 1
    return {tunnel_id: weight / whole for tunnel_id, weight in shares}


def _bad(message: str, where: str = "targets") -> QanatError:
    return QanatError("targets_bad", message, where=where)


def _audit(write: Write, action: str, place: Place, detail: dict[str, object]) -> None:
    told = {"name": place.record.name, **detail}
    write.audit(action, place.record.id, account_id=place.zone.account_id, detail=told)
