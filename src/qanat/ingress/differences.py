"""What changed from one configuration document to another: pure, by key and rule, not by line."""

import json
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from msgspec import Struct

ABSENT = None
"""Documents hold no nulls, so null says that there is nothing."""


MOST_COMPARED = 4_000_000
"""Pairs of list items; longer lists are compared item by item, as aligning them could take minutes."""


class Difference(Struct, frozen=True):
    """One value that differs. `path` is where it stands (`ingress[2].service`) in the later document, or in the earlier one
    when it was removed; `before`, `after`: None where there is none."""

    path: str
    before: Any
    after: Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Everything that differs, in the order of the later document, removed keys last. A rule put in between others is one
    difference and not one of each rule after it."""
    found: list[Difference] = []
    try:
        _objects("", before, after, found)
    except RecursionError:
        return [Difference("", before, after)]
    return found


def _values(path: str, before: Any, after: Any, found: list[Difference]) -> None:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        _objects(path, before, after, found)
    elif isinstance(before, list) and isinstance(after, list):
        _lists(path, before, after, found)
    elif _text(before) != _text(after):
        found.append(Difference(path, before, after))


def _objects(path: str, before: Mapping[str, Any], after: Mapping[str, Any], found: list[Difference]) -> None:
    for key, value in after.items():
        place = f"{path}.{key}" if path else key
        if key in before:
            _values(place, before[key], value, found)
        else:
            found.append(Difference(place, ABSENT, value))
    for key, value in before.items():
        if key not in after:
            found.append(Difference(f"{path}.{key}" if path else key, value, ABSENT))


def _lists(path: str, before: Sequence[Any], after: Sequence[Any], found: list[Difference]) -> None:
    for what, old, old_end, new, new_end in _blocks([_text(each) for each in before], [_text(each) for each in after]):
        if what == "equal":
            continue
        common = min(old_end - old, new_end - new)
        for step in range(common):
            _values(f"{path}[{new + step}]", before[old + step], after[new + step], found)
        found += [Difference(f"{path}[{index}]", ABSENT, after[index]) for index in range(new + common, new_end)]
        found += [Difference(f"{path}[{index}]", before[index], ABSENT) for index in range(old + common, old_end)]


def _blocks(before: list[str], after: list[str]) -> list[tuple[str, int, int, int, int]]:
    if len(before) * len(after) > MOST_COMPARED:
        return [("replace", 0, len(before), 0, len(after))]
    return list(SequenceMatcher(None, before, after, autojunk=False).get_opcodes())


def _text(value: Any) -> str:
    # 1, 1.0 and true are equal in Python, and not in a document
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
