"""HTTPS and SVCB (RFC 9460): priority, target and service parameters."""

from typing import Any

import dns.rdata

from qanat.store.record_types.base import DataType, Part, Scalar, canonical, target, whole


def _parameters(value: Scalar, where: str) -> str:
    return str(value).strip()


def _target(rdata: Any) -> Scalar:
    return str(rdata.target.to_text())


def _value(rdata: Any) -> Scalar:
    return str(rdata.to_text()).partition(" ")[2].partition(" ")[2]


class Binding(DataType):
    """Both have the same form. The target keeps its last dot: octodns reads it from the content."""

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            [
                Part(key="priority", present=whole(16), read=lambda rdata: int(rdata.priority)),
                Part(key="target", present=target, read=_target),
                Part(key="value", present=_parameters, read=_value, default=""),
            ],
        )

    def key(self, rdata: dns.rdata.Rdata) -> str:
        number, name, rest = f"{canonical(rdata)} ".split(" ", 2)
        return f"{number} {name.lower()} {rest}".strip()


HTTPS = Binding("HTTPS")
SVCB = Binding("SVCB")
