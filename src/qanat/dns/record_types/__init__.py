"""The record types that qanat has, one module a family; parsing and comparing is dnspython's work."""

from collections.abc import Mapping
from types import MappingProxyType

from qanat.dns.record_types.addresses import A, Aaaa
from qanat.dns.record_types.base import RecordType, Scalar, Value, Written, WrittenAs
from qanat.dns.record_types.bindings import HTTPS, SVCB
from qanat.dns.record_types.certificates import CAA, CERT, SMIMEA, SSHFP, TLSA
from qanat.dns.record_types.dnssec import DNSKEY, DS
from qanat.dns.record_types.location import LOC
from qanat.dns.record_types.names import Mx, Target
from qanat.dns.record_types.services import NAPTR, SRV, URI
from qanat.dns.record_types.text import Txt, txt_value

__all__ = ["PROXIABLE", "RECORD_TYPES", "RecordType", "Scalar", "Value", "Written", "WrittenAs", "txt_value"]

_TYPES: tuple[RecordType, ...] = (
    A("A"),
    Aaaa("AAAA"),
    Target("CNAME", proxiable=True),
    Txt("TXT"),
    Mx("MX"),
    Target("NS"),
    Target("PTR"),
    SRV,
    CAA,
    DS,
    DNSKEY,
    TLSA,
    SMIMEA,
    SSHFP,
    LOC,
    NAPTR,
    URI,
    CERT,
    HTTPS,
    SVCB,
)
RECORD_TYPES: Mapping[str, RecordType] = MappingProxyType({each.name: each for each in _TYPES})
PROXIABLE = frozenset(each.name for each in _TYPES if each.proxiable)
