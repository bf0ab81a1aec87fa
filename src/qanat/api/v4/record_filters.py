"""The filters of record lists (api.md 3.3): what the query asks for, as conditions on the rows. An empty one matches nothing."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Literal, assert_never, get_args

from sqlalchemy import ColumnElement, Text, bindparam, cast, false, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from starlette.datastructures import QueryParams

from qanat.api.http.filters import parse_truth, storable
from qanat.control import record_list
from qanat.dns.forms import in_zone, record_name, txt_value
from qanat.errors import QanatError
from qanat.store.models import Record, Zone

HOST_CONTENTS = ("CNAME", "MX", "NS", "PTR")
FIELDS = ("name", "content", "comment")
Partial = Literal["contains", "startswith", "endswith"]
PARTIAL: tuple[Partial, ...] = get_args(Partial)
TagTest = Literal["exact", "present", "absent", Partial]
TAG_TESTS: tuple[TagTest, ...] = get_args(TagTest)
NO_TAGS = "[]"
WITH_PRIORITY = ("SRV", "URI")
_BEHIND_PRIORITY = re.compile(r'\d+ (?:\d+ \S+|".*")', re.ASCII)

_BOOLEAN: Mapping[str, Any] = {"type": "boolean"}
QUERIES: Mapping[str, str | tuple[str, Mapping[str, Any]]] = {
    **{name: f"Records with exactly this {name}." for name in FIELDS},
    **{f"{name}.exact": f"Records with exactly this {name}." for name in FIELDS},
    **{f"{name}.{how}": f"Records whose {name} {how} this, in either case." for name in FIELDS for how in PARTIAL},
    "comment.present": "Records with a comment.",
    "comment.absent": "Records without one.",
    "type": "Records of this type; may be repeated.",
    "proxied": ("Records that are proxied, or aren't.", _BOOLEAN),
    "tag": "Records with this tag, `name` or `name:value`.",
    "tag.exact": "The same.",
    "tag.present": "Records with a tag of this name.",
    "tag.absent": "Records without one.",
    **{f"tag.{how}": f"`name:part`: records with a tag of this name whose value {how} the part." for how in PARTIAL},
    "tag_match": ("Whether a record must pass all tests of its tags.", {"type": "string", "enum": ["any", "all"]}),
    "tag-match": ("The same.", {"type": "string", "enum": ["any", "all"]}),
    "match": ("Whether a record must pass all filters.", {"type": "string", "enum": ["any", "all"]}),
    "search": "Records with this text anywhere, whatever `match` says.",
    "order": ("Default `type`.", {"type": "string", "enum": ["type", "name", "content", "ttl", "proxied"]}),
    "direction": ("Default `asc`.", {"type": "string", "enum": ["asc", "desc"]}),
}

Test = Callable[[list[str]], bool]


def filters(session: Session, query: QueryParams, zone: Zone) -> list[ColumnElement[bool]]:
    """One condition a field; values of a repeated parameter are alternatives."""
    found: list[ColumnElement[bool]] = []
    exact: tuple[tuple[str, Callable[[str], ColumnElement[bool]]], ...] = (
        ("name", lambda text: Record.name == _name(text, zone)),
        ("content", _content),
        ("comment", lambda text: Record.comment == text),
    )
    for field, condition in exact:
        _add(found, [condition(text) for text in _values(query, field, f"{field}.exact")])
    for how in PARTIAL:
        for field in FIELDS:
            _add(found, [_partly(field, how, text) for text in _values(query, f"{field}.{how}")])
    if "comment.present" in query:
        found.append(Record.comment.is_not(None))
    if "comment.absent" in query:
        found.append(Record.comment.is_(None))
    _add(found, [Record.type == text.upper() for text in _values(query, "type")])
    _add(found, [Record.proxied.is_(parse_truth(text, where="proxied")) for text in query.getlist("proxied")])
    tests = list(_tag_tests(query))
    if tests:
        match_any = (query.get("tag_match") or query.get("tag-match")) == "any"
        found.append(_tagged(session, zone.id, any if match_any else all, tests))
    return found


def searched(query: QueryParams) -> ColumnElement[bool] | None:
    """The condition of `search`."""
    texts = _values(query, "search")
    if not texts:
        return None
    return record_list.containing(texts)


def _add(found: list[ColumnElement[bool]], alternatives: list[ColumnElement[bool]]) -> None:
    if alternatives:
        found.append(or_(*alternatives))


def _values(query: QueryParams, *names: str) -> list[str]:
    return [storable(value) for name in names for value in query.getlist(name)]


def _name(text: str, zone: Zone) -> str:
    """A filter's name is an FQDN already; one of another zone finds nothing instead of becoming relative."""
    bare = text.lower().removesuffix(".")
    try:
        name = record_name(bare, zone.name)
    except QanatError:
        return bare
    return name if bare == "@" or "." not in bare or in_zone(bare, zone.name) or not bare.isascii() else bare


