"""Many DNS records in one write: a batch, or a zone file. Checked before the one writer's turn, since checking takes longer than
writing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from qanat.control import zones
from qanat.control.record_changes import RecordChange
from qanat.control.record_edit import RecordEdit, RepointCheck, unknown
from qanat.dns.forms import RecordDraft, RecordForm, check_record, record_name
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.models import Record
from qanat.store.reach import Reach

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedBatch:
    """A batch whose whole records are good; what a patch makes is known when it is applied."""

    deletes: Sequence[str]
    patches: Sequence[tuple[str, RecordChange]]
    puts: Sequence[tuple[str, RecordForm]]
    posts: Sequence[RecordForm]


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


def check_batch(batch: Batch, zone_name: str) -> CheckedBatch:
    """The batch as it may be applied to a zone of this name.

    Raises:
        QanatError: as `check_record`, `where` with the place such as `posts[3].content`; `record_batch_too_large`.
    """
    if len(batch) > MAX_BATCH:
        raise QanatError("record_batch_too_large", f"a batch has at most {MAX_BATCH} changes, this one {len(batch)}")
    return CheckedBatch(
        deletes=batch.deletes,
        patches=batch.patches,
        puts=_each("puts", batch.puts, lambda put: (put[0], check_record(put[1], zone_name))),
        posts=_each("posts", batch.posts, lambda draft: check_record(draft, zone_name)),
    )


def apply_batch(
    write: Write, zone_id: str, batch: CheckedBatch, *, reach: Reach, repoint: RepointCheck | None = None
) -> BatchDone:
    """All of it. QanatError as the single changes, `where` with the place such as `posts[3].content`."""
    edit = RecordEdit(write, zones.get(write.session, zone_id, reach=reach), repoint=repoint)
    edit.load([*batch.deletes, *(item[0] for item in batch.patches), *(item[0] for item in batch.puts)])
    edit.names.load(_names(edit.zone.name, batch))
    done = BatchDone(
        deletes=_each("deletes", batch.deletes, lambda record_id: edit.delete(edit.record(record_id))),
        patches=_each("patches", batch.patches, edit.patch),
        puts=_each("puts", batch.puts, lambda put: edit.replace(edit.record(put[0]), put[1])),
        posts=_each("posts", batch.posts, edit.create),
    )
    edit.finish("record.batch")
    return done


def foreseen(batch: CheckedBatch, zone_name: str) -> list[tuple[str, Callable[[Record], RecordForm]]]:
    """The records (ids) that a batch changes, and what each becomes; a post stands for the deleted record of its name."""

    def patched(change: RecordChange) -> Callable[[Record], RecordForm]:
        return lambda before: check_record(change.draft(before), zone_name)

    def given(form: RecordForm) -> Callable[[Record], RecordForm]:
        return lambda _before: form

    posted = {form.name: form for form in batch.posts}

    def anew(before: Record) -> RecordForm:
        if before.name not in posted:
            raise unknown()
        return posted[before.name]

    return [
        *((record_id, anew) for record_id in batch.deletes),
        *((record_id, patched(change)) for record_id, change in batch.patches),
        *((record_id, given(form)) for record_id, form in batch.puts),
    ]


def check_lines(lines: Sequence[tuple[int, RecordDraft]], zone_name: str) -> list[tuple[int, RecordForm]]:
    """The records of a zone file, with their lines, as they may be imported into a zone of this name.

    Raises:
        QanatError: `zone_file_malformed`, naming the line; `record_batch_too_large`.
    """
    if len(lines) > MAX_IMPORT:
        raise QanatError("record_batch_too_large", f"an import has at most {MAX_IMPORT} records, this one {len(lines)}")
    return [(number, _at_line(number, partial(check_record, draft, zone_name))) for number, draft in lines]


def import_lines(write: Write, zone_id: str, forms: Sequence[tuple[int, RecordForm]], *, reach: Reach) -> Imported:
    """Adds what isn't there. QanatError `zone_file_malformed`, naming the line that can't stand beside the others."""
    added = 0
    edit = RecordEdit(write, zones.get(write.session, zone_id, reach=reach))
    edit.names.load(form.name for _, form in forms)
    for number, form in forms:
        if not edit.names.has_same(form):
            _at_line(number, partial(edit.add, form))
            added += 1
    edit.finish("record.import")
    return Imported(added=added, parsed=len(forms))


def _names(zone_name: str, batch: CheckedBatch) -> Iterable[str]:
    """The names that a batch will ask about; a patch's bad name is told in its turn."""
    for form in (*(form for _, form in batch.puts), *batch.posts):
        yield form.name
    for _, change in batch.patches:
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
