"""Zones of a document, with their records and weights."""

from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import Table, delete, insert, select
from sqlalchemy.orm import Session

from qanat.control import targets, zone_settings
from qanat.control.record_changes import FORMED
from qanat.control.record_names import NamesInUse
from qanat.control.zones import check_free
from qanat.dns.forms import RecordDraft, RecordForm, check_record
from qanat.errors import QanatError
from qanat.ids import parse_hostname, parse_record_id, parse_zone_id
from qanat.store.lots import in_lots
from qanat.store.models import HostnameTarget, Record, ReleasedName, Tunnel, Zone, ZoneSetting
from qanat.store.notices import NoticeKind
from qanat.transfer.document import Document, RecordPart, TargetsPart, ZonePart
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


def moves(session: Session, document: Document, checked: Checked) -> list[tuple[str, str, str]]:
    """The hostnames that would go from one tunnel to another: (hostname, from, to), by records and by weights."""
    found: dict[tuple[str, str, str], None] = {}
    for zone in document.zones:
        for some in in_lots([part.id for part in zone.records]):
            query = select(Record).where(Record.id.in_(some), Record.zone_id == zone.id, Record.tunnel_id.is_not(None))
            rows = {row.id: row for row in session.scalars(query)}
            for part in zone.records:
                move = _move(rows.get(part.id), checked[id(part)])
                if move is not None:
                    found[move] = None
        here = session.get(Zone, zone.id)
        if here is not None:
            for each in zone.targets:
                found.update(dict.fromkeys((each.hostname, *gain) for gain in _gains(session, here, each)))
    return list(found)


def _move(row: Record | None, form: object) -> tuple[str, str, str] | None:
    if row is None or not row.proxied or row.tunnel_id is None or not isinstance(form, RecordForm):
        return None
    if not form.proxied or form.tunnel_id in (None, row.tunnel_id) or form.name != row.name:
        return None
    return row.name, row.tunnel_id, str(form.tunnel_id)


def _gains(session: Session, zone: Zone, part: TargetsPart) -> list[tuple[str, str]]:
    query = select(Record).where(Record.zone_id == zone.id, Record.name == part.hostname, Record.type == "CNAME")
    record = session.scalar(query.where(Record.proxied.is_(True), Record.tunnel_id.is_not(None)).limit(1))
    if record is None or all(tunnel_id != record.tunnel_id for tunnel_id, _ in part.shares):
        return []  # it leads nowhere yet, or its record alone says where
    return targets.gains(session, targets.Place(zone, record), part.shares)


def _check_moves(run: Run, part: ZonePart, row: Zone) -> None:
    """Before anything of the zone changes, its policy too."""
    repoint = run.repoint
    if repoint is None:
        return

    def ask(kind: str, object_id: str, hostname: str, source: str, target: str) -> None:
        try:
            repoint(run.write, row, hostname, source, target)
        except QanatError as error:
            run.refused(kind, object_id, hostname, error)

    rows = run.rows(Record, (each.id for each in part.records))
    for each in part.records:
        move = _move(rows.get(each.id), run.checked[id(each)])
        if move is not None:
            ask("record", each.id, *move)
    for weighted in part.targets:
        for source, target in _gains(run.write.session, row, weighted):
            ask("weights", row.id, weighted.hostname, source, target)


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
            here = rows.get(part.id)
            if here is not None and here.account_id == run.account_id:
                _check_moves(run, part, here)
            zone = _zone(run, part, rows.get(part.id))
            run.write.session.flush()
            _say(run, zone, said)
        except QanatError as error:
            run.conflict("zone", part.id, part.name, str(error))
            continue
        _Records(run, zone).write(part.records)
        run.write.session.flush()
        for each in part.targets:
            _weights(run, zone, each)
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


def _weights(run: Run, zone: Zone, part: TargetsPart) -> None:
    """Those of a hostname as the document has them: they count where its record points to one of these tunnels."""
    session = run.write.session
    try:
        if parse_hostname(part.hostname) != part.hostname or not _is_within(part.hostname, zone.name):
            raise QanatError("import_conflict", f"it is no hostname in {zone.name}")
        targets.check_shares(part.shares)
        for tunnel_id, _ in part.shares:
            tunnel = session.get(Tunnel, tunnel_id)
            if tunnel is None or tunnel.account_id != run.account_id:
                raise QanatError("import_conflict", f"{tunnel_id[:36]} is no tunnel of this account")
    except QanatError as error:
        run.conflict("weights", zone.id, part.hostname, error.message)
        return
    query = select(HostnameTarget).where(HostnameTarget.zone_id == zone.id, HostnameTarget.hostname == part.hostname)
    here = {(row.tunnel_id, row.weight, row.sticky) for row in session.scalars(query)}
    if here == {(*share, part.sticky) for share in part.shares}:
        run.step("weights", zone.id, part.hostname, "same")
        return
    targets.put_rows(run.write, zone.id, part.hostname, part.shares, part.sticky)
    run.step("weights", zone.id, part.hostname, "change" if here else "create")


def _is_within(hostname: str, zone: str) -> bool:
    return hostname == zone or hostname.endswith(f".{zone}")


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
