"""A configuration document as a form: a row for each ingress rule, and as JSON whatever has no field of its own. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qanat.errors import QanatError

FIELDS = ("hostname", "path", "service")
MOST_ROWS = 2000
_FIELD = re.compile(r"(hostname|path|service|rest)-(\d{1,4})")
_ACTION = re.compile(r"(add|remove|up|down)-(\d{1,4})")


@dataclass(slots=True)
class Row:
    """One rule; `rest`: its other keys, as JSON, "" without any."""

    hostname: str = ""
    path: str = ""
    service: str = ""
    rest: str = ""


@dataclass(slots=True)
class RulesForm:
    """`rest`: the document's other keys, as JSON. `version`: that it was made of."""

    rows: list[Row] = field(default_factory=list)
    rest: str = ""
    version: int = 0

    @classmethod
    def of(cls, document: Mapping[str, Any], version: int) -> "RulesForm":
        """As it is stored."""
        rows = [
            Row(
                hostname=str(rule.get("hostname", "")),
                path=str(rule.get("path", "")),
                service=str(rule.get("service", "")),
                rest=_json({key: value for key, value in rule.items() if key not in FIELDS}),
            )
            for rule in document.get("ingress") or []
        ]
        return cls(rows, _json({key: value for key, value in document.items() if key != "ingress"}), version)

    @classmethod
    def read(cls, form: Mapping[str, str]) -> "RulesForm":
        """As it was sent. QanatError `form_malformed`."""
        rows: dict[int, Row] = {}
        for name, value in form.items():
            found = _FIELD.fullmatch(name)
            if found is not None:
                setattr(rows.setdefault(int(found[2]), Row()), found[1], value.strip())
        version = form.get("version", "0")
        if len(rows) > MOST_ROWS or not (version.isascii() and version.isdigit() and len(version) < 10):
            raise QanatError("form_malformed", "the form can't be read", hint="load the page again")
        return cls([rows[number] for number in sorted(rows)], form.get("rest", "").strip(), int(version))

    def change(self, action: str) -> bool:
        """What a button beside a rule does; whether it was one of those."""
        found = _ACTION.fullmatch(action)
        if found is None:
            return False
        what, at = found[1], int(found[2])
        if what == "add":
            self.rows.insert(min(at, len(self.rows)), Row())
        elif at < len(self.rows):
            row = self.rows.pop(at)
            if what != "remove":
                self.rows.insert(max(0, at - 1) if what == "up" else at + 1, row)
        return True

    def document(self) -> dict[str, Any]:
        """What it says; fields that are empty are absent. QanatError `configuration_malformed`: a text that isn't a JSON
        object."""
        rules = []
        for number, row in enumerate(self.rows):
            given = {name: value for name in FIELDS if (value := getattr(row, name))}
            rules.append({**given, **_object(row.rest, f"ingress[{number}]")})
        rest = _object(self.rest, "")
        return {**({"ingress": rules} if rules else {}), **rest}


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) if value else ""


def _object(text: str, where: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QanatError(
            "configuration_malformed", f"this is not JSON: {error}", where=where or "the other keys"
        ) from None
    if not isinstance(found, dict):
        raise QanatError("configuration_malformed", "this is not a JSON object", where=where or "the other keys")
    return found
