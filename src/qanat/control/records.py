"""DNS records: making, changing and deleting them, one by one, as a batch, or from a zone file."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from qanat.control.record_edit import RecordChange, RecordEdit, unknown_record
from qanat.control.zones import get_zone
from qanat.dns.forms import RecordDraft, RecordForm, check_record, record_name
from qanat.errors import QanatError
from qanat.store.audit import Actor
from qanat.store.database import Store
from qanat.store.models import Record, Zone
from qanat.store.reach import Reach
from qanat.store.versions import Expected, check_row

ORDERS = {
    "type": Record.type,
    "name": Record.name,
    "content": Record.content,
    "ttl": Record.ttl,
    "proxied": Record.proxied,
}
MAX_BATCH = 3500
MAX_IMPORT = 10_000

Given = TypeVar("Given")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Several changes that happen together or not at all, in this order. Ids are those of records."""

    deletes: Sequence[str] = ()
    patches: Sequence[tuple[str, RecordChange]] = ()
    puts: Sequence[tuple[str, RecordDraft]] = ()
    posts: Sequence[RecordDraft] = ()

    def __len__(self) -> int:
        return len(self.deletes) + len(self.patches) + len(self.puts) + len(self.posts)


@dataclass(slots=True, kw_only=True)
class BatchDone:
    """The records of a batch in the order of its request; deleted ones as they were."""

    deletes: list[Record] = field(default_factory=list)
    patches: list[Record] = field(default_factory=list)
    puts: list[Record] = field(default_factory=list)
    posts: list[Record] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """How an import went; what was there already is parsed and not added."""

    added: int
    parsed: int


def create_record(store: Store, actor: Actor, zone_id: str, draft: RecordDraft, *, reach: Reach) -> Record:
    """QanatError as `check_record` and `NamesInUse.check`."""
    with store.writing(actor) as write:
        edit = RecordEdit(write, get_zone(write.session, zone_id, reach=reach))
        record = edit.create(check_record(draft, edit.zone.name))
        edit.finish_one("record.create", record)
    return record


def replace_record(
    store: Store,
    actor: Actor,
    zone_id: str,
    record_id: str,
    draft: RecordDraft,
    *,
    reach: Reach,
    expected: Expected | None = None,
) -> Record:
    """The record as the draft says; id and `created_at` stay, `modified_at` moves only on a real change. `expected`: the
    `row_version` that it must have."""
    with store.writing(actor) as write:
        edit = RecordEdit(write, get_zone(write.session, zone_id, reach=reach))
        record = get_record(write.session, edit.zone.id, record_id)
        check_row(expected, record)
        edit.replace(record, check_record(draft, edit.zone.name))
        edit.finish_one("record.change", record)
    return record


def change_record(
    store: Store,
    actor: Actor,
    zone_id: str,
    record_id: str,
    change: RecordChange,
    *,
    reach: Reach,
    expected: Expected | None = None,
) -> Record:
    """What is given changes, the rest stays."""
    with store.writing(actor) as write:
        edit = RecordEdit(write, get_zone(write.session, zone_id, reach=reach))
        record = get_record(write.session, edit.zone.id, record_id)
        check_row(expected, record)
        edit.replace(record, check_record(change.draft(record), edit.zone.name))
        edit.finish_one("record.change", record)
    return record


def delete_record(
    store: Store, actor: Actor, zone_id: str, record_id: str, *, reach: Reach, expected: Expected | None = None
) -> Record:
    """QanatError `record_unknown`."""
    with store.writing(actor) as write:
        edit = RecordEdit(write, get_zone(write.session, zone_id, reach=reach))
        record = get_record(write.session, edit.zone.id, record_id)
        check_row(expected, record)
        edit.delete(record)
        edit.finish_one("record.delete", record)
    return record


