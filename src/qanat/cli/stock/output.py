"""Output as a stock cloudflared has it, to the byte: its tables, and Go's JSON and YAML of what the API answers."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from qanat.errors import QanatError, escape_json, escape_text

ZERO_TIME = "0001-01-01T00:00:00Z"

Row = Mapping[str, Any]


def say(text: str) -> None:
    """Lines on standard output; what could steer a terminal is escaped."""
    for line in text.split("\n"):
        print(escape_text(line))


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell and a blank, the last one too (Go's tabwriter, as stock sets it)."""
    cells = [[escape_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) + 1 for column in zip(*cells, strict=True)]
    return ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]


def render(form: str, value: object) -> None:
    """`--output json` or `yaml`. QanatError `usage`."""
    if form == "json":
        text = json.dumps(value, indent=2, ensure_ascii=False)
        # as Go's encoder, which thinks of HTML
        for character in "<>&":
            text = text.replace(character, f"\\u{ord(character):04x}")
        print(escape_json(text))
    elif form == "yaml":
        sys.stdout.write(_yaml(value))
    else:
        raise QanatError(
            "flag_value_invalid", f"Unknown output format '{form[:40]}'", where="--output", hint="use json or yaml"
        )


def is_table(form: str) -> bool:
    """Whether people read it: no format was asked for, or qanat's own word for that."""
    return form in ("", "text", "default")


def shown_time(text: object) -> str:
    """A time as Go writes it again: no zeros at the end of a fraction; the zero time for none."""
    if not isinstance(text, str) or not text:
        return ZERO_TIME
    return re.sub(r"\.(\d*?)0*(?=Z|[+-]\d\d:\d\d$)", lambda found: f".{found[1]}" if found[1] else "", text)


def whole_seconds(text: object) -> str:
    """RFC 3339 without a fraction."""
    return re.sub(r"\.\d+", "", shown_time(text))


def go_time(text: object) -> str:
    """As Go prints a time: `2026-01-02 15:04:05.123 +0000 UTC`."""
    shown = shown_time(text)
    return f"{shown[:10]} {shown[11:].removesuffix('Z')} +0000 UTC" if shown.endswith("Z") else shown


def unix_seconds(text: object) -> int:
    """For sorting, as stock does: by whole seconds."""
    shown = shown_time(text)
    return -62135596800 if shown == ZERO_TIME else int(datetime.fromisoformat(shown).timestamp())


def _yaml(value: object) -> str:
    return "".join(f"{line}\n" for line in _yaml_lines(value, 0))


def _yaml_lines(value: object, column: int) -> list[str]:
    """What begins at a column, without that indent: what is within begins at the next multiple of four, as Go's yaml.v3 has it;
    keys are Go's field names in lower case."""
    within = (column // 4 + 1) * 4
    pad = " " * (within - column)
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, Mapping | list) and item:
                lines += [f"{_yaml_key(key)}:", *(f"{pad}{line}" for line in _yaml_lines(item, within))]
            else:
                lines.append(f"{_yaml_key(key)}: {_yaml_lines(item, within)[0]}")
        return lines or ["{}"]
    if isinstance(value, list):
        for item in value:
            first, *rest = _yaml_lines(item, column + 2)
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
        return lines or ["[]"]
    return [_yaml_scalar(value)]


_YAML_KEYS = {"is_default_network": "isdefault", "virtual_network_id": "vnetid", "conns": "connections"}


def _yaml_key(name: str) -> str:
    return _YAML_KEYS.get(name, name.replace("_", "").lower())


class Time(str):
    """A text that YAML has as a time, without quotes."""

    __slots__ = ()


def _yaml_scalar(value: object) -> str:
    if isinstance(value, Time):
        return str(value)
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if value == "":
        return '""'
    import yaml  # where it is asked for

    shown = yaml.safe_dump(str(value), width=float("inf"), allow_unicode=True).split("\n")[0]
    if shown.startswith("'"):  # Go prefers the other quotes where a word would mean something else
        return json.dumps(str(value), ensure_ascii=False)
    return shown
