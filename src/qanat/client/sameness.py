"""When two records, or two configurations, of different APIs say the same; and a record's fields as they are sent."""

import json
import re
from collections.abc import Mapping
from typing import Any

from qanat.client.shapes import Record

WITH_PRIORITY = ("MX", "URI")
ADDRESSES = ("A", "AAAA")
HOSTS = ("CNAME", "MX", "NS", "PTR")

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def fields(old: Record, content: str) -> dict[str, Any]:
    """What is sent for a record."""
    fields: dict[str, Any] = {
        "name": old.name,
        "type": old.type,
        "ttl": 1 if old.proxied else old.ttl,
        "proxied": old.proxied,
        "comment": old.comment or None,
        "tags": old.tags,
    }
    if old.data:
        fields["data"] = {key: value for key, value in old.data.items() if value is not None}
    else:
        fields["content"] = content
    if old.type in WITH_PRIORITY and old.priority is not None:
        fields["priority"] = old.priority
    if old.settings and any(old.settings.values()):
        fields["settings"] = old.settings
    return fields


def key(record: Record, content: str) -> tuple[str, str, str]:
    """Equal for two records that say the same."""
    name = record.name.lower().removesuffix(".")
    if record.data:
        known = {key: value for key, value in record.data.items() if value is not None}
        return name, record.type, json.dumps(_plain(known), sort_keys=True)
    if record.type == "TXT":
        return name, record.type, _text(content)
    if record.type in HOSTS:
        return name, record.type, host(content)
    return name, record.type, content


def settings(record: Record) -> tuple[Any, ...]:
    priority = record.priority if record.type in WITH_PRIORITY else None
    ttl = 1 if record.proxied else record.ttl
    return ttl, record.proxied, record.comment or None, sorted(record.tags), priority


def excludes(present: Record, old: Record) -> bool:
    """A CNAME stands alone among its name's addresses and CNAMEs."""
    if present.name.lower() != old.name.lower().removesuffix("."):
        return False
    if old.type == "CNAME":
        return present.type in (*ADDRESSES, "CNAME")
    return old.type in ADDRESSES and present.type == "CNAME"


def bare(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without nulls, and without the `warp-routing` that answers always have."""
    bare: dict[str, Any] = _without_nulls(dict(document))
    if bare.get("warp-routing") in ({"enabled": False}, {}):
        del bare["warp-routing"]
    return bare


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value if each is not None]
    return value


def _plain(value: Any) -> Any:
    """Numbers and their texts are the same to a DNS API, and hostnames' case and last dot don't matter."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower().removesuffix(".")


def host(text: str) -> str:
    return text.lower().removesuffix(".")


def _text(content: str) -> str:
    parts = _QUOTED.findall(content)
    if not parts or _QUOTED.sub("", content).strip():
        return content
    return re.sub(r"\\(.)", r"\1", "".join(parts), flags=re.DOTALL)
