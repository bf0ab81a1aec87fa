"""Zone files (RFC 1035 section 5, "BIND"): a zone's records as text, and back. What BIND doesn't know (comment, proxied, tags,
settings) stands in the line's comment as stock writes it: `; the comment cf_tags=cf-proxied:true,team:web`."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, cast

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tokenizer
import dns.zonefile

from qanat.dns.forms import AUTOMATIC_TTL, PROXIABLE, RecordDraft, tunnel_of
from qanat.dns.record_types import RECORD_TYPES
from qanat.dns.record_types.base import quote
from qanat.errors import QanatError

LEAST_TTL, MOST_TTL = 30, 86400
MOST_RECORDS = 20_000
"""Of one file: reading one takes 50 to 100 µs. As many as a zone may have by default."""
MOST_LINES = 200_000
LONGEST_LINE = 70_000  # the longest rdata in hexadecimal does not fit either
PROXIED_TAG = "cf-proxied:true"
SETTING_TAGS = {
    "flatten_cname": "cf-flatten-cname:true",
    "ipv4_only": "cf-ipv4-only:true",
    "ipv6_only": "cf-ipv6-only:true",
}
OTHERS_NAME_SERVERS = ".ns.cloudflare.com."

_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]|^ | $|(?<=cf_tags)=")
_UNSAFE_IN_TAG = re.compile(r"[\x00-\x1f\x7f\\,]|^ | $|(?<=cf_tags)=")
_ESCAPED = re.compile(r"\\(\d{3})", re.ASCII)
_PLACE = re.compile(r"^line:\d+: ")
_TAGS = re.compile(r"(?:^|\s)cf_tags=(.*)$", re.DOTALL)


class ZoneRecord(Protocol):
    """What is written of a record."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def content(self) -> str: ...
    @property
    def priority(self) -> int | None: ...
    @property
    def ttl(self) -> int: ...
    @property
    def proxied(self) -> bool: ...
    @property
    def comment(self) -> str | None: ...
    @property
    def tags(self) -> list[str]: ...
    @property
    def settings(self) -> dict[str, Any]: ...


def written(zone_name: str, records: Iterable[ZoneRecord]) -> Iterator[str]:
    """The zone file, in pieces of whole lines."""
    yield f";; Domain: {zone_name}.\n;; Records of qanat; there is no SOA record among them.\n$ORIGIN {zone_name}.\n"
    kind = ""
    for record in records:
        if record.type != kind:
            kind = record.type
            yield f"\n;; {kind} Records\n"
        rdata = RECORD_TYPES[kind].zone_text(record.content, record.priority)
        attributes = _attributes(record)
        yield f"{record.name}.\t{record.ttl}\tIN\t{kind}\t{rdata}{' ; ' + attributes if attributes else ''}\n"


def parsed(text: str, zone_name: str, *, proxied: bool) -> list[tuple[int, RecordDraft]]:
    """The records of a zone file with their lines, not yet checked against the zone.

    SOA records and the name servers of the hosted service are left out; a ttl is brought into the range that records have.
    `proxied`: for what can be proxied and doesn't say. A CNAME to a tunnel is proxied anyway.

    Raises:
        QanatError: `zone_file_malformed`, with the line.
    """
    _check_lines(text)
    found = _Found(dns.name.from_text(zone_name), proxied=proxied)
    tokens = _Tokens(text.replace("\r\n", "\n"), "line", dns.name.IDNA_2008_UTS_46)
    found.tokens = tokens
    reader = dns.zonefile.Reader(
        tokens,
        dns.rdataclass.IN,
        cast(Any, found),
        allow_directives=("$ORIGIN", "$TTL"),
        default_ttl=AUTOMATIC_TTL,
    )
    reader.zone_origin = dns.name.root  # it would skip the names of other zones without a word
    try:
        reader.read()
    except (dns.exception.DNSException, ValueError) as error:
        number = tokens.begun
        reason = _PLACE.sub("", str(error)) or type(error).__name__
        raise QanatError(
            "zone_file_malformed", f"line {number}: {reason}", where=f"line {number}", hint="nothing was imported"
        ) from error
    return found.drafts


