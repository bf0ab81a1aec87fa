"""HTTPS and SVCB (RFC 9460): priority, target and service parameters."""

from typing import Any

import dns.immutable
import dns.rdata
import dns.rdtypes.svcbbase as svcb

from qanat.dns.record_types.base import DataType, Part, Scalar, canonical, target, whole


def _parameters(value: Scalar, where: str) -> str:
    return str(value).strip()


def _target(rdata: Any) -> Scalar:
    return str(rdata.target.to_text())


def _value(rdata: Any) -> Scalar:
    return str(rdata.to_text()).partition(" ")[2].partition(" ")[2]


@dns.immutable.immutable
class AnyEch(svcb.ECHParam):
    """`ech` with any bytes: what a list of ECH configurations is, its reader says (clients read and skip what they don't
    know), and stock takes any base64."""

    def __init__(self, ech: bytes) -> None:
        self.ech = dns.rdata.Rdata._as_bytes(ech, True)


svcb._class_for_key[svcb.ParamKey.ECH] = AnyEch


class Binding(DataType):
    """Both have the same form. The target has its last dot, in `data` as in the content, from which octodns reads it; the
    parameters stay as they were written."""

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            [
                Part(key="priority", present=whole(16), read=lambda rdata: int(rdata.priority)),
                Part(key="target", present=target, read=_target, is_canonical=True),
                Part(key="value", present=_parameters, read=_value, default=""),
            ],
        )

    def settled(self, content: str, priority: int | None, rdata: Any) -> str:
        number, _, *rest = content.split(None, 2)
        return " ".join([str(int(number)), target(str(rdata.target.to_text()), "content"), *rest])

    def key(self, rdata: dns.rdata.Rdata) -> str:
        number, name, rest = f"{canonical(rdata)} ".split(" ", 2)
        return f"{number} {name.lower()} {rest}".strip()


HTTPS = Binding("HTTPS")
SVCB = Binding("SVCB")
