"""Which records may stand beside each other: each (name, type, value) once, no address beside a CNAME or a delegation,
tunnels of the own account only. One look-up for all the names that a write concerns."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.dns.forms import RecordForm
from qanat.errors import QanatError
from qanat.store.models import Record, Tunnel, Zone

ADDRESSES = ("A", "AAAA")
HOSTS = (*ADDRESSES, "CNAME")
NAMES_AT_ONCE = 500

Item = TypeVar("Item")


def in_lots(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in lots of at most `size`."""
    for at in range(0, len(items), size):
        yield items[at : at + size]


class NamesInUse:
    """The records of a zone's names, loaded when first asked for and kept up with the write that changes them."""

    def __init__(self, session: Session, zone: Zone) -> None:
        self._session = session
        self._zone = zone
        self._records: dict[str, dict[tuple[str, str], Record]] = {}
        self._types: dict[str, Counter[str]] = {}
        self._tunnels: dict[str, Tunnel | None] = {}

    def load(self, names: Iterable[str]) -> None:
        """The names together, in few queries."""
        missing = sorted({name for name in names if name not in self._records})
        for some in in_lots(missing, NAMES_AT_ONCE):
            for name in some:
                self._records[name], self._types[name] = {}, Counter()
            query = select(Record).where(Record.zone_id == self._zone.id, Record.name.in_(some))
            for record in self._session.scalars(query):
                self._enter(record)

    def _need(self, name: str) -> None:
        if name not in self._records:
            self.load([name])

    def load_tunnels(self, tunnel_ids: Iterable[str]) -> None:
        """The tunnels together."""
        missing = sorted({each for each in tunnel_ids if each not in self._tunnels})
        for some in in_lots(missing, NAMES_AT_ONCE):
            self._tunnels.update(dict.fromkeys(some))
            for tunnel in self._session.scalars(select(Tunnel).where(Tunnel.id.in_(some))):
                self._tunnels[tunnel.id] = tunnel

    def enter(self, record: Record) -> None:
        """A record that the write has made, or given its new values."""
        self._need(record.name)
        self._enter(record)

    def leave(self, record: Record) -> None:
        """A record that the write deletes, or is about to change."""
        self._need(record.name)
        key = (record.type, record.content_key)
        if self._records[record.name].get(key) is record:
            del self._records[record.name][key]
            self._types[record.name][record.type] -= 1

    def same(self, form: RecordForm) -> Record | None:
        """The record with this name, type and value."""
        self._need(form.name)
        return self._records[form.name].get((form.type, form.content_key))

    def check(self, form: RecordForm, *, before: Record | None = None, any_tunnel: bool = False) -> None:
        """Whether the record may be there. `before`: the one that becomes it, which has left; `any_tunnel`: its tunnel needn't
        be there any more.

        Raises:
            QanatError: `record_identical`, `record_exists`, `record_host_taken`, `record_cname_taken`,
                `record_ns_taken`, `record_bad_content` (an unknown tunnel).
        """
        if not any_tunnel:
            self._check_tunnel(form, before)
        other = self.same(form)
        if other is not None:
            if has_settings(other, form):
                raise QanatError("record_identical", "An identical record already exists.", where="name")
            raise QanatError("record_exists", "The record already exists.", where="name")
        types = self._types[form.name]
        if form.type == "CNAME" and any(types[each] for each in HOSTS):
            raise _host_taken()
        if form.type in ADDRESSES and types["CNAME"]:
            raise QanatError("record_cname_taken", "A CNAME record with that host already exists.", where="name")
        if form.name == self._zone.name:
            return
        if form.type in HOSTS and types["NS"]:
            raise QanatError("record_ns_taken", "NS records with that host already exist.", where="name")
        if form.type == "NS" and any(types[each] for each in HOSTS):
            raise _host_taken()

    def _enter(self, record: Record) -> None:
        key = (record.type, record.content_key)
        if self._records[record.name].get(key) is not record:
            self._records[record.name][key] = record
            self._types[record.name][record.type] += 1

    def _check_tunnel(self, form: RecordForm, before: Record | None) -> None:
        if form.tunnel_id is None:
            return
        self.load_tunnels([form.tunnel_id])
        tunnel = self._tunnels[form.tunnel_id]
        kept = before is not None and before.tunnel_id == form.tunnel_id
        if tunnel is None or tunnel.account_id != self._zone.account_id or (tunnel.deleted_at is not None and not kept):
            raise QanatError(
                "record_bad_content",
                f"{form.content} names no tunnel of this account",
                where="content",
                hint="create the tunnel first, and use its id",
            )


def has_settings(record: Record, form: RecordForm) -> bool:
    """Whether all but name, type and value is the same too."""
    return _settings(record) == _settings(form)


def _settings(one: Any) -> tuple[object, ...]:
    return one.ttl, one.proxied, one.comment, one.tags, one.settings, one.private_routing


def _host_taken() -> QanatError:
    return QanatError("record_host_taken", "An A, AAAA, or CNAME record with that host already exists.", where="name")
