"""TXT: stored as written, with quotes or without; what it carries is compared (api.md 3.2)."""

import re

import dns.rdata

from qanat.dns.record_types.base import RecordType, Value, Written, bad_content, bounded, parse_rdata, quote

MAX_BYTES = 4096
STRING_BYTES = 255

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(\d{3}|.)", re.DOTALL)


class Txt(RecordType):
    """A text, or several character strings in quotes."""

    def read(self, written: Written) -> Value:
        content = bounded(written.content, self.name)
        if len(content.encode()) > MAX_BYTES:
            raise bad_content(f"a TXT has at most {MAX_BYTES} bytes", where="content")
        if "\x00" in content:
            raise bad_content("a TXT has a NUL", where="content")
        carried(content)
        return Value(content=content, key=txt_value(content))

    def rdata(self, content: str, priority: int | None) -> dns.rdata.Rdata:
        return parse_rdata(self.name, self.zone_text(content, priority), where="content")

    def zone_text(self, content: str, priority: int | None) -> str:
        return " ".join(quote(string) for string in strings(content))


def strings(content: str) -> list[bytes]:
    """The character strings that are served, each of at most 255 bytes: those in quotes, else the text cut to size."""
    parts = _parts(content)
    found = [content.encode()] if parts is None else [_unescaped(part) for part in parts]
    cut = [part[at : at + STRING_BYTES] for part in found for at in range(0, len(part), STRING_BYTES)]
    return cut or [b""]


def carried(content: str) -> bytes:
    """The joined bytes. QanatError `record_bad_content`: an escape such as `\\999` is not a byte."""
    parts = _parts(content)
    return content.encode() if parts is None else b"".join(_unescaped(part) for part in parts)


def txt_value(content: str) -> str:
    """What a TXT carries, as text: equal for contents that mean the same. Bytes that are no text, in hexadecimal."""
    value = carried(content)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\x00"
    return f"\\# {len(value)} {value.hex()}" if "\x00" in text or text.startswith("\\# ") else text


def _parts(content: str) -> list[str] | None:
    """What stands between quotes; None when the content isn't only quoted strings, which is then taken as it is."""
    parts = _QUOTED.findall(content)
    return None if not parts or _QUOTED.sub("", content).strip() else parts


def _unescaped(part: str) -> bytes:
    return _ESCAPE.sub(_byte, part.encode())


def _byte(found: re.Match[bytes]) -> bytes:
    code = found.group(1)
    if len(code) == 3:
        if int(code) > 255:
            raise bad_content(f"\\{code.decode()} in a TXT is not a byte: \\000 to \\255 are", where="content")
        return bytes([int(code)])
    return code