def _check_lines(text: str) -> None:
    lines = text.split("\n")
    if len(lines) > MOST_LINES:
        raise QanatError("zone_file_malformed", f"the file has more than {MOST_LINES} lines", hint="import it in parts")
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            message = f"line {number}: it is longer than {LONGEST_LINE} characters"
            raise QanatError("zone_file_malformed", message, where=f"line {number}")


class _Tokens(dns.tokenizer.Tokenizer):
    """Knows the line in which what is being read begins."""

    begun = 1

    def get(self, want_leading: bool = False, want_comment: bool = False) -> dns.tokenizer.Token:
        if want_leading and self.ungotten_token is None:  # the line was counted on when the token was first read
            self.begun = self.line_number
        return super().get(want_leading, want_comment)


class _Found:
    """What dnspython's reader puts its records into: of its transactions it uses only these."""

    tokens: _Tokens

    def __init__(self, origin: dns.name.Name, *, proxied: bool) -> None:
        self.manager = self
        self.drafts: list[tuple[int, RecordDraft]] = []
        self._origin = origin
        self._proxied = proxied
        self._count = 0

    def origin_information(self) -> tuple[dns.name.Name, bool, dns.name.Name]:
        return self._origin, False, self._origin

    def check_put_rdataset(self, check: object) -> None:
        """Which records may stand beside each other is for rules.py."""

    def _set_origin(self, origin: dns.name.Name | None) -> None:
        pass

    def add(self, name: dns.name.Name, ttl: int, rdata: Any) -> None:
        self._count += 1
        if self._count > MOST_RECORDS:
            raise ValueError(f"the file has more than {MOST_RECORDS} records: import it in parts")
        kind = dns.rdatatype.to_text(rdata.rdtype)
        if kind == "SOA":
            return
        if kind == "NS" and name == self._origin and rdata.target.to_text().lower().endswith(OTHERS_NAME_SERVERS):
            return
        content, priority = _content(kind, rdata)
        comment, tags, is_proxied, settings = _attributes_of(rdata.rdcomment or "")
        self.drafts.append(
            (
                self.tokens.begun,
                RecordDraft(
                    name=name.to_text(),
                    type=kind,
                    content=content,
                    priority=priority,
                    ttl=ttl if ttl == AUTOMATIC_TTL else min(max(ttl, LEAST_TTL), MOST_TTL),
                    proxied=kind in PROXIABLE and (is_proxied or self._proxied or _is_tunnel(kind, content)),
                    comment=comment,
                    tags=tags,
                    settings=settings,
                ),
            )
        )


def _content(kind: str, rdata: Any) -> tuple[str, int | None]:
    if kind == "TXT":
        return " ".join(quote(string) for string in rdata.strings), None
    if kind == "MX":
        return rdata.exchange.to_text(), int(rdata.preference)
    return rdata.to_text(chunksize=0), None


def _is_tunnel(kind: str, content: str) -> bool:
    try:
        return kind == "CNAME" and tunnel_of(content.lower().removesuffix(".")) is not None
    except QanatError:
        return False


def _attributes(record: ZoneRecord) -> str:
    tags = [_UNSAFE_IN_TAG.sub(_escape, tag) for tag in record.tags]
    own = [PROXIED_TAG] if record.proxied else []
    own += [tag for setting, tag in SETTING_TAGS.items() if record.settings.get(setting)]
    parts = [_UNSAFE.sub(_escape, record.comment)] if record.comment else []
    if own or tags:
        parts.append("cf_tags=" + ",".join([*own, *tags]))
    return " ".join(parts)


def _attributes_of(text: str) -> tuple[str | None, tuple[str, ...], bool, dict[str, bool]]:
    """Comment, tags, whether it says proxied, settings."""
    found = _TAGS.search(text)
    listed = [tag.strip(" \t") for tag in found.group(1).split(",")] if found else []
    comment = (text[: found.start()] if found else text).strip(" \t")
    settings = {setting: True for setting, tag in SETTING_TAGS.items() if tag in listed}
    tags = tuple(_unescape(tag) for tag in listed if tag and not tag.startswith("cf-"))
    return _unescape(comment) or None, tags, PROXIED_TAG in listed, settings


def _escape(found: re.Match[str]) -> str:
    return f"\\{ord(found.group()):03d}"


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found.group(1))), text)
