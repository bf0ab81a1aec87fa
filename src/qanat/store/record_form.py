"""What a DNS record may be: pure checks from what a client sent to the one form that is stored (api.md 3.2)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

from qanat.errors import QanatError
from qanat.ids import TunnelId, parse_hostname, parse_tunnel_id

TUNNEL_SUFFIX = ".cfargotunnel.com"
TYPES = ("A", "AAAA", "CNAME", "TXT")
PROXIABLE = frozenset({"A", "AAAA", "CNAME"})
AUTOMATIC_TTL = 1
CNAME_SETTINGS = ("flatten_cname", "ipv4_only", "ipv6_only")

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(\d{3}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDraft:
    """A record as a client means it, before it is checked against its zone."""

    name: str
    type: str
    content: str
    ttl: int = AUTOMATIC_TTL
    proxied: bool = False
    comment: str | None = None
    tags: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordForm:
    """A checked record: the name is an FQDN, `content_key` is equal when two contents mean the same."""

    name: str
    type: str
    content: str
    content_key: str
    ttl: int
    proxied: bool
    comment: str | None
    tags: list[str]
    settings: dict[str, Any]
    tunnel_id: TunnelId | None


def check_record(draft: RecordDraft, zone_name: str) -> RecordForm:
    """The draft in its stored form.

    Raises:
        QanatError: `record_bad_name`, `record_bad_type`, `record_bad_address`, `record_bad_content`, `record_bad_ttl`,
            `record_not_proxiable`, `record_bad_comment`; `where` is the field.
    """
    name = record_name(draft.name, zone_name)
    if draft.type not in TYPES:
        raise QanatError(
            "record_bad_type",
            f"{draft.type[:20]!r} is not a type that this version of qanat serves; it serves {', '.join(TYPES)}",
            where="type",
        )
    if draft.proxied and draft.type not in PROXIABLE:
        raise QanatError("record_not_proxiable", f"a {draft.type} record can't be proxied", where="proxied")
    if draft.ttl != AUTOMATIC_TTL and not 30 <= draft.ttl <= 86400:
        raise QanatError("record_bad_ttl", f"{draft.ttl} is neither 1 (automatic) nor from 30 to 86400", where="ttl")
    if draft.comment is not None and len(draft.comment) > 500:
        raise QanatError("record_bad_comment", "a comment has at most 500 characters", where="comment")
    content = draft.content
    tunnel_id = None
    match draft.type:
        case "A":
            key = str(_address(IPv4Address, content))
        case "AAAA":
            key = str(_address(IPv6Address, content))
        case "CNAME":
            content = content.removesuffix(".")
            key = _target(content)
            if key == name:
                raise QanatError("record_bad_content", f"{name} can't point to itself", where="content")
            tunnel_id = tunnel_of(key)
        case _:
            key = txt_value(content)
            if not 1 <= len(content.encode()) <= 4096:
                raise QanatError("record_bad_content", "a TXT has 1 to 4096 bytes", where="content")
    if draft.proxied:
        try:
            parse_hostname(name)
        except QanatError as error:
            raise QanatError("record_bad_name", f"{name} can't be proxied: {error.message}", where="name") from error
    settings = dict(draft.settings)
    if draft.type == "CNAME":
        settings = {key: bool(settings.get(key, False)) for key in CNAME_SETTINGS}
    return RecordForm(
        name=name,
        type=draft.type,
        content=content,
        content_key=key,
        ttl=AUTOMATIC_TTL if draft.proxied else draft.ttl,
        proxied=draft.proxied,
        comment=draft.comment,
        tags=list(draft.tags),
        settings=settings,
        tunnel_id=tunnel_id,
    )


def record_name(text: str, zone_name: str) -> str:
    """`@`, a relative name or an FQDN (with or without the dot) as an FQDN in punycode within the zone."""
    bare = text.strip().removesuffix(".")
    if bare in ("@", ""):
        if not text.strip():
            raise QanatError("record_bad_name", "the name is empty; `@` is the zone itself", where="name")
        return zone_name
    try:
        name = str(parse_hostname(bare))
        if name != zone_name and not name.endswith(f".{zone_name}"):
            name = str(parse_hostname(f"{name}.{zone_name}"))
    except QanatError as error:
        if bare == "*":
            return f"*.{zone_name}"
        raise QanatError("record_bad_name", error.message, where="name", hint=error.hint) from error
    return name


def tunnel_of(target: str) -> TunnelId | None:
    """The tunnel that a CNAME's target names (`<tunnel id>.cfargotunnel.com`)."""
    if not target.endswith(TUNNEL_SUFFIX):
        return None
    try:
        return parse_tunnel_id(target.removesuffix(TUNNEL_SUFFIX))
    except QanatError as error:
        raise QanatError("record_bad_content", error.message, where="content") from error


def txt_value(content: str) -> str:
    """The text that a TXT carries, whether it was written with quotes or without."""
    parts = _QUOTED.findall(content)
    if not parts or _QUOTED.sub("", content).strip():
        return content
    return "".join(_ESCAPE.sub(_unescaped, part) for part in parts)


def _unescaped(found: re.Match[str]) -> str:
    code = found.group(1)
    return chr(int(code)) if len(code) == 3 and code.isdigit() else code


def _address(kind: type[IPv4Address] | type[IPv6Address], content: str) -> IPv4Address | IPv6Address:
    try:
        return kind(content)
    except (AddressValueError, ValueError):
        what = "IPv4" if kind is IPv4Address else "IPv6"
        raise QanatError(
            "record_bad_address" if kind is IPv4Address else "record_bad_content",
            f"{content[:60]!r} is not an {what} address",
            where="content",
        ) from None


def _target(content: str) -> str:
    try:
        return parse_hostname(content, wildcard=False)
    except QanatError as error:
        raise QanatError("record_bad_content", error.message, where="content", hint=error.hint) from error
