"""A public hostname to a tunnel, as `tunnel route dns` asks for it: the zone that it belongs to is found here, never guessed
(api.md 2.6, case 33)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.control import records, tunnels, zones
from qanat.control.record_batches import Batch, apply_batch, check_batch
from qanat.control.record_changes import RecordChange
from qanat.control.record_edit import RepointCheck
from qanat.dns.forms import TUNNEL_SUFFIX, RecordDraft, record_name
from qanat.errors import QanatError
from qanat.ids import parse_hostname
from qanat.store.database import Write
from qanat.store.models import Record, Tunnel, Zone
from qanat.store.reach import Reach

ROUTED_TYPES = ("A", "AAAA", "CNAME")
SHOWN_ZONES = 10

Outcome = Literal["new", "updated", "unchanged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """What came of it. `previous`: where the hostname pointed before it was updated."""

    outcome: Outcome
    record: Record
    previous: tuple[str, ...] = ()


def route(
    write: Write,
    *,
    zone_id: str,
    tunnel_id: str,
    hostname: str,
    overwrite: bool,
    reach: Reach,
    repoint: RepointCheck | None = None,
) -> Routed:
    """A proxied CNAME from the hostname to the tunnel.

    Args:
        zone_id: the caller's own zone: what is in no zone of its account is relative to this one.
        overwrite: whether another target is replaced; a tunnel that is deleted always is.
        reach: the zones that may be edited.
        repoint: asked before a hostname goes from one tunnel to another.

    Raises:
        QanatError: `zone_unknown`, `tunnel_unknown`, `route_zone_forbidden`, `route_no_zone`, `route_taken`, and as
            `records.create`.
    """
    session = write.session
    home = zones.get(session, zone_id, reach=reach)
    tunnel = tunnels.get(session, home.account_id, tunnel_id)
    zone = zone_of(session, home, hostname, reach)
    name = record_name(hostname, zone.name)
    beside = list(
        session.scalars(
            select(Record)
            .where(Record.zone_id == zone.id, Record.name == name, Record.type.in_(ROUTED_TYPES))
            .order_by(Record.type.desc(), Record.id)
        )
    )
    target = f"{tunnel.id}{TUNNEL_SUFFIX}"
    if not beside:
        draft = RecordDraft(name=f"{name}.", type="CNAME", content=target, proxied=True)
        return Routed(outcome="new", record=records.create(write, zone.id, draft, reach=reach))
    there = beside[0].tunnel_id == tunnel.id and len(beside) == 1
    if there and beside[0].proxied:
        write.idle()
        return Routed(outcome="unchanged", record=beside[0])
    previous = tuple(f"{record.type} {record.content}" for record in beside)
    if not (overwrite or there or all(_is_stale(session, record, zone) for record in beside)):
        raise QanatError(
            "route_taken",
            f"An A, AAAA, or CNAME record with that host already exists: {name} is {', '.join(previous[:5])}",
            where="user_hostname",
            hint="overwrite it (--overwrite-dns), or delete that record",
        )
    change = RecordChange(
        {
            "type": "CNAME",
            "content": target,
            "data": None,
            "priority": None,
            "proxied": True,
            "ttl": None,
            "settings": None,
        }
    )
    if len(beside) == 1:
        changed = records.change(write, zone.id, beside[0].id, change, reach=reach, repoint=repoint)
    else:
        batch = Batch(deletes=[record.id for record in beside[1:]], patches=[(beside[0].id, change)])
        checked = check_batch(batch, zone.name)
        changed = apply_batch(write, zone.id, checked, reach=reach, repoint=repoint).patches[0]
    return Routed(outcome="updated", record=changed, previous=previous)


def zone_of(session: Session, home: Zone, hostname: str, reach: Reach) -> Zone:
    """The longest zone of the account that the hostname is in; `home` when there is none, as it is relative then.

    Raises:
        QanatError: `route_zone_forbidden`, that zone is out of reach: a record in a shorter one would never be asked for;
            `route_no_zone`, the name has a last dot and no zone.
    """
    bare = hostname.strip().removesuffix(".")
    try:
        name = str(parse_hostname(bare))
    except QanatError:
        return home  # `@`, `*`: record_name tells what is wrong with the others
    labels = name.removeprefix("*.").split(".")
    suffixes = [".".join(labels[start:]) for start in range(len(labels))]
    query = select(Zone).where(Zone.account_id == home.account_id, Zone.name.in_(suffixes))
    found = max(session.scalars(query), key=lambda zone: len(zone.name), default=None)
    if found is None:
        if bare != hostname.strip():
            raise QanatError(
                "route_no_zone",
                f"{name} is in none of the zones that may be edited: {_zones_named(session, home, reach)}",
                where="user_hostname",
            )
        return home
    if not reach.has_zone(found.id, found.account_id):
        raise QanatError(
            "route_zone_forbidden",
            f"{name} is in the zone {found.name}, which this token may not edit; it may edit "
            f"{_zones_named(session, home, reach)}",
            where="user_hostname",
        )
    return found


def _is_stale(session: Session, record: Record, zone: Zone) -> bool:
    """Whether it points to a tunnel of the account that is deleted."""
    tunnel = session.get(Tunnel, record.tunnel_id) if record.tunnel_id is not None else None
    return tunnel is not None and tunnel.account_id == zone.account_id and tunnel.deleted_at is not None


def _zones_named(session: Session, home: Zone, reach: Reach) -> str:
    query = (
        select(Zone.name)
        .where(Zone.account_id == home.account_id, reach.zones_where(Zone.id, Zone.account_id))
        .order_by(Zone.name)
        .limit(SHOWN_ZONES + 1)
    )
    names: Sequence[str] = session.scalars(query).all()
    return ", ".join(names[:SHOWN_ZONES]) + (", …" if len(names) > SHOWN_ZONES else "")
