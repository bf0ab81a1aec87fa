"""A and AAAA."""

from ipaddress import AddressValueError, IPv4Address, IPv6Address

import dns.ipv6
import dns.rdata

from qanat.dns.record_types.base import RecordType, Value, Written, bounded, parse_rdata, shown
from qanat.errors import QanatError


class A(RecordType):
    """An IPv4 address, in the form that was sent."""

    proxiable = True

    def read(self, written: Written) -> Value:
        content = bounded(written.content, self.name)
        try:
            return Value(content=content, key=str(IPv4Address(content)))
        except (AddressValueError, ValueError):
            raise bad_address(f"{shown(content)} is not an IPv4 address") from None

    def rdata(self, content: str, priority: int | None) -> dns.rdata.Rdata:
        return parse_rdata(self.name, content, where="content")

    def zone_text(self, content: str, priority: int | None) -> str:
        return content


class Aaaa(RecordType):
    """An IPv6 address, in the one form of RFC 5952 whichever way it was written."""

    proxiable = True

    def read(self, written: Written) -> Value:
        content = bounded(written.content, self.name)
        try:
            address = IPv6Address(content)
        except (AddressValueError, ValueError):
            raise bad_address(f"{shown(content)} is not an IPv6 address") from None
        if address.scope_id is not None:
            raise bad_address(f"{shown(content)} has a scope, which means nothing in DNS")
        return Value(content=self.answered(content), key=str(address))

    def answered(self, content: str) -> str:
        return dns.ipv6.inet_ntoa(IPv6Address(content).packed)

    def rdata(self, content: str, priority: int | None) -> dns.rdata.Rdata:
        return parse_rdata(self.name, self.zone_text(content, priority), where="content")

    def zone_text(self, content: str, priority: int | None) -> str:
        return self.answered(content)


def bad_address(message: str) -> QanatError:
    return QanatError("record_bad_address", message, where="content")
