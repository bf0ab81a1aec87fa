"""Which records may stand beside each other: each (name, type, value) once, no address beside a CNAME or a delegation."""

from collections import Counter
from typing import Any, Protocol

from qanat.dns.forms import RecordForm
from qanat.errors import QanatError

ADDRESSES = ("A", "AAAA")
HOSTS = (*ADDRESSES, "CNAME")


class Placed(Protocol):
    """What the rules look at of a record that is there."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def content_key(self) -> str: ...


class Neighbours:
    """The records of some of a zone's names, kept up with what changes them. Of each name all are there, or none is asked for."""

    def __init__(self, zone_name: str) -> None:
        self._zone_name = zone_name
        self._records: dict[str, dict[tuple[str, str], Placed]] = {}
        self._types: dict[str, Counter[str]] = {}

    def has(self, name: str) -> bool:
        """Whether the name's records are known."""
        return name in self._records

    def begin(self, name: str) -> None:
        """The name is known, without a record yet."""
        self._records[name], self._types[name] = {}, Counter()

    def enter(self, record: Placed) -> None:
        """A record that is there, or that has its new values."""
        key = (record.type, record.content_key)
        if self._records[record.name].get(key) is not record:
            self._records[record.name][key] = record
            self._types[record.name][record.type] += 1

    def leave(self, record: Placed) -> None:
        """A record that goes, or is about to change."""
        key = (record.type, record.content_key)
        if self._records[record.name].get(key) is record:
            del self._records[record.name][key]
            self._types[record.name][record.type] -= 1

    def same(self, form: RecordForm) -> Placed | None:
        """The record with this name, type and value."""
        return self._records[form.name].get((form.type, form.content_key))

    def check(self, form: RecordForm) -> None:
        """Whether the record may be there. One that becomes it has left before.

        Raises:
            QanatError: `record_identical`, `record_exists`, `record_host_taken`, `record_cname_taken`, `record_ns_taken`.
        """
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
        if form.name == self._zone_name:
            return
        if form.type in HOSTS and types["NS"]:
            raise QanatError("record_ns_taken", "NS records with that host already exist.", where="name")
        if form.type == "NS" and any(types[each] for each in HOSTS):
            raise _host_taken()


def has_settings(record: Placed, form: RecordForm) -> bool:
    """Whether all but name, type and value is the same too."""
    return _settings(record) == _settings(form)


def _settings(one: Any) -> tuple[object, ...]:
    return one.ttl, one.proxied, one.comment, one.tags, one.settings, one.private_routing


def _host_taken() -> QanatError:
    return QanatError("record_host_taken", "An A, AAAA, or CNAME record with that host already exists.", where="name")
