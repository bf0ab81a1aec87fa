"""What changed from one configuration document to another: pure, by key and rule, not by line."""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

ABSENT = None
"""Documents hold no nulls, so null says that there is nothing."""


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
    """What is equal and what is not, as (`equal` or `replace`, start and end before, start and end after). Items that stand once
    in both lists hold them together, as many as are in one order (patience diff): in n log n, whatever the lists are."""
    blocks: list[tuple[str, int, int, int, int]] = []
    old = new = 0
    for old_anchor, new_anchor in [*_anchors(before, after), (len(before), len(after))]:
        start_old, start_new = old, new
        while old < old_anchor and new < new_anchor and before[old] == after[new]:
            old, new = old + 1, new + 1
        end_old, end_new = old_anchor, new_anchor
        while end_old > old and end_new > new and before[end_old - 1] == after[end_new - 1]:
            end_old, end_new = end_old - 1, end_new - 1
        blocks.append(("equal", start_old, old, start_new, new))
        blocks.append(("replace", old, end_old, new, end_new))
        blocks.append(("equal", end_old, old_anchor, end_new, new_anchor))
        old, new = old_anchor, new_anchor
    return blocks


def _anchors(before: list[str], after: list[str]) -> list[tuple[int, int]]:
    """Places of items that stand once in each list, the most of them that are in the same order in both."""
    once_before, once_after = Counter(before), Counter(after)
    places = {text: place for place, text in enumerate(after) if once_after[text] == 1}
    pairs = [(place, places[text]) for place, text in enumerate(before) if once_before[text] == 1 and text in places]
    # the longest rising run of places: `ends` has the least end of a run of each length
    ends: list[int] = []
    at: list[int] = []
    earlier: list[int] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        earlier.append(at[length - 1] if length else -1)
        if length == len(ends):
            ends.append(place)
            at.append(number)
        else:
            ends[length], at[length] = place, number
    found: list[tuple[int, int]] = []
    number = at[-1] if at else -1
    while number >= 0:
        found.append(pairs[number])
        number = earlier[number]
    return found[::-1]


def _text(value: Any) -> str:
    # 1, 1.0 and true are equal in Python, and not in a document
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
