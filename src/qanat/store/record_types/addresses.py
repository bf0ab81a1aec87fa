"""A and AAAA."""

from ipaddress import AddressValueError, IPv4Address, IPv6Address

import dns.rdata

from qanat.errors import QanatError
from qanat.store.record_types.base import RecordType, Value, Written, bad_content, bounded, parse_rdata, shown


class A(RecordType):
    """An IPv4 address, in the form that was sent."""

    proxiable = True

    def read(self, written: Written) -> Value:
        content = bounded(written.content, self.name)
        try:
            return Value(content=content, key=str(IPv4Address(content)))
        except (AddressValueError, ValueError):
            raise QanatError(
                "record_bad_address", f"{shown(content)} is not an IPv4 address", where="content"
            ) from None

    def rdata(self, content: str, priority: int | None) -> dns.rdata.Rdata:
        return parse_rdata(self.name, content, where="content")

    def zone_text(self, content: str, priority: int | None) -> str:
        return content


class Aaaa(RecordType):
    """An IPv6 address, in the form that was sent: long, short, either case."""

    proxiable = True

    def read(self, written: Written) -> Value:
        content = bounded(written.content, self.name)
        try:
            address = IPv6Address(content)
        except (AddressValueError, ValueError):
            raise bad_content(f"{shown(content)} is not an IPv6 address", where="content") from None
        if address.scope_id is not None:
            raise bad_content(f"{shown(content)} has a scope, which means nothing in DNS", where="content")
        return Value(content=content, key=str(address))

    def rdata(self, content: str, priority: int | None) -> dns.rdata.Rdata:
        return parse_rdata(self.name, self.zone_text(content, priority), where="content")

    def zone_text(self, content: str, priority: int | None) -> str:
        return str(IPv6Address(content))
