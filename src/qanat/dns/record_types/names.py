"""CNAME, NS, PTR and MX: a name as content, as sent but without its last dot."""

import dns.rdata

from qanat.dns.record_types.base import RecordType, Value, Written, bad_content, bounded, parse_rdata, target_name
from qanat.errors import QanatError


class Target(RecordType):
    """CNAME, NS and PTR."""

    def __init__(self, name: str, *, proxiable: bool = False) -> None:
        super().__init__(name)
        self.proxiable = proxiable

    def read(self, written: Written) -> Value:
        content = bounded(written.content, self.name)
        return Value(content=content.removesuffix("."), key=target_name(content, "content"))

    def rdata(self, content: str, priority: int | None) -> dns.rdata.Rdata:
        return parse_rdata(self.name, self.zone_text(content, priority), where="content")

    def zone_text(self, content: str, priority: int | None) -> str:
        return f"{target_name(content, 'content')}."


class Mx(RecordType):
    """A mail exchange with its priority; `.` says that there is none (RFC 7505)."""

    def read(self, written: Written) -> Value:
        content = bounded(written.content, self.name)
        priority = required_priority(written.priority, self.name)
        bare = content if content == "." else content.removesuffix(".")
        if not bare:
            raise bad_content("an MX needs a name", where="content")
        key = bare if bare == "." else target_name(bare, "content")
        return Value(content=bare, key=f"{priority} {key}", priority=priority)

    def rdata(self, content: str, priority: int | None) -> dns.rdata.Rdata:
        return parse_rdata(self.name, self.zone_text(content, priority), where="content")

    def zone_text(self, content: str, priority: int | None) -> str:
        name = content if content == "." else f"{target_name(content, 'content')}."
        return f"{priority or 0} {name}"


def required_priority(priority: int | None, kind: str) -> int:
    """QanatError `record_bad_priority`."""
    if priority is None:
        raise QanatError("record_bad_priority", f"a record of type {kind} needs a priority", where="priority")
    return priority
