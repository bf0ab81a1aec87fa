"""One write on a zone's records under way: what changes, what its audit rows say, and whom its notices wake."""

from collections.abc import Iterable
from secrets import token_hex
from types import SimpleNamespace
from typing import Any, Protocol

from sqlalchemy import Table, insert, select

from qanat.control.record_changes import FORMED, RecordChange, fill
from qanat.control.record_names import NamesInUse
from qanat.dns.forms import RecordForm, check_record
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.lots import in_lots
from qanat.store.models import Record, Zone
from qanat.store.notices import Notice, NoticeKind

AUDITED_AT_ONCE = 200
NAMED_ROUTES = 1000


class RepointCheck(Protocol):
    """Asked before a hostname's requests go to another tunnel (cutover/repointing.py)."""

    def __call__(self, write: Write, zone: Zone, hostname: str, from_tunnel: str, to_tunnel: str) -> None:
        """QanatError: it may not be."""


class RecordEdit:
    """One write on a zone's records: what it changes, for the audit rows and the notices. `repoint`: who is asked before a
    hostname goes from one tunnel to another; None: nobody."""

    def __init__(self, write: Write, zone: Zone, *, repoint: RepointCheck | None = None) -> None:
        self.zone = zone
        self.names = NamesInUse(write.session, zone, own=write.own_names)
        self._write = write
        self._loaded: dict[str, Record] = {}
        self._changes: list[dict[str, object]] = []
        self._routed: set[str] = set()
        self._rows: list[dict[str, Any]] = []
        self._wildcards: bool | None = None
        self._repoint = repoint
        self._left: dict[str, str] = {}
        """Tunnels by the hostnames whose records this write has deleted."""

    def load(self, record_ids: Iterable[str]) -> None:
        """The records that the write names, in few queries."""
        for some in in_lots(sorted({each for each in record_ids if each.isalnum()})):
            query = select(Record).where(Record.zone_id == self.zone.id, Record.id.in_(some))
            for record in self._write.session.scalars(query):
                self._loaded[record.id] = record
        self.names.load(record.name for record in self._loaded.values())

    def record(self, record_id: str) -> Record:
        """One of the loaded. QanatError `record_unknown`, also for one that this write has deleted."""
        try:
            return self._loaded[record_id]
        except KeyError:
            raise unknown() from None

    def create(self, form: RecordForm) -> Record:
        """A new record. QanatError as `NamesInUse.check`, and as the `RepointCheck`: in the place of one that this write has
        deleted."""
        self.names.check(form)
        self._check_repoint(form.name, self._left.get(form.name), form)
        at = self._write.at
        record = Record(id=token_hex(16), zone_id=self.zone.id, created_at=at, modified_at=at)
        fill(record, form, at, is_new=True)
        self._write.session.add(record)
        self._write.grow("records", self.zone.id)
        self.names.enter(record)
        self._changed("create", record)
        self._note_existence(record)
        return record

    def add(self, form: RecordForm) -> None:
        """As `create`, for many at once: they are written together by `finish`, and no object is made of them."""
        self.names.check(form)
        at = self._write.at
        row = {
            **{name: getattr(form, name) for name in FORMED},
            "id": token_hex(16),
            "zone_id": self.zone.id,
            "created_at": at,
            "modified_at": at,
            "comment_modified_at": at if form.comment else None,
            "tags_modified_at": at if form.tags else None,
        }
        record: Any = SimpleNamespace(**row)
        self._rows.append(row)
        self._write.grow("records", self.zone.id)
        self.names.enter(record)
        self._changed("create", record)
        self._note_existence(record)

    def replace(self, record: Record, form: RecordForm) -> Record:
        """The record as the form says. QanatError as `NamesInUse.check`, and as the `RepointCheck`."""
        self.names.leave(record)
        self.names.check(form, before=record)
        if record.proxied and record.name == form.name:
            self._check_repoint(record.name, record.tunnel_id, form)
        before = _told(record)
        self._note_route(record)
        moves = (record.name, record.type == "NS") != (form.name, form.type == "NS")
        if moves:
            self._note_existence(record)
        fill(record, form, self._write.at, is_new=False)
        self.names.enter(record)
        self._changed("change", record, before=before)
        if moves:
            self._note_existence(record)
        return record

    def patch(self, item: tuple[str, RecordChange]) -> Record:
        """One of the loaded, by its id, as the change makes it. QanatError as `check_record` and `replace`."""
        record = self.record(item[0])
        return self.replace(record, check_record(item[1].draft(record), self.zone.name))

    def delete(self, record: Record) -> Record:
        """The record goes; it is answered as it was."""
        if record.proxied and record.tunnel_id is not None:
            self._left[record.name] = record.tunnel_id
        self.names.leave(record)
        self._loaded.pop(record.id, None)
        self._write.session.delete(record)
        self._write.grow("records", self.zone.id, -1)
        self._changed("delete", record)
        self._note_existence(record)
        return record

    def finish_one(self, action: str, record: Record) -> None:
        """The audit row of a write of one record, and the notices."""
        detail = {key: value for key, value in self._changes[0].items() if key not in ("action", "id")}
        self._write.audit(action, record.id, account_id=self.zone.account_id, detail=detail)
        self._notify()

    def finish(self, action: str) -> None:
        """The audit rows of a write of many: each change is in one of them. One notice for all that may be routes."""
        if self._rows:
            self._write.session.flush()
            self._write.session.execute(insert(Table("records", Record.metadata)), self._rows)
        for some in list(in_lots(self._changes, AUDITED_AT_ONCE)) or [()]:
            self._write.audit(
                action,
                self.zone.id,
                account_id=self.zone.account_id,
                detail={"changes": [*some], "name": self.zone.name},
            )
        self._notify()

    def _notify(self) -> None:
        if self._routed:
            hostnames = tuple(sorted(self._routed)) if len(self._routed) <= NAMED_ROUTES else None
            ids = {"zone_id": self.zone.id, "account_id": self.zone.account_id}
            self._write.notice(Notice(NoticeKind.ROUTES, hostnames=hostnames, **ids))

    def _check_repoint(self, hostname: str, from_tunnel: str | None, form: RecordForm) -> None:
        if self._repoint is None or from_tunnel is None or form.tunnel_id is None or not form.proxied:
            return
        if form.tunnel_id != from_tunnel:
            self._repoint(self._write, self.zone, hostname, from_tunnel, form.tunnel_id)

    def _changed(self, action: str, record: Record, *, before: dict[str, object] | None = None) -> None:
        self._note_route(record)
        change: dict[str, object] = {"action": action, "id": record.id, **_told(record)}
        self._changes.append(change if before is None else {**change, "before": before})

    def _note_route(self, record: Record) -> None:
        if record.proxied and record.tunnel_id is not None:
            self._routed.add(record.name)

    def _note_existence(self, record: Record) -> None:
        """A name that comes or goes is no longer, or again, a wildcard's to answer for; and one with NS records hides what is
        below it."""
        if record.type == "NS" and record.name != self.zone.name:
            below = Record.name.endswith(f".{record.name}", autoescape=True)
            routed = select(Record.name).where(Record.zone_id == self.zone.id, Record.proxied.is_(True), below)
            self._routed.update(self._write.session.scalars(routed))
        if self._has_wildcards():
            self._routed.add(record.name)

    def _has_wildcards(self) -> bool:
        if self._wildcards is None:
            found = select(Record.id).where(
                Record.zone_id == self.zone.id,
                Record.name.startswith("*.", autoescape=True),
                Record.proxied.is_(True),
                Record.tunnel_id.is_not(None),
            )
            self._wildcards = self._write.session.scalar(found.limit(1)) is not None
        return self._wildcards


def _told(record: Record) -> dict[str, object]:
    return {"name": record.name, "type": record.type, "content": record.content, "proxied": record.proxied}


def unknown() -> QanatError:
    """Of a record that is not in the zone."""
    return QanatError("record_unknown", "Record does not exist.", where="dns_record_id")
