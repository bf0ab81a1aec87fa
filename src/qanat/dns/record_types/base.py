"""What all record types share: from what a client wrote to the value that is stored, by dnspython's rules for the RDATA."""

import base64
import binascii
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from qanat.errors import QanatError
from qanat.ids import parse_hostname

MAX_CONTENT = 16384
WrittenAs = Literal["content", "data"]
Scalar = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A record's value as a client sent it. Types with parts take either; `data` wins when both are there."""

    content: str | None = None
    data: Mapping[str, object] | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A checked value. `key` is equal when two values are the same in DNS; `data` only when `data` was written."""

    content: str
    key: str
    written_as: WrittenAs = "content"
    data: dict[str, Scalar] | None = None
    priority: int | None = None


class RecordType(ABC):
    """One type: its rules in and out (api.md 3.2)."""

    proxiable = False
    has_data = False

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def read(self, written: Written) -> Value:
        """QanatError `record_bad_content` (or a closer one); `where` is `content`, `priority` or `data.<key>`."""

    @abstractmethod
    def rdata(self, content: str, priority: int | None) -> dns.rdata.Rdata:
        """What DNS serves for a stored value."""

    def zone_text(self, content: str, priority: int | None) -> str:
        """The RDATA of a stored value as zone files have it."""
        return self.rdata(content, priority).to_text(chunksize=0)

    def parts(self, content: str, priority: int | None) -> dict[str, Scalar] | None:
        """`data` as derived from a stored content; None for a type without parts."""
        return None

    def answered(self, content: str) -> str:
        """A stored content as clients read it."""
        return content

    def answered_priority(self, content: str, priority: int | None) -> int | None:
        """The top-level priority of a list's row; None for none."""
        return priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A key of `data`: how its value is written in the RDATA's presentation, and where dnspython keeps it.
    `default` stands for a missing one; without it the key is required. `is_canonical`: a value in `data` is answered in the
    presentation's form, whichever way it was written; any other as it was sent."""

    key: str
    present: Callable[[Scalar, str], str]
    read: Callable[[Any], Scalar]
    default: str | None = None
    is_canonical: bool = False


class DataType(RecordType):
    """A type whose RDATA has parts: `data` and `content` are two ways to write the same."""

    has_data = True

    def __init__(self, name: str, parts: Sequence[Part], *, legacy_keys: Sequence[str] = ()) -> None:
        super().__init__(name)
        self._parts = tuple(parts)
        self._known = {part.key for part in parts} | set(legacy_keys)

    def read(self, written: Written) -> Value:
        if written.data:
            data = self._echo(written.data)
            content = self.presented(data, written.priority)
            data = self._settled(data)
            rdata = parse_rdata(self.name, content, where="data")
            return Value(
                content=self.settled(content, written.priority, rdata),
                key=self.key(rdata),
                written_as="data",
                data=data,
                priority=self.priority_kept(written.priority, rdata),
            )
        content = bounded(written.content, self.name)
        rdata = self.rdata(content, written.priority)
        return Value(
            content=self.settled(content, written.priority, rdata),
            key=self.key(rdata),
            priority=self.priority_of_content(written.priority, rdata),
        )

    def settled(self, content: str, priority: int | None, rdata: dns.rdata.Rdata) -> str:
        """A content in the one form of its value, however that was written."""
        found = self.presented({part.key: part.read(rdata) for part in self._parts}, int(getattr(rdata, "priority", 0)))
        try:
            if self.key(parse_rdata(self.name, found, where="content")) == self.key(rdata):
                return found
        except QanatError:
            pass
        return rdata.to_text(chunksize=0)  # bytes that are no text have no `data`

    def rdata(self, content: str, priority: int | None) -> dns.rdata.Rdata:
        return parse_rdata(self.name, self.whole(content, priority), where="content")

    def parts(self, content: str, priority: int | None) -> dict[str, Scalar] | None:
        rdata = self.rdata(content, priority)
        return {part.key: part.read(rdata) for part in self._parts}

    def presented(self, data: Mapping[str, Scalar], priority: int | None) -> str:
        """The RDATA's presentation of `data`."""
        return " ".join(token for part in self._parts if (token := self._token(part, data)))

    def key(self, rdata: dns.rdata.Rdata) -> str:
        """The canonical presentation."""
        return canonical(rdata)

    def whole(self, content: str, priority: int | None) -> str:
        """The content with what may stand beside it (a top-level priority)."""
        return content

    def priority_kept(self, priority: int | None, rdata: dns.rdata.Rdata) -> int | None:
        """The top-level priority that is answered beside `data`; None for none."""
        return None

    def priority_of_content(self, priority: int | None, rdata: dns.rdata.Rdata) -> int | None:
        """The same where there is no `data`."""
        return self.priority_kept(priority, rdata)

    def _echo(self, data: Mapping[str, object]) -> dict[str, Scalar]:
        kept: dict[str, Scalar] = {}
        for key, value in data.items():
            if key in self._known and value is not None:
                kept[key] = scalar(value, f"data.{key}")
        return kept

    def _settled(self, data: dict[str, Scalar]) -> dict[str, Scalar]:
        own = {
            part.key: part.present(data[part.key], "") for part in self._parts if part.is_canonical and part.key in data
        }
        return {**data, **own}

    def _token(self, part: Part, data: Mapping[str, Scalar]) -> str:
        value = data.get(part.key)
        if value is None:
            if part.default is None:
                raise bad_content(f"a {self.name} needs it", where=f"data.{part.key}")
            return part.default
        return part.present(value, f"data.{part.key}")


