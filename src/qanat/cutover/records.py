"""The records of a cutover's hostnames: found, repointed, put back exactly as they were, and watched for other hands."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.control import zones
from qanat.control.record_changes import FORMED, RecordChange
from qanat.control.record_edit import RecordEdit
from qanat.cutover import weights
from qanat.dns.forms import TUNNEL_SUFFIX, RecordForm, check_record
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.models import Record, Zone
from qanat.store.reach import Reach
from qanat.store.versions import row_version

Kept = dict[str, Any]
"""Of one hostname: `zone_id`, `record_id`, `before` (the record's own fields), and `version`, which the cutover left it with."""


Share = tuple[str, int]
"""A tunnel and its weight."""


class Place(NamedTuple):
    """Where a hostname's requests are led from."""

    hostname: str
    zone: Zone
    record: Record


def find(session: Session, account_id: str, hostname: str, *, reach: Reach) -> Place:
    """The proxied CNAME that leads a hostname to a tunnel, in the longest zone of the account that it is in.

    Raises:
        QanatError: `cutover_hostname_unknown`.
    """
    bare = hostname.removeprefix("*.").split(".")
    names = [".".join(bare[start:]) for start in range(len(bare))]
    owned = session.scalars(select(Zone).where(Zone.account_id == account_id, Zone.name.in_(names)))
    zone = max(owned, key=lambda each: len(each.name), default=None)
    if zone is None or not reach.has_zone(zone.id, zone.account_id):
        raise QanatError(
            "cutover_hostname_unknown", f"{hostname} is in no zone that this token may edit", where="hostnames"
        )
    query = select(Record).where(Record.zone_id == zone.id, Record.name == hostname, Record.type == "CNAME")
    record = session.scalar(query.where(Record.proxied.is_(True), Record.tunnel_id.is_not(None)).limit(1))
    if record is None:
        raise QanatError(
            "cutover_hostname_unknown",
            f"{hostname} has no proxied CNAME to a tunnel",
            where="hostnames",
            hint="the first record of a hostname needs no cutover: create it",
        )
    return Place(hostname, zone, record)


def places(
    session: Session, account_id: str, hostnames: Iterable[str], from_tunnel: str, *, reach: Reach
) -> list[Place]:
    """Those of a plan, which all must lead to the tunnel that they leave.

    Raises:
        QanatError: `cutover_hostname_unknown`, `cutover_not_from`, `cutover_weighted`.
    """
    found = [find(session, account_id, hostname, reach=reach) for hostname in hostnames]
    for place in found:
        if place.record.tunnel_id != from_tunnel:
            raise QanatError(
                "cutover_not_from",
                f"{place.hostname} leads to the tunnel {place.record.tunnel_id}, not to {from_tunnel}",
                where="hostnames",
                hint="name the tunnel that serves it now",
            )
        if any(tunnel == from_tunnel for tunnel, _ in weights.read(session, place.zone.id, place.hostname)):
            raise QanatError(
                "cutover_weighted",
                f"{place.hostname} leads to several tunnels by weights",
                where="hostnames",
                hint="take the weights away first, or change them instead",
            )
    return found


def others(session: Session, tunnel_id: str, hostnames: Iterable[str]) -> list[str]:
    """The hostnames that lead to the tunnel and aren't among these."""
    query = select(Record.name).where(Record.tunnel_id == tunnel_id, Record.proxied.is_(True), Record.type == "CNAME")
    return sorted(set(session.scalars(query)) - set(hostnames))


def kept(place: Place) -> Kept:
    """What is written down before anything is moved."""
    return {
        "zone_id": place.zone.id,
        "record_id": place.record.id,
        "version": row_version(place.record),
        "before": {name: getattr(place.record, name) for name in FORMED},
    }


def changed(session: Session, records: Mapping[str, Kept], shares: Sequence[Share] = ()) -> dict[str, str]:
    """The hostnames whose record is no longer as the cutover left it, and what became of it. `shares`: the weights that it
    set."""
    found: dict[str, str] = {}
    for hostname, one in records.items():
        record = session.get(Record, one["record_id"])
        if record is None or record.zone_id != one["zone_id"]:
            found[hostname] = "was deleted"
        elif record.name != hostname:
            found[hostname] = f"was renamed to {record.name}"
        elif row_version(record) != one["version"]:
            found[hostname] = f"was changed: it is {record.type} {record.content} now"
        elif sorted(weights.read(session, one["zone_id"], hostname)) != sorted(shares):
            found[hostname] = "got other weights"
    return found


def repoint(write: Write, records: Mapping[str, Kept], to_tunnel: str, *, action: str) -> dict[str, Kept]:
    """Every record to the other tunnel, and no weights any more; nothing else of them changes."""

    def form(record: Record, _one: Kept, zone: Zone) -> RecordForm:
        change = RecordChange({"content": f"{to_tunnel}{TUNNEL_SUFFIX}"})
        return check_record(change.draft(record), zone.name)

    return _rewritten(write, records, form, action)


def restore(write: Write, records: Mapping[str, Kept], *, action: str) -> dict[str, Kept]:
    """Every record exactly as it was before the cutover, and no weights."""

    def form(_record: Record, one: Kept, _zone: Zone) -> RecordForm:
        return RecordForm(**one["before"])

    return _rewritten(write, records, form, action)


def _rewritten(write: Write, records: Mapping[str, Kept], form: Any, action: str) -> dict[str, Kept]:
    after: dict[str, Kept] = {}
    edits: dict[str, RecordEdit] = {}
    for hostname, one in records.items():
        zone_id = one["zone_id"]
        if zone_id not in edits:
            edits[zone_id] = RecordEdit(write, zones.get(write.session, zone_id))
        edit = edits[zone_id]
        record = write.session.get_one(Record, one["record_id"])
        weights.clear(write, zone_id, hostname)
        wanted: RecordForm = form(record, one, edit.zone)
        if any(getattr(record, name) != getattr(wanted, name) for name in FORMED):
            edit.replace(record, wanted)
        after[hostname] = {**one, "version": row_version(record)}
    for edit in edits.values():
        edit.finish(action)
    return after
