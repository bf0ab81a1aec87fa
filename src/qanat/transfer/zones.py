"""Zones and records of a document."""

from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import Table, delete, insert, select

from qanat.control import zone_settings
from qanat.control.record_changes import FORMED
from qanat.control.record_names import NamesInUse
from qanat.control.zones import check_free
from qanat.dns.forms import RecordDraft, RecordForm, check_record
from qanat.errors import QanatError
from qanat.ids import parse_hostname, parse_record_id, parse_zone_id
from qanat.store.models import Record, ReleasedName, Tunnel, Zone, ZoneSetting
from qanat.store.notices import NoticeKind
from qanat.transfer.document import Document, RecordPart, ZonePart
from qanat.transfer.run import Action, Checked, Effort, Run, first_error, put


def check(document: Document, effort: Effort) -> Checked:
    """The records' forms, or what is wrong with them. Before the one writer's turn: it takes longer than writing them.
    QanatError `import_too_long`."""
    checked: Checked = {}
    for zone in document.zones:
        for part in zone.records:
            effort.check()
            checked[id(part)] = first_error(partial(_form, part, zone.name))
    return checked


def _form(part: RecordPart, zone_name: str) -> RecordForm:
    by_data = part.written_as == "data"
    if parse_record_id(part.id) != part.id:
        raise QanatError("bad_id", "the id is not in lower case")
    draft = RecordDraft(
        name=part.name + ".",
        type=part.type,
        content=None if by_data else part.content,
        data=part.data if by_data else None,
        priority=part.priority,
        ttl=part.ttl,
        proxied=part.proxied,
        comment=part.comment,
        tags=tuple(part.tags),
        settings=part.settings,
        private_routing=part.private_routing,
    )
    return check_record(draft, zone_name)


def write(run: Run) -> None:
    """All of them; the names are claimed by the same rules as for a new zone."""
    rows = run.rows(Zone, (part.id for part in run.document.zones))
    seen: set[str] = set()
    changes = run.outcome.changes
    for part in run.document.zones:
        try:
            if part.id in seen or parse_zone_id(part.id) != part.id:
                raise QanatError("import_conflict", "the id is twice in the file, or not in lower case")
            seen.add(part.id)
            said = {name: {"value": zone_settings.check(name, value)} for name, value in part.settings.items()}
            zone = _zone(run, part, rows.get(part.id))
            run.write.session.flush()
            _say(run, zone, said)
        except QanatError as error:
            run.conflict("zone", part.id, part.name, str(error))
            continue
        _Records(run, zone).write(part.records)
    if run.outcome.changes != changes:
        run.notice(NoticeKind.ROUTES)  # one for all zones: for each, the edge would read every record again


def _zone(run: Run, part: ZonePart, row: Zone | None) -> Zone:
    values: dict[str, Any] = {
        "paused": part.paused,
        "cutover_policy": part.cutover_policy,
        "created_at": part.created_at,
        "modified_at": part.modified_at,
    }
    if row is not None:
        if row.account_id != run.account_id:
            raise QanatError("import_conflict", "the id is taken")
        if row.name != part.name:
            raise QanatError("import_conflict", f"here it is the id of {row.name}")
        run.step("zone", row.id, row.name, "change" if put(row, values) else "same")
        return row
    if part.type != "full" or parse_hostname(part.name, wildcard=False) != part.name or "." not in part.name:
        raise QanatError("import_conflict", "its name or type is none that a zone here can have")
    check_free(run.write.session, part.name, run.account_id, run.write.at)
    zone = Zone(id=part.id, account_id=run.account_id, name=part.name, type=part.type, **values)
    run.write.session.add(zone)
    run.write.grow("zones", run.account_id)
    run.write.session.execute(delete(ReleasedName).where(ReleasedName.name == part.name))
    run.step("zone", part.id, part.name, "create")
    return zone


