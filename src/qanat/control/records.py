"""DNS records, one by one: made, changed, deleted and listed."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from qanat.control import zones
from qanat.control.record_changes import RecordChange
from qanat.control.record_edit import RecordEdit, RepointCheck, unknown
from qanat.dns.forms import RecordDraft, check_record
from qanat.store.database import Write
from qanat.store.models import Record
from qanat.store.reach import Reach
from qanat.store.versions import Expected, check_row

ORDERS = {
    "type": Record.type,
    "name": Record.name,
    "content": Record.content,
    "ttl": Record.ttl,
    "proxied": Record.proxied,
}


def create(write: Write, zone_id: str, draft: RecordDraft, *, reach: Reach) -> Record:
    """QanatError `zone_unknown`, and as `check_record` and `NamesInUse.check`."""
    edit = RecordEdit(write, zones.get(write.session, zone_id, reach=reach))
    record = edit.create(check_record(draft, edit.zone.name))
    edit.finish_one("record.create", record)
    return record


def replace(
    write: Write,
    zone_id: str,
    record_id: str,
    draft: RecordDraft,
    *,
    reach: Reach,
    expected: Expected | None = None,
    repoint: RepointCheck | None = None,
) -> Record:
    """The record as the draft says; id and `created_at` stay, `modified_at` moves only on a real change. `expected`: the
    `row_version` that it must have. `repoint`: asked before it goes to another tunnel."""
    edit = RecordEdit(write, zones.get(write.session, zone_id, reach=reach), repoint=repoint)
    record = get(write.session, edit.zone.id, record_id)
    check_row(expected, record)
    edit.replace(record, check_record(draft, edit.zone.name))
    edit.finish_one("record.change", record)
    return record


def change(
    write: Write,
    zone_id: str,
    record_id: str,
    patch: RecordChange,
    *,
    reach: Reach,
    expected: Expected | None = None,
    repoint: RepointCheck | None = None,
) -> Record:
    """What is given changes, the rest stays."""
    edit = RecordEdit(write, zones.get(write.session, zone_id, reach=reach), repoint=repoint)
    record = get(write.session, edit.zone.id, record_id)
    check_row(expected, record)
    edit.replace(record, check_record(patch.draft(record), edit.zone.name))
    edit.finish_one("record.change", record)
    return record


def delete(write: Write, zone_id: str, record_id: str, *, reach: Reach, expected: Expected | None = None) -> Record:
    """QanatError `record_unknown`."""
    edit = RecordEdit(write, zones.get(write.session, zone_id, reach=reach))
    record = get(write.session, edit.zone.id, record_id)
    check_row(expected, record)
    edit.delete(record)
    edit.finish_one("record.delete", record)
    return record


def get(session: Session, zone_id: str, record_id: str) -> Record:
    """QanatError `record_unknown`, also for a record of another zone."""
    record = session.get(Record, record_id) if record_id.isalnum() else None  # PostgreSQL takes no NUL
    if record is None or record.zone_id != zone_id:
        raise unknown()
    return record


def page(
    session: Session,
    zone_id: str,
    *,
    filters: Sequence[ColumnElement[bool]] = (),
    match_any: bool = False,
    search: ColumnElement[bool] | None = None,
    order: str | None = None,
    descending: bool = False,
    offset: int = 0,
    limit: int | None = None,
) -> tuple[list[Record], int]:
    """A page of the zone's records, and how many match in all. `search` holds whatever `match_any` says."""
    query = select(Record).where(Record.zone_id == zone_id)
    if filters:
        query = query.where(or_(*filters) if match_any else and_(*filters))
    if search is not None:
        query = query.where(search)
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(Record.id).subquery())) or 0
    column = ORDERS.get(order or "type", Record.type)
    keys = (column, Record.name, Record.id) if column is not Record.name else (Record.name, Record.type, Record.id)
    ordered = [key.desc() for key in keys] if descending else list(keys)
    return list(session.scalars(query.order_by(*ordered).offset(offset).limit(limit))), total
