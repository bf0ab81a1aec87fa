"""What a write of records would do, told without writing: of one record whether it may be there, of a zone file what it adds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from sqlalchemy.orm import Session

from qanat.control.record_batches import MAX_IMPORT
from qanat.control.record_names import NamesInUse
from qanat.dns.forms import RecordDraft, RecordForm, check_record
from qanat.errors import QanatError
from qanat.store.models import Record, Zone


@dataclass(slots=True)
class ImportPreview:
    """A zone file's lines: what each adds, what stands in its way; and how many are there already."""

    added: list[tuple[int, RecordForm]] = field(default_factory=list)
    refused: list[tuple[int, QanatError]] = field(default_factory=list)
    same: int = 0


def check(session: Session, zone: Zone, form: RecordForm, *, before: Record | None, own: Collection[str]) -> None:
    """QanatError as the write itself would raise. `before`: the record that becomes it; `own`: names that the edge serves."""
    names = NamesInUse(session, zone, own=own)
    names.load([form.name, *([before.name] if before is not None else [])])
    if before is not None:
        names.leave(before)
    names.check(form, before=before)


def of_lines(
    session: Session, zone: Zone, lines: Sequence[tuple[int, RecordDraft]], *, own: Collection[str]
) -> ImportPreview:
    """What `record_batches.import_lines` would make of a zone file, every fault and not only the first.

    Raises:
        QanatError: `record_batch_too_large`.
    """
    if len(lines) > MAX_IMPORT:
        raise QanatError("record_batch_too_large", f"an import has at most {MAX_IMPORT} records, this one {len(lines)}")
    preview, forms = ImportPreview(), []
    for number, draft in lines:
        try:
            forms.append((number, check_record(draft, zone.name)))
        except QanatError as error:
            preview.refused.append((number, error))
    names = NamesInUse(session, zone, own=own)
    names.load(form.name for _, form in forms)
    for number, form in forms:
        if names.has_same(form):
            preview.same += 1
            continue
        try:
            names.check(form)
        except QanatError as error:
            preview.refused.append((number, error))
            continue
        entered: Any = SimpleNamespace(**{name: getattr(form, name) for name in ("name", "type", "content_key")})
        names.enter(entered)
        preview.added.append((number, form))
    preview.refused.sort(key=lambda line: line[0])
    return preview