def parse_rdata(kind: str, text: str, *, where: str) -> dns.rdata.Rdata:
    """Names are absolute, with or without the last dot. QanatError `record_bad_content` with dnspython's reason."""
    if "\n" in text or "\r" in text or text.lstrip().startswith("\\#"):
        raise bad_content(f"a {kind} is written in one line, in its own form", where=where)
    try:
        rdata = dns.rdata.from_text(
            dns.rdataclass.IN,
            dns.rdatatype.from_text(kind),
            text,
            origin=dns.name.root,
            relativize=False,
            idna_codec=dns.name.IDNA_2008_UTS_46,
        )
        wire = rdata.to_wire()
    except (dns.exception.DNSException, ValueError, OverflowError) as error:
        raise bad_content(f"{shown(text)} is not a {kind}: {error}", where=where) from error
    if rdata.rdcomment is not None:
        raise bad_content("a `;` begins a comment there; put the value in quotes", where=where)
    if wire is None or len(wire) > 65535:
        raise bad_content(f"a {kind} has at most 65535 bytes", where=where)
    return rdata


def canonical(rdata: dns.rdata.Rdata) -> str:
    """The one presentation of all equal RDATA: names in lower case, no optional blanks."""
    wire = rdata.to_digestable()
    return dns.rdata.from_wire(rdata.rdclass, rdata.rdtype, wire, 0, len(wire)).to_text(chunksize=0)


def bounded(content: str | None, kind: str) -> str:
    """The content, which must be there."""
    if not content:
        raise bad_content(f"a {kind} needs content", where="content")
    if len(content) > MAX_CONTENT:
        raise bad_content(f"a content has at most {MAX_CONTENT} characters", where="content")
    return content


def scalar(value: object, where: str) -> Scalar:
    """A value of `data` as it is kept: whole numbers as integers, anything else as sent."""
    if isinstance(value, float):
        if not isfinite(value):
            raise bad_content("not a number", where=where)
        return int(value) if value.is_integer() else value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise bad_content("give a number or a text", where=where)
    if len(str(value)) > MAX_CONTENT:
        raise bad_content(f"it has more than {MAX_CONTENT} characters", where=where)
    return value


def whole(bits: int) -> Callable[[Scalar, str], str]:
    """A part that is an unsigned number, sent as a number or as its digits."""

    def present(value: Scalar, where: str) -> str:
        text = str(value).strip()
        if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) >= 2**bits:
            raise bad_content(f"{shown(text)} is not a whole number from 0 to {2**bits - 1}", where=where)
        return str(int(text))

    return present


def word(value: Scalar, where: str) -> str:
    """A part that is one word: letters, digits, dashes."""
    text = str(value)
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text, re.ASCII):
        raise bad_content(f"{shown(text)} is not one word of letters, digits and dashes", where=where)
    return text


def quoted(value: Scalar, where: str) -> str:
    """A part that is a text in quotes."""
    return quote(str(value).encode())


def hexadecimal(value: Scalar, where: str) -> str:
    """A part that is bytes in hexadecimal, in lower case."""
    text = "".join(str(value).split()).lower()
    try:
        bytes.fromhex(text)
    except ValueError:
        raise bad_content(f"{shown(text)} is not hexadecimal", where=where) from None
    return text


def base_64(value: Scalar, where: str) -> str:
    """A part that is bytes in base64."""
    text = "".join(str(value).split())
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise bad_content(f"{shown(text)} is not base64", where=where) from None
    return text


def target(value: Scalar, where: str) -> str:
    """A part that is a name with its last dot, or `.` for none; its case as sent."""
    text = bare_target(value, where)
    return text if text == "." else f"{text}."


def bare_target(value: Scalar, where: str) -> str:
    """The same without the last dot."""
    text = str(value)
    if text == ".":
        return text
    name = target_name(text, where)
    return text.removesuffix(".") if text.isascii() else name


def target_name(text: str, where: str) -> str:
    """A name that a record points to in its one form: lower case, punycode, no last dot."""
    try:
        return parse_hostname(text, wildcard=False)
    except QanatError as error:
        raise bad_content(error.message, where=where, hint=error.hint) from error


def quote(value: bytes) -> str:
    """A character string in quotes, as zone files have it."""
    return '"' + "".join(_QUOTES.get(byte) or chr(byte) for byte in value) + '"'


def shown(text: str) -> str:
    """Short and in one line, for messages."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def bad_content(message: str, *, where: str, hint: str | None = None) -> QanatError:
    """The refusal of a value."""
    return QanatError("record_bad_content", message, where=where, hint=hint)


_QUOTES = {byte: f"\\{byte:03d}" for byte in range(256) if not 32 <= byte < 127} | {34: '\\"', 92: "\\\\"}