def apply_batch(store: Store, actor: Actor, zone_id: str, batch: Batch, *, reach: Reach) -> tuple[Zone, BatchDone]:
    """All of the batch in one transaction.

    Raises:
        QanatError: as the single writes, `where` with the place such as `posts[3].content`; `record_batch_too_large`.
    """
    if len(batch) > MAX_BATCH:
        raise QanatError("record_batch_too_large", f"a batch has at most {MAX_BATCH} changes, this one {len(batch)}")
    with store.reading() as session:
        zone = get_zone(session, zone_id, reach=reach)
    # Before the one writer's turn, since checking takes longer than writing.
    puts = _each("puts", batch.puts, lambda put: (put[0], check_record(put[1], zone.name)))
    posts = _each("posts", batch.posts, lambda draft: check_record(draft, zone.name))
    done = BatchDone()
    with store.writing(actor) as write:
        zone = get_zone(write.session, zone_id, reach=reach)
        edit = RecordEdit(write, zone)
        edit.load([*batch.deletes, *(item[0] for item in batch.patches), *(item[0] for item in puts)])
        edit.names.load(_names(zone.name, [form for _, form in puts], posts, batch.patches))
        done.deletes = _each("deletes", batch.deletes, lambda record_id: edit.delete(edit.record(record_id)))
        done.patches = _each("patches", batch.patches, edit.patch)
        done.puts = _each("puts", puts, lambda put: edit.replace(edit.record(put[0]), put[1]))
        done.posts = _each("posts", posts, edit.create)
        edit.finish("record.batch")
    return zone, done


def import_records(
    store: Store, actor: Actor, zone_id: str, lines: Sequence[tuple[int, RecordDraft]], *, reach: Reach
) -> Imported:
    """The records of a zone file, with their lines, in one transaction.

    Raises:
        QanatError: `zone_file_malformed`, naming the line; `record_batch_too_large`.
    """
    if len(lines) > MAX_IMPORT:
        raise QanatError("record_batch_too_large", f"an import has at most {MAX_IMPORT} records, this one {len(lines)}")
    with store.reading() as session:
        zone = get_zone(session, zone_id, reach=reach)
    forms = [(number, _at_line(number, partial(check_record, draft, zone.name))) for number, draft in lines]
    added = 0
    with store.writing(actor) as write:
        edit = RecordEdit(write, get_zone(write.session, zone_id, reach=reach))
        edit.names.load(form.name for _, form in forms)
        for number, form in forms:
            if edit.names.same(form) is None:
                _at_line(number, partial(edit.add, form))
                added += 1
        edit.finish("record.import")
    return Imported(added=added, parsed=len(forms))


def get_record(session: Session, zone_id: str, record_id: str) -> Record:
    """QanatError `record_unknown`, also for a record of another zone."""
    record = session.get(Record, record_id) if record_id.isalnum() else None  # PostgreSQL takes no NUL
    if record is None or record.zone_id != zone_id:
        raise unknown_record()
    return record


def list_records(
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


def _names(
    zone_name: str,
    puts: Sequence[RecordForm],
    posts: Sequence[RecordForm],
    patches: Sequence[tuple[str, RecordChange]],
) -> Iterable[str]:
    """The names that a batch will ask about; a patch's bad name is told in its turn."""
    for form in (*puts, *posts):
        yield form.name
    for _, change in patches:
        name = change.given.get("name")
        if name:
            try:
                yield record_name(name, zone_name)
            except QanatError:
                continue


def _each(place: str, items: Sequence[Given], act: Callable[[Given], Any]) -> list[Any]:
    """Acts on each; an error tells which one."""
    results = []
    for number, item in enumerate(items):
        try:
            results.append(act(item))
        except QanatError as error:
            where = f"{place}[{number}]" + (f".{error.where}" if error.where else "")
            raise QanatError(error.code, error.message, where=where, hint=error.hint) from error
    return results


def _at_line(number: int, act: Callable[[], Given]) -> Given:
    try:
        return act()
    except QanatError as error:
        raise QanatError(
            "zone_file_malformed", f"line {number}: {error}", where=f"line {number}", hint="nothing was imported"
        ) from error
