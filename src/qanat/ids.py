"""Ids and hostnames as types of their own. A value of one has passed its parser: it is in its one written form."""

import re
from typing import NewType

from qanat.errors import QanatError

AccountId = NewType("AccountId", str)
"""32 lower-case hexadecimal digits (the wire's accountTag)."""
ZoneId = NewType("ZoneId", str)
"""32 lower-case hexadecimal digits."""
RecordId = NewType("RecordId", str)
"""32 lower-case hexadecimal digits."""
TunnelId = NewType("TunnelId", str)
"""A lower-case dashed UUID."""
ConnectorId = NewType("ConnectorId", str)
"""A lower-case dashed UUID: one run of a connector (the wire's clientId)."""
"""A lower-case dashed UUID: one registered connection."""
Hostname = NewType("Hostname", str)
"""Lower case, punycode, no trailing dot; perhaps a wildcard `*.example.com`."""

LONGEST_NAME = 253
"""Of a hostname, in characters: 255 bytes on the wire (RFC 1035 section 2.3.4)."""

_HEX32 = re.compile(r"[0-9a-f]{32}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_IPV4_LAST = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


def parse_account_id(text: str) -> AccountId:
    """Raises QanatError `bad_id`."""
    return AccountId(_hex32(text, "account"))


def parse_zone_id(text: str) -> ZoneId:
    """Raises QanatError `bad_id`."""
    return ZoneId(_hex32(text, "zone"))


def parse_hex_id(text: str, kind: str) -> str:
    """Of a thing that has no type of its own here. Raises QanatError `bad_id`."""
    return _hex32(text, kind)


def parse_record_id(text: str) -> RecordId:
    """Raises QanatError `bad_id`."""
    return RecordId(_hex32(text, "record"))


def parse_tunnel_id(text: str) -> TunnelId:
    """Raises QanatError `bad_id`."""
    return TunnelId(_uuid(text, "tunnel"))


def parse_connector_id(text: str) -> ConnectorId:
    """Raises QanatError `bad_id`."""
    return ConnectorId(_uuid(text, "connector"))


def parse_uuid(text: str, kind: str) -> str:
    """A UUID of another kind of object, which `kind` names, lower case. Raises QanatError `bad_id`."""
    return _uuid(text, kind)


def parse_hostname(text: str, *, wildcard: bool = True) -> Hostname:
    """A hostname in its one form: lower case, IDN as punycode (UTS 46), no trailing dot.

    `wildcard`: whether `*.` may stand in front. Underscores are let through, as public names use them.

    Raises:
        QanatError: `bad_hostname`, with what is wrong and, for URLs and ports, what to leave out.
    """
    shown = _shown(text)
    if "://" in text:
        raise _bad_hostname(f"{shown} is a URL", "give the hostname alone, such as app.example.com")
    if "/" in text:
        raise _bad_hostname(f"{shown} has a path", "give the hostname alone, such as app.example.com")
    if ":" in text:
        raise _bad_hostname(f"{shown} has a port or is an IPv6 address", "give the hostname without a port")
    name = text[:-1] if text.endswith((".", "\u3002")) else text
    prefix = ""
    if name.startswith("*."):
        if not wildcard:
            raise _bad_hostname(f"{shown} is a wildcard", "give a hostname without `*`")
        prefix, name = "*.", name[2:]
    if "*" in name:
        raise _bad_hostname(f"{shown} has a `*` that is not its whole first label", "write *.example.com")
    if not name.isascii():
        import idna  # few names need it

        try:
            name = idna.encode(name, uts46=True, transitional=False).decode("ascii")
        except UnicodeError as error:  # idna.IDNAError is one
            raise _bad_hostname(f"{shown} is not a valid international name: {error}", None) from error
    name = name.lower()
    if not name:
        raise _bad_hostname("the hostname is empty", None)
    if len(prefix) + len(name) > LONGEST_NAME:
        raise _bad_hostname(f"{shown} is longer than {LONGEST_NAME} characters", None)
    labels = name.split(".")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise _bad_hostname(f"{shown} has the label {_shown(label)}, which names can't have", None)
    if _IPV4_LAST.fullmatch(labels[-1]):
        raise _bad_hostname(f"{shown} is an address, not a name", "give a hostname")
    return Hostname(prefix + name)


def shown_hostname(hostname: str) -> str:
    """International labels in Unicode, as people write them; what would not be read back as the same stays punycode."""
    if "xn--" not in hostname:
        return hostname
    return ".".join(_shown_label(label) for label in hostname.split("."))


def _shown_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    import idna

    try:
        text = idna.decode(label)
        return text if parse_hostname(f"{text}.x") == f"{label}.x" else label
    except (UnicodeError, QanatError):  # idna.IDNAError is one of the former
        return label


def _hex32(text: str, kind: str) -> str:
    lowered = text.lower()
    if not _HEX32.fullmatch(lowered):
        raise QanatError("bad_id", f"{_shown(text)} is not a valid {kind} id, which is 32 hexadecimal digits")
    return lowered


def _uuid(text: str, kind: str) -> str:
    lowered = text.lower()
    if not _UUID.fullmatch(lowered):
        raise QanatError("bad_id", f"{_shown(text)} is not a valid {kind} id, which is a UUID with dashes")
    return lowered


def _bad_hostname(message: str, hint: str | None) -> QanatError:
    return QanatError("bad_hostname", message, hint=hint)


def _shown(text: str) -> str:
    """Quoted and cut, so that control characters and long input can't reach a terminal or a log."""
    return ascii(text if len(text) <= 80 else text[:77] + "...") if not text.isprintable() else _cut(text)


def _cut(text: str) -> str:
    return f"'{text}'" if len(text) <= 80 else f"'{text[:77]}...'"