def _content(text: str) -> ColumnElement[bool]:
    """As written, or meaning the same: a TXT's decoded text, an address in another form, a host in either case."""
    forms = {text}
    with suppress(QanatError):
        forms.add(txt_value(text))
    with suppress(ValueError):
        forms.add(str(ip_address(text)))
    host = text.lower().removesuffix(".")
    return or_(
        Record.content == text,
        Record.content_key.in_(sorted(forms)),
        Record.type.in_(HOST_CONTENTS) & (func.lower(Record.content) == host),
        *_behind_priority(text),
    )


def _behind_priority(text: str) -> list[ColumnElement[bool]]:
    """What SRV and URI are answered with stands behind the priority in what is kept."""
    if not _BEHIND_PRIORITY.fullmatch(text):
        return []
    ends = [Record.content.endswith(f" {form}", autoescape=True) for form in (text, f"{text}.")]
    return [Record.type.in_(WITH_PRIORITY) & or_(*ends)]


def _partly(field: str, how: str, text: str) -> ColumnElement[bool]:
    columns: dict[str, tuple[InstrumentedAttribute[str] | InstrumentedAttribute[str | None], ...]] = {
        "name": (Record.name,),
        "content": (Record.content, Record.content_key),
        "comment": (Record.comment,),
    }
    conditions = {
        "contains": lambda column: column.icontains(text, autoescape=True),
        "startswith": lambda column: column.istartswith(text, autoescape=True),
        "endswith": lambda column: column.iendswith(text, autoescape=True),
    }
    return or_(false(), *(conditions[how](column) for column in columns[field] if text))


def _tag_tests(query: QueryParams) -> Iterable[Test]:
    named: list[tuple[str, TagTest]] = [("tag", "exact"), *((f"tag.{how}", how) for how in TAG_TESTS)]
    for name, how in named:
        for text in _values(query, name):
            yield _tag_test(how, text.lower())


def _tag_test(how: TagTest, text: str) -> Test:
    name, _, part = text.partition(":")

    def names(tags: list[str]) -> bool:
        return any(tag.partition(":")[0] == text for tag in tags)

    def values(tags: list[str]) -> list[str]:
        parted = [tag.partition(":") for tag in tags]
        return [value for own, _, value in parted if own == name]

    match how:
        case "exact":
            return lambda tags: text in tags
        case "present":
            return names
        case "absent":
            return lambda tags: bool(text) and not names(tags)
        case "contains":
            return lambda tags: any(part in value for value in values(tags))
        case "startswith":
            return lambda tags: any(value.startswith(part) for value in values(tags))
        case "endswith":
            return lambda tags: any(value.endswith(part) for value in values(tags))
    assert_never(how)


def _tagged(
    session: Session, zone_id: str, combine: Callable[[Iterable[bool]], bool], tests: list[Test]
) -> ColumnElement[bool]:
    """The records whose tags pass. Tags are a JSON list, which the two databases take apart differently: done here."""

    def passes(tags: list[str]) -> bool:
        lowered = [tag.lower() for tag in tags]
        return combine(test(lowered) for test in tests)

    listed = cast(Record.tags, Text)
    rows = session.execute(select(Record.id, Record.tags).where(Record.zone_id == zone_id, listed != NO_TAGS))
    passing = [record_id for record_id, tags in rows if passes(tags)]
    # The ids are ours, 32 hexadecimal digits: written into the statement, since databases bound the number of parameters.
    found = Record.id.in_(bindparam("passing", passing, expanding=True, literal_execute=True))
    return or_(found, listed == NO_TAGS) if passes([]) else found
