"""A configuration's text: bounded in size, depth and number of values before anything is built of it."""

from typing import Any

import msgspec

from qanat import structs
from qanat.errors import QanatError
from qanat.ingress.engine import check_json

LARGEST = 1 << 20
"""Bytes of a document (security.md S30)."""
MOST_DEEP = 64
MOST_VALUES = 200_000
"""Values and keys: a rule of the shortest kind has four of them in 40 bytes, and 1 MiB has place for 25 000 of these."""


def check_size(size: int) -> None:
    """QanatError `configuration_too_large`."""
    if size > LARGEST:
        raise QanatError(
            "configuration_too_large", f"the document has {size} bytes, more than {LARGEST}", hint="use fewer rules"
        )


def read_json(text: bytes) -> object:
    """What a JSON text says. QanatError `configuration_too_large`, `configuration_malformed`."""
    check_size(len(text))
    reason = check_json(text, most_deep=MOST_DEEP, most_values=MOST_VALUES)
    if reason is not None:
        raise QanatError("configuration_malformed", f"the document can't be read as JSON: {reason}")
    try:
        return structs.decode(text.removeprefix(b"\xef\xbb\xbf"), Any)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise QanatError("configuration_malformed", f"the document is not valid JSON: {error}") from None


def read_yaml(text: bytes) -> object:
    """What a YAML text says; an empty one is an object without keys. QanatError `configuration_too_large`,
    `configuration_malformed`, `configuration_double_key`."""
    return read_yaml_with_lines(text)[0]


def read_yaml_with_lines(text: bytes) -> tuple[object, dict[str, int]]:
    """As `read_yaml`, and the line of each key of the top level."""
    check_size(len(text))
    try:
        lines = _check_yaml(text)
        value = msgspec.yaml.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _no_yaml(str(error)) from None
    return ({} if value is None else value), lines


class _Open:
    """A mapping or sequence of which the end has not come. `keys`: the line of each of a mapping's; None in a sequence."""

    __slots__ = ("anchor", "expects_key", "keys", "size")

    def __init__(self, anchor: str | None, *, mapping: bool) -> None:
        self.anchor = anchor
        self.size = 1
        self.keys: dict[str, int] | None = {} if mapping else None
        self.expects_key = mapping

    def add(self, size: int, key: str | None, line: int) -> None:
        """One more value; `key` is its text, when it is a scalar."""
        self.size += size
        if self.keys is None:
            return
        if self.expects_key and key is not None:
            if key in self.keys:
                lines = f"in line {self.keys[key]} and in line {line}"
                message = f"the key {key[:80]!r} stands twice in one mapping, {lines}"
                raise QanatError("configuration_double_key", message, hint="remove one of the two")
            self.keys[key] = line
        self.expects_key = not self.expects_key


def _check_yaml(text: bytes) -> dict[str, int]:
    """The lines of the keys of the top level, after a look at depth, at the values that there are once every alias stands for
    what it names (a few lines can name 10^9), and at keys that stand twice, of which a decoder would take the last."""
    import yaml  # only here: most connectors have no file

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    sizes: dict[str, int] = {}
    open_ = [_Open(None, mapping=False)]
    documents = 0
    top: dict[str, int] = {}
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    where = f" in line {event.start_mark.line + 1}" if event.start_mark else ""
                    message = f"a second document begins{where}, and only the first one would be in force"
                    raise QanatError("configuration_malformed", message, hint="remove the line that is ---")
                continue
            if isinstance(event, yaml.CollectionStartEvent):
                open_.append(_Open(event.anchor, mapping=isinstance(event, yaml.MappingStartEvent)))
                if len(open_) > MOST_DEEP + 1:
                    raise QanatError("configuration_malformed", f"the document nests more than {MOST_DEEP} deep")
                continue
            key = None
            if isinstance(event, yaml.CollectionEndEvent):
                ended = open_.pop()
                top = ended.keys if len(open_) == 1 and ended.keys is not None else top
                anchor, size = ended.anchor, ended.size
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in sizes:
                    raise QanatError(
                        "configuration_malformed", f"the alias *{str(event.anchor)[:40]} names nothing before it"
                    )
                anchor, size = None, sizes[event.anchor]
            elif isinstance(event, yaml.ScalarEvent):
                anchor, size, key = event.anchor, 1, event.value
            else:
                continue
            if anchor is not None:
                sizes[anchor] = size
            outer = open_[-1]
            outer.add(size, key, event.start_mark.line + 1 if event.start_mark else 0)
            if outer.size > MOST_VALUES:
                raise QanatError("configuration_malformed", f"the document holds more than {MOST_VALUES} values")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _no_yaml(f"{error.problem or error.context}{f', in line {mark.line + 1}' if mark else ''}") from None
    except yaml.YAMLError as error:
        raise _no_yaml(str(error)) from None
    return top


def _no_yaml(reason: str) -> QanatError:
    return QanatError("configuration_malformed", f"the document is not valid YAML: {' '.join(reason.split())}")
