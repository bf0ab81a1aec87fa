"""Takes secrets out of text that leaves the host: lines for viewers, files of `tunnel diag`, also those that a stock connector
wrote. What is named like a secret, what looks like one of ours, and the values of queries become `*****`.

Whoever visits a tunnel writes parts of its log, so each expression is bounded where a text could make it slow.
"""

import re
from collections.abc import Mapping

HIDDEN = "*****"

_TOKEN = re.compile(r"\beyJ[A-Za-z0-9_+/-]{16,}={0,2}(?:\.[A-Za-z0-9_=-]*){0,2}")
"""Base64 of `{"`: connector tokens, JWTs, origin certificates."""
_SCHEME = re.compile(r"\b(Bearer|Basic)\s{1,4}[A-Za-z0-9._~+/=-]{4,}", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^\s/@\"'\\]{1,256}(?=@)")
_QUERY = re.compile(r"\?(?=[^\s?\"'<>\\]{0,256}=)[^\s\"'<>\\]*")
_PEM = re.compile(
    r"(-----BEGIN [A-Z ]{0,40}(?:KEY|TOKEN)-----).*?(-----END [A-Z ]{0,40}(?:KEY|TOKEN)-----|\Z)", re.DOTALL
)
_WORDS = (
    "authorization|cookie|token|secret|passw(?:or)?d|credential|session|signature|api-?key|private-?key|jwt|csrf|xsrf"
    "|assertion"
)
_SECRET_NAME = re.compile(_WORDS, re.IGNORECASE)
_NAMED = re.compile(
    rf"""
    (?P<name> (?:{_WORDS}) [\w.-]{{0,64}} )
    (?P<sign> "?\s{{0,4}}[:=]\s{{0,4}} )
    (?P<value>
        \[[^\]]{{0,8192}}\]                # a list, as JSON or Go writes it
      | "(?:[^"\\]|\\.){{0,8192}}"
      | (?<==)[^\s,;&"'\]\[{{}}]+          # name=value
      | (?<=:\ )[^\s,;&"'\]\[{{}}]+        # name: value
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_HARMLESS = re.compile(r"(?:[-_]?file|[-_]hostname|[-_]?count|[-_]?id)s?$", re.IGNORECASE)
"""Names that speak of a secret and hold none: `token-file=/etc/…`, `token_id`."""


def redacted(text: str) -> str:
    """The text without what nobody else should read. JSON is for `redacted_value`: of a list in a text the end is guessed."""
    text = _PEM.sub(rf"\1{HIDDEN}\2", text)
    text = _TOKEN.sub(HIDDEN, text)
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    text = _USER.sub(HIDDEN, text)
    text = _QUERY.sub(f"?{HIDDEN}", text)
    return _NAMED.sub(_hide, text)


def redacted_value(value: object, name: str = "") -> object:
    """A value as JSON has it, without what is named like a secret and without the secrets in its texts."""
    if name and is_secret(name) and value is not None and not isinstance(value, bool):
        return [HIDDEN] if isinstance(value, list | tuple) else HIDDEN
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {key: redacted_value(each, str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_value(each) for each in value]
    return value


def is_secret(name: str) -> bool:
    """Whether a field, flag or key of this name holds a secret."""
    return bool(_SECRET_NAME.search(name)) and not _HARMLESS.search(name)


def _hide(found: re.Match[str]) -> str:
    name, sign, value = found["name"], found["sign"], found["value"]
    if _HARMLESS.search(name):
        return found[0]
    is_json = sign.startswith('"')
    if value.startswith("["):
        return f'{name}{sign}["{HIDDEN}"]' if is_json else f"{name}{sign}[{HIDDEN}]"
    return f'{name}{sign}"{HIDDEN}"' if value.startswith('"') else f"{name}{sign}{HIDDEN}"
