"""The keys of a configuration document: which are known, which are a slip of the pen, and nulls, which are absent."""

from collections.abc import Iterator, Mapping, Set
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

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


Misspelt = Literal["refused", "told"]
"""What a slip of the pen is: refused where it can be mended at once (the API), told where a tunnel would be down for it."""


def unknown_keys(
    value: object,
    kind: type[Struct],
    *,
    misspelt: Misspelt,
    also: frozenset[str] = frozenset(),
) -> list[ConfigurationWarning]:
    """A warning for each key that `kind` (or `also`, at the top) doesn't know, all the way down. It names the key that was meant
    when there is one, there or elsewhere.

    Raises:
        QanatError: `configuration_misspelt_key`, where slips are refused, and everywhere for what might have been `access`:
            without it anybody gets what was meant to be shut (case 19).
    """
    return list(_unknown(value, kind, (), _Known(kind, also, misspelt)))


class _Known(Struct, frozen=True):
    """What the keys of a document are checked against."""

    top: type[Struct]
    also: frozenset[str]
    misspelt: Misspelt


_Place = tuple[str | int, ...]


def _unknown(value: object, kind: type[Struct], place: _Place, known: _Known) -> Iterator[ConfigurationWarning]:
    if not isinstance(value, Mapping):
        return  # a wrong type: told by whoever converts it
    here = {item.encode_name: item.type for item in fields(kind)}
    names = here.keys() if place else here.keys() | known.also
    for key, item in value.items():
        if key in here:
            for index, (inner, struct) in enumerate(_structs_in(item, here[key])):
                at = (*place, key, index) if isinstance(item, (list, tuple)) else (*place, key)
                yield from _unknown(inner, struct, at, known)
        elif key not in names:
            yield _told(str(key), item, names, place, known)


def _told(key: str, item: object, names: Set[str], place: _Place, known: _Known) -> ConfigurationWarning:
    where = _shown((*place, key))
    meant = _meant(key, names, place, known)
    is_near = meant is not None and meant[:-1] == place
    if meant is None:
        hint = ""
    elif is_near:
        hint = f"write {meant[-1]}"
    else:
        hint = f"did you mean {_shown(meant, like=place)}{'' if meant[1:] else ' at the top'}?"
    if meant is not None and ((is_near and known.misspelt == "refused") or _is_access(str(meant[-1]), item)):
        raise QanatError("configuration_misspelt_key", f"'{key[:80]}' is not a valid key here", where=where, hint=hint)
    return ConfigurationWarning("unknown_key", where, f"'{key[:80]}' is not a key that is known here: ignored", hint)


def _is_access(meant: str, item: object) -> bool:
    """Whether ignoring a key would leave out who may come in."""
    if meant in ("access", "required"):
        return True
    return isinstance(item, Mapping) and any(_is_access(str(key), inner) for key, inner in item.items())


def _meant(key: str, names: Set[str], place: _Place, known: _Known) -> _Place | None:
    """The key that was meant: of `names`, which may stand here, or of the whole document, at the place nearest to this one. Who
    wrote a name rightly meant that one, wherever it belongs."""
    document: dict[str, list[_Place]] = {}
    for found in _places(known.top, ()):
        document.setdefault(str(found[-1]), []).append(found)
    flags = {name: [(name,)] for name in known.also}
    for match in (_same, _close):
        if near := match(key, names):
            return (*place, near)
        for everywhere in (document, flags):
            if name := match(key, everywhere.keys()):
                return max(everywhere[name], key=lambda found: (_common(found, place), -len(found)))
    return None


def _places(kind: type[Struct], above: _Place) -> Iterator[_Place]:
    """Every key of a document. An index stands for all."""
    for item in fields(kind):
        place = (*above, item.encode_name)
        yield place
        struct = _struct_of(item.type)
        if struct is not None:
            yield from _places(struct, place if _struct_of(item.type) is item.type else (*place, 0))


def _common(one: _Place, other: _Place) -> int:
    """How many steps two places go together. Indexes don't count as different."""
    together = 0
    for step, beside in zip(one, other, strict=False):
        if step != beside and not (isinstance(step, int) and isinstance(beside, int)):
            break
        together += 1
    return together


def _shown(place: _Place, like: _Place = ()) -> str:
    """`ingress[2].originRequest.caPool`; an index that is also in `like` is that one's."""
    text = ""
    for at, part in enumerate(place):
        if isinstance(part, int):
            text += f"[{like[at] if at < len(like) and isinstance(like[at], int) else part}]"
        else:
            text += f".{part}" if text else part
    return text


def _same(key: str, names: Set[str]) -> str | None:
    """The name that differs in case, hyphens and underscores at most."""
    return next((name for name in names if _fold(name) == _fold(key)), None)


def _close(key: str, names: Set[str]) -> str | None:
    from difflib import get_close_matches  # only here: most connectors never need it

    folded = {_fold(name): name for name in names}
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
