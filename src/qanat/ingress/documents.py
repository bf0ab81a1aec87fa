"""A configuration's text: bounded in size, depth and number of values before anything is built of it."""

import msgspec

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
        return msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise QanatError("configuration_malformed", f"the document is no JSON: {error}") from None


def read_yaml(text: bytes) -> object:
    """What a YAML text says; an empty one is an object without keys. QanatError `configuration_too_large`,
    `configuration_malformed`."""
    check_size(len(text))
    try:
        _check_yaml(text)
        value = msgspec.yaml.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise QanatError("configuration_malformed", f"the document is no YAML: {error}") from None
    return {} if value is None else value


def _check_yaml(text: bytes) -> None:
    """Depth, and the values that there are once every alias stands for what it names (a few lines can name 10^9)."""
    import yaml  # only here: most connectors have no file

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = [(None, 0)]
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.CollectionStartEvent):
                open_.append((event.anchor, 1))
                if len(open_) > MOST_DEEP + 1:
                    raise QanatError("configuration_malformed", f"the document nests more than {MOST_DEEP} deep")
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, size = open_.pop()
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in sizes:
                    raise QanatError(
                        "configuration_malformed", f"the alias *{str(event.anchor)[:40]} names nothing before it"
                    )
                anchor, size = None, sizes[event.anchor]
            elif isinstance(event, yaml.ScalarEvent):
                anchor, size = event.anchor, 1
            else:
                continue
            if anchor is not None:
                sizes[anchor] = size
            outer, so_far = open_.pop()
            open_.append((outer, so_far + size))
            if so_far + size > MOST_VALUES:
                raise QanatError("configuration_malformed", f"the document holds more than {MOST_VALUES} values")
    except yaml.YAMLError:
        return  # told by who decodes it
