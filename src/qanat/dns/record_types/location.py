"""LOC (RFC 1876): degrees, minutes and seconds, and metres."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from qanat.dns.record_types.base import DataType, Part, Scalar, bad_content, shown


def _decimal(digits: int, *, unit: str = "", least: int = 0, most: int) -> Callable[[Scalar, str], str]:
    """A number with at most `digits` decimals; it may be sent with its unit, and stands without."""

    def present(value: Scalar, where: str) -> str:
        try:
            number = Decimal(str(value).strip().removesuffix("m") if unit else str(value))
        except InvalidOperation:
            raise bad_content(f"{shown(str(value))} is not a number", where=where) from None
        if not number.is_finite() or not least <= number <= most:
            raise bad_content(f"{shown(str(value))} is not from {least} to {most}", where=where)
        return f"{number:.{digits}f}"

    return present


def _direction(one: str, other: str) -> Callable[[Scalar, str], str]:
    def present(value: Scalar, where: str) -> str:
        if value not in (one, other):
            raise bad_content(f"{shown(str(value))} is neither {one} nor {other}", where=where)
        return str(value)

    return present


def _seconds(angle: Any) -> Scalar:
    return _number(angle[2] + angle[3] / 1000)


def _metres(centimetres: float) -> Scalar:
    return _number(centimetres / 100)


def _number(value: float) -> Scalar:
    return int(value) if float(value).is_integer() else value


_METRES = 90_000_000
_ALTITUDE = _decimal(2, unit="m", least=-100_000, most=42_849_672)

LOC = DataType(
    "LOC",
    [
        Part(key="lat_degrees", present=_decimal(0, most=90), read=lambda rdata: int(rdata.latitude[0])),
        Part(key="lat_minutes", present=_decimal(0, most=59), read=lambda rdata: int(rdata.latitude[1]), default="0"),
        Part(key="lat_seconds", present=_decimal(3, most=60), read=lambda rdata: _seconds(rdata.latitude), default="0"),
        Part(
            key="lat_direction",
            present=_direction("N", "S"),
            read=lambda rdata: "N" if rdata.latitude[4] >= 0 else "S",
        ),
        Part(key="long_degrees", present=_decimal(0, most=180), read=lambda rdata: int(rdata.longitude[0])),
        Part(key="long_minutes", present=_decimal(0, most=59), read=lambda rdata: int(rdata.longitude[1]), default="0"),
        Part(
            key="long_seconds", present=_decimal(3, most=60), read=lambda rdata: _seconds(rdata.longitude), default="0"
        ),
        Part(
            key="long_direction",
            present=_direction("E", "W"),
            read=lambda rdata: "E" if rdata.longitude[4] >= 0 else "W",
        ),
        Part(key="altitude", present=_ALTITUDE, read=lambda rdata: _metres(rdata.altitude), default="0.00"),
        Part(
            key="size",
            present=_decimal(2, unit="m", most=_METRES),
            read=lambda rdata: _metres(rdata.size),
            default="1.00",
        ),
        Part(
            key="precision_horz",
            present=_decimal(2, unit="m", most=_METRES),
            read=lambda rdata: _metres(rdata.horizontal_precision),
            default="10000.00",
        ),
        Part(
            key="precision_vert",
            present=_decimal(2, unit="m", most=_METRES),
            read=lambda rdata: _metres(rdata.vertical_precision),
            default="10.00",
        ),
    ],
)