def _say(run: Run, zone: Zone, said: dict[str, dict[str, Any]]) -> None:
    """The zone's settings as the document has them."""
    session = run.write.session
    there = {row.name: row for row in session.scalars(select(ZoneSetting).where(ZoneSetting.zone_id == zone.id))}
    for name in there.keys() - said.keys():
        run.step("zone_setting", zone.id, f"{zone.name} {name}", "change")
        session.delete(there[name])
    for name, value in said.items():
        row = there.get(name)
        action: Action = "create" if row is None else "same" if row.value == value else "change"
        run.step("zone_setting", zone.id, f"{zone.name} {name}", action)
        if row is None:
            session.add(ZoneSetting(zone_id=zone.id, name=name, value=value, modified_at=run.write.at))
        elif row.value != value:
            row.value, row.modified_at = value, run.write.at


class _Records:
    """The records of one zone."""

    def __init__(self, run: Run, zone: Zone) -> None:
        self._run = run
        self._zone = zone
        self._names = NamesInUse(run.write.session, zone, own=run.write.own_names)
        self._made: list[dict[str, Any]] = []

    def write(self, parts: list[RecordPart]) -> None:
        """Those that change leave their old names first, so that the order in the document doesn't matter."""
        rows = self._run.rows(Record, (part.id for part in parts))
        forms = {part.id: form for part in parts if (form := self._form(part)) is not None}
        if len({part.id for part in parts}) != len(parts):
            self._run.conflict("record", self._zone.id, self._zone.name, "an id is twice among its records")
            return
        foreign = self._foreign_tunnels(forms)
        self._names.load({*(form.name for form in forms.values()), *(row.name for row in rows.values())})
        changed: list[tuple[RecordPart, RecordForm, Record | None]] = []
        for part in parts:
            form, row = forms.get(part.id), rows.get(part.id)
            if form is None:
                continue
            if row is not None and row.zone_id != self._zone.id:
                self._conflict(part, "the id is taken")
            elif form.tunnel_id in foreign:
                self._conflict(part, "it points to a tunnel that is not of this account")
            elif row is not None and all(getattr(row, name) == value for name, value in _values(part, form).items()):
                self._run.step("record", part.id, f"{part.type} {part.name}", "same")
            else:
                if row is not None:
                    self._names.leave(row)
                changed.append((part, form, row))
        for part, form, row in changed:
            self._put(part, form, row)
        if self._made:
            # as rows, for objects of each would hold up everybody's writes several times as long
            self._run.write.session.flush()
            self._run.write.session.execute(insert(Table("records", Record.metadata)), self._made)

    def _put(self, part: RecordPart, form: RecordForm, row: Record | None) -> None:
        try:
            # A record may point to a tunnel that is gone, as it may after the tunnel's deletion.
            self._names.check(form, any_tunnel=True)
        except QanatError as error:
            self._conflict(part, str(error))
            return
        values = _values(part, form)
        if row is None:
            made = {"id": part.id, "zone_id": self._zone.id, **values}
            new: Any = SimpleNamespace(**made)
            self._made.append(made)
            self._run.write.grow("records", self._zone.id)
            self._names.enter(new)
        else:
            put_all(row, values)
            self._names.enter(row)
        self._run.step("record", part.id, f"{part.type} {part.name}", "create" if row is None else "change")

    def _form(self, part: RecordPart) -> RecordForm | None:
        form = self._run.checked[id(part)]
        if isinstance(form, QanatError):
            self._conflict(part, str(form))
            return None
        return cast("RecordForm", form)

    def _foreign_tunnels(self, forms: dict[str, RecordForm]) -> set[str]:
        named = self._run.rows(Tunnel, (form.tunnel_id for form in forms.values() if form.tunnel_id is not None))
        return {tunnel.id for tunnel in named.values() if tunnel.account_id != self._run.account_id}

    def _conflict(self, part: RecordPart, reason: str) -> None:
        self._run.conflict("record", part.id, f"{part.type} {part.name}", reason)


def put_all(row: Record, values: dict[str, Any]) -> None:
    """Sets them on a row that may be new."""
    for name, value in values.items():
        setattr(row, name, value)


def _values(part: RecordPart, form: RecordForm) -> dict[str, Any]:
    return {
        **{name: getattr(form, name) for name in FORMED},
        "created_at": part.created_at,
        "modified_at": part.modified_at,
        "comment_modified_at": part.comment_modified_at,
        "tags_modified_at": part.tags_modified_at,
    }
