"""DNS records: each (name, type, content) once, no address beside a CNAME, tunnels of the own account only."""

from collections.abc import Sequence
from datetime import datetime
from secrets import token_hex

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.store.audit import Actor
from qanat.store.database import Store, Write
from qanat.store.models import Record, Tunnel, Zone
from qanat.store.notices import Notice, NoticeKind
from qanat.store.record_form import RecordDraft, RecordForm, check_record
from qanat.store.zones import get_zone

ORDERS = {
    "type": Record.type,
    "name": Record.name,
    "content": Record.content,
    "ttl": Record.ttl,
    "proxied": Record.proxied,
}
ADDRESSES = ("A", "AAAA")


def create_record(store: Store, actor: Actor, zone_id: str, draft: RecordDraft, *, only: str | None) -> Record:
    """QanatError as `check_record`, and `record_identical`, `record_exists`, `record_host_taken`, `record_cname_taken`,
    `record_bad_content` (an unknown tunnel)."""
    with store.writing(actor) as write:
        zone = get_zone(write.session, zone_id, only=only)
        form = check_record(draft, zone.name)
        _check_conflicts(write.session, zone, form, own_id=None)
        record = Record(id=token_hex(16), zone_id=zone.id, created_at=write.at, modified_at=write.at)
        _fill(record, form, write.at, is_new=True)
        write.session.add(record)
        _told(write, zone, record, "record.create", routed=_is_route(record))
    return record


def replace_record(
    store: Store, actor: Actor, zone_id: str, record_id: str, draft: RecordDraft, *, only: str | None
) -> Record:
    """The record as the draft says; id and `created_at` stay, `modified_at` moves only on a real change."""
    with store.writing(actor) as write:
        zone = get_zone(write.session, zone_id, only=only)
        record = get_record(write.session, zone.id, record_id)
        form = check_record(draft, zone.name)
        _check_conflicts(write.session, zone, form, own_id=record.id)
        was_route = _is_route(record)
        _fill(record, form, write.at, is_new=False)
        _told(write, zone, record, "record.change", routed=was_route or _is_route(record))
    return record


def delete_record(store: Store, actor: Actor, zone_id: str, record_id: str, *, only: str | None) -> Record:
    """QanatError `record_unknown`."""
    with store.writing(actor) as write:
        zone = get_zone(write.session, zone_id, only=only)
        record = get_record(write.session, zone.id, record_id)
        write.session.delete(record)
        _told(write, zone, record, "record.delete", routed=_is_route(record))
    return record


def get_record(session: Session, zone_id: str, record_id: str) -> Record:
    """QanatError `record_unknown`, also for a record of another zone."""
    record = session.get(Record, record_id)
    if record is None or record.zone_id != zone_id:
        raise QanatError("record_unknown", "Record does not exist.", where="dns_record_id")
    return record


def list_records(
    session: Session,
    zone_id: str,
    *,
    filters: Sequence[ColumnElement[bool]],
    match_any: bool,
    order: str | None,
    descending: bool,
    offset: int,
    limit: int,
) -> tuple[list[Record], int]:
    """A page of the zone's records, and how many match in all."""
    query = select(Record).where(Record.zone_id == zone_id)
    if filters:
        query = query.where(or_(*filters) if match_any else and_(*filters))
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(Record.id).subquery())) or 0
    column = ORDERS.get(order or "type", Record.type)
    keys = (column, Record.name, Record.id)
    ordered = [key.desc() for key in keys] if descending else list(keys)
    return list(session.scalars(query.order_by(*ordered).offset(offset).limit(limit))), total


def _check_conflicts(session: Session, zone: Zone, form: RecordForm, *, own_id: str | None) -> None:
    if form.tunnel_id is not None and form.proxied:
        tunnel = session.get(Tunnel, form.tunnel_id)
        kept = own_id is not None and _points_there_already(session, own_id, form)
        if tunnel is None or tunnel.account_id != zone.account_id or (tunnel.deleted_at is not None and not kept):
            raise QanatError(
                "record_bad_content",
                f"{form.content} names no tunnel of this account",
                where="content",
                hint="create the tunnel first, and use its id",
            )
    beside = session.scalars(select(Record).where(Record.zone_id == zone.id, Record.name == form.name)).all()
    for other in beside:
        if other.id == own_id:
            continue
        if other.type == form.type and other.content_key == form.content_key:
            if _same_settings(other, form):
                raise QanatError("record_identical", "An identical record already exists.", where="name")
            raise QanatError("record_exists", "The record already exists.", where="name")
    for other in beside:
        if other.id == own_id:
            continue
        if form.type == "CNAME" and other.type in (*ADDRESSES, "CNAME"):
            raise QanatError(
                "record_host_taken", "An A, AAAA, or CNAME record with that host already exists.", where="name"
            )
        if form.type in ADDRESSES and other.type == "CNAME":
            raise QanatError("record_cname_taken", "A CNAME record with that host already exists.", where="name")


def _points_there_already(session: Session, own_id: str, form: RecordForm) -> bool:
    record = session.get(Record, own_id)
    return record is not None and record.tunnel_id == form.tunnel_id


def _same_settings(record: Record, form: RecordForm) -> bool:
    return (record.ttl, record.proxied, record.comment, record.tags, record.settings) == (
        form.ttl,
        form.proxied,
        form.comment,
        form.tags,
        form.settings,
    )


def _fill(record: Record, form: RecordForm, at: datetime, *, is_new: bool) -> None:
    comment_changed = is_new or record.comment != form.comment
    tags_changed = is_new or record.tags != form.tags
    changed = is_new or (record.name, record.type, record.content) != (form.name, form.type, form.content)
    changed = changed or comment_changed or tags_changed or not _same_settings(record, form)
    record.name = form.name
    record.type = form.type
    record.content = form.content
    record.content_key = form.content_key
    record.ttl = form.ttl
    record.proxied = form.proxied
    record.settings = form.settings
    record.tunnel_id = form.tunnel_id
    if comment_changed:
        record.comment = form.comment
        record.comment_modified_at = at if form.comment else None
    if tags_changed:
        record.tags = form.tags
        record.tags_modified_at = at if form.tags else None
    if changed:
        record.modified_at = at


def _is_route(record: Record) -> bool:
    return record.proxied and record.tunnel_id is not None


def _told(write: Write, zone: Zone, record: Record, action: str, *, routed: bool) -> None:
    write.audit(
        action,
        record.id,
        account_id=zone.account_id,
        detail={"name": record.name, "type": record.type, "content": record.content, "proxied": record.proxied},
    )
    for kind in (NoticeKind.RECORD, NoticeKind.ROUTES) if routed else (NoticeKind.RECORD,):
        write.notice(Notice(kind, zone_id=zone.id, account_id=zone.account_id, tunnel_id=record.tunnel_id))
