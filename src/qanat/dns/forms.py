"""What a DNS record may be: pure checks from what a client sent to the one form that is stored (api.md 3.2)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qanat.dns.record_types import PROXIABLE, RECORD_TYPES, Scalar, Value, Written, WrittenAs, txt_value
from qanat.errors import QanatError
from qanat.ids import TunnelId, parse_hostname, parse_tunnel_id

TUNNEL_SUFFIX = ".cfargotunnel.com"
OWN_SUFFIX = ".tunnel.qanat.internal"
TYPES = tuple(RECORD_TYPES)
AUTOMATIC_TTL = 1
MAX_COMMENT = 500
MAX_TAGS = 20
SETTINGS = ("flatten_cname", "ipv4_only", "ipv6_only")

_TAG = re.compile(r"[A-Za-z0-9_-]{1,32}(:[^\x00-\x1f\x7f]{0,100})?", re.ASCII)

__all__ = ["PROXIABLE", "TYPES", "RecordDraft", "RecordForm", "check_record", "record_name", "tunnel_of", "txt_value"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDraft:
    """A record as a client means it, before it is checked against its zone."""

    name: str
    type: str
    content: str | None = None
    data: Mapping[str, object] | None = None
    priority: int | None = None
    ttl: int = AUTOMATIC_TTL
    proxied: bool = False
    comment: str | None = None
    tags: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    private_routing: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordForm:
    """A checked record: the name is an FQDN, `content_key` is equal when two contents mean the same."""

    name: str
    type: str
    content: str
    content_key: str
    data: dict[str, Scalar] | None
    written_as: WrittenAs
    priority: int | None
    ttl: int
    proxied: bool
    comment: str | None
    tags: list[str]
    settings: dict[str, Any]
    private_routing: bool | None
    tunnel_id: TunnelId | None


def check_record(draft: RecordDraft, zone_name: str) -> RecordForm:
    """The draft in its stored form.

    Raises:
        QanatError: `record_bad_name`, `record_bad_type`, `record_bad_address`, `record_bad_content`, `record_bad_ttl`,
            `record_bad_priority`, `record_not_proxiable`, `record_bad_comment`, `record_bad_tag`, `record_cname_self`,
            `record_tunnel_unproxied`; `where` is the field.
    """
    kind = RECORD_TYPES.get(draft.type)
    if kind is None:
        raise QanatError(
            "record_bad_type",
            f"{draft.type[:20]!r} is not a type of records; they are {', '.join(TYPES)}",
            where="type",
        )
    name = record_name(draft.name or _legacy_name(draft), zone_name)
    _check_fields(draft, proxiable=kind.proxiable)
    value = kind.read(Written(content=draft.content, data=draft.data, priority=draft.priority))
    tunnel_id = None
    if draft.type == "CNAME":
        tunnel_id = tunnel_of(value.key)
        if tunnel_id is not None:
            value = Value(content=value.content, key=tunnel_id + TUNNEL_SUFFIX)
            _check_proxied(draft, value)
        if value.key == name:
            raise QanatError("record_cname_self", "CNAME content cannot reference itself.", where="content")
    if draft.proxied:
        try:
            parse_hostname(name)
        except QanatError as error:
            raise QanatError("record_bad_name", f"{name} can't be proxied: {error.message}", where="name") from error
    return RecordForm(
        name=name,
        type=draft.type,
        content=value.content,
        content_key=value.key,
        data=value.data,
        written_as=value.written_as,
        priority=value.priority,
        ttl=AUTOMATIC_TTL if draft.proxied else draft.ttl,
        proxied=draft.proxied,
        comment=draft.comment,
        tags=list(draft.tags),
        settings=_settings(draft),
        private_routing=draft.private_routing,
        tunnel_id=tunnel_id,
    )


def record_name(text: str, zone_name: str) -> str:
    """`@`, a relative name or an FQDN (with or without the dot) as an FQDN in punycode within the zone.

    A name with a last dot is absolute and must lie in the zone; without it, what doesn't lie in the zone is relative.
    """
    bare = text.strip().removesuffix(".")
    is_absolute = bare != text.strip()
    if bare == "@":
        return zone_name
    if not bare:
        what = "is empty" if not text.strip() else "`.` is the root of DNS"
        raise QanatError("record_bad_name", f"the name {what}; `@` is the zone itself", where="name")
    if bare.endswith("."):
        raise QanatError("record_bad_name", "the name has an empty label", where="name")
    try:
        name = str(parse_hostname(bare))
        if in_zone(name, zone_name):
            return name
    except QanatError:
        pass  # a relative name may be what no whole one can be: `*`, or `4` in a zone of reverse names
    if is_absolute:
        raise QanatError(
            "record_bad_name", f"{bare[:80]!r}, a name with a last dot, is not in {zone_name}", where="name"
        )
    try:
        return str(parse_hostname(f"{bare}.{zone_name}"))
    except QanatError as error:
        raise QanatError("record_bad_name", error.message, where="name", hint=error.hint) from error


def in_zone(name: str, zone_name: str) -> bool:
    """Whether a whole name is the zone's or lies below it."""
    return name == zone_name or name.endswith(f".{zone_name}")


