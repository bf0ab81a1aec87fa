"""The keys of a configuration document: which are known, which are a slip of the pen, and nulls, which are absent."""

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields

from qanat.errors import QanatError
from qanat.ingress.warnings import ConfigurationWarning


def without_nulls(value: object) -> object:
    """The document as sent, less every key whose value is null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def unknown_keys(
    value: object, kind: type[Struct], *, where: str = "", also: frozenset[str] = frozenset()
) -> list[ConfigurationWarning]:
    """A warning for each key that `kind` (or `also`, at the top) doesn't know, all the way down.

    Raises:
        QanatError: `configuration_misspelt_key` when it all but matches a known one: a slip in `access` or
            `noTLSVerify` would otherwise open what was meant to be shut (case 19).
    """
    if not isinstance(value, Mapping):
        return []  # a wrong type: told by whoever converts it
    known = {item.encode_name: item.type for item in fields(kind)}
    names = known.keys() | also
    found: list[ConfigurationWarning] = []
    for key, item in value.items():
        place = f"{where}.{key}" if where else str(key)
        if key in known:
            for index, (inner, struct) in enumerate(_structs_in(item, known[key])):
                inner_place = f"{place}[{index}]" if isinstance(item, (list, tuple)) else place
                found += unknown_keys(inner, struct, where=inner_place)
        elif key not in names:
            near = _near_match(str(key), names)
            if near:
                raise QanatError(
                    "configuration_misspelt_key", f"'{str(key)[:80]}' is no key", where=place, hint=f"write {near}"
                )
            found.append(
                ConfigurationWarning("unknown_key", place, f"'{str(key)[:80]}' is no key that is known: ignored")
            )
    return found


def _near_match(key: str, names: set[str] | frozenset[str]) -> str | None:
    folded = {_fold(name): name for name in names}
    if _fold(key) in folded:
        return folded[_fold(key)]
    from difflib import get_close_matches  # only here: most connectors never need it

    close = get_close_matches(_fold(key), folded, n=1, cutoff=0.84)
    return folded[close[0]] if close and not _differ_in_digits_only(close[0], _fold(key)) else None


def _differ_in_digits_only(one: str, other: str) -> bool:
    """`http3Origin` is a key to come, not a misspelt `http2Origin`."""
    return one.translate(_NO_DIGITS) == other.translate(_NO_DIGITS)


_NO_DIGITS = str.maketrans("", "", "0123456789")


def _fold(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def _structs_in(value: object, kind: Any) -> list[tuple[object, type[Struct]]]:
    """The objects of `value` that are structs by the type `kind`, in order: itself, or a list's items."""
    struct = _struct_of(kind)
    if struct is None:
        return []
    return [(item, struct) for item in value] if isinstance(value, (list, tuple)) else [(value, struct)]


def _struct_of(kind: Any) -> type[Struct] | None:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return kind
    if get_origin(kind) is Annotated or isinstance(kind, UnionType) or get_origin(kind) in (tuple, list):
        return next((struct for part in get_args(kind) if (struct := _struct_of(part))), None)
    return None