def tunnel_of(target: str) -> TunnelId | None:
    """The tunnel that a CNAME's target names: `<tunnel id>.cfargotunnel.com`, or the same under our own suffix."""
    for suffix in (TUNNEL_SUFFIX, OWN_SUFFIX):
        if target.endswith(suffix):
            try:
                return parse_tunnel_id(target.removesuffix(suffix))
            except QanatError as error:
                raise QanatError("record_bad_content", error.message, where="content") from error
    return None


def _legacy_name(draft: RecordDraft) -> str:
    """Of an SRV without a top-level name, as old clients send it."""
    data = draft.data or {}
    parts = [data.get(key) for key in ("service", "proto", "name")]
    if draft.type != "SRV" or not all(isinstance(part, str) and part for part in parts):
        return ""
    service, proto, name = (str(part) for part in parts)
    return f"{service}.{proto}" if name == "@" else f"{service}.{proto}.{name}"


def _check_fields(draft: RecordDraft, *, proxiable: bool) -> None:
    if draft.proxied and not proxiable:
        raise QanatError("record_not_proxiable", f"a record of type {draft.type} can't be proxied", where="proxied")
    if draft.ttl != AUTOMATIC_TTL and not 30 <= draft.ttl <= 86400:
        raise QanatError("record_bad_ttl", f"{draft.ttl} is neither 1 (automatic) nor from 30 to 86400", where="ttl")
    if draft.priority is not None and not 0 <= draft.priority <= 65535:
        raise QanatError("record_bad_priority", f"{draft.priority} is not from 0 to 65535", where="priority")
    if draft.comment is not None and len(draft.comment) > MAX_COMMENT:
        raise QanatError("record_bad_comment", f"a comment has at most {MAX_COMMENT} characters", where="comment")
    if len(draft.tags) > MAX_TAGS:
        raise QanatError("record_bad_tag", f"a record has at most {MAX_TAGS} tags", where="tags")
    for number, tag in enumerate(draft.tags):
        if not _TAG.fullmatch(tag):
            raise QanatError(
                "record_bad_tag",
                f"{tag[:60]!r} is not `name` or `name:value` (letters, digits, `_` and `-`, at most 32; then at most 100)",
                where=f"tags[{number}]",
            )


def _check_proxied(draft: RecordDraft, value: Value) -> None:
    if not draft.proxied:
        raise QanatError(
            "record_tunnel_unproxied",
            f"{value.content} is a tunnel, which no address leads to: the record must be proxied",
            where="proxied",
            hint="set proxied to true",
        )


def _settings(draft: RecordDraft) -> dict[str, Any]:
    sent = {key: draft.settings[key] for key in SETTINGS if draft.settings.get(key) is not None}
    if draft.type == "CNAME":
        return {key: sent.get(key, False) for key in SETTINGS}
    return sent
