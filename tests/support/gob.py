"""Go's gob encoding of a list of flat structs: what external-dns's `connector` source reads from a socket."""

from collections.abc import Mapping, Sequence

Value = str | int | Sequence[str]

INT, STRING = 2, 6
LIST, ROW, STRINGS = 65, 66, 67
"""Numbers of our types; a message that describes one carries it negative."""


def rows(fields: Mapping[str, type], values: Sequence[Mapping[str, Value]]) -> bytes:
    """A stream with one value, a slice of structs with these fields (str, int, or list for a slice of strings)."""
    ids = {str: STRING, int: INT, list: STRINGS}
    named = [_struct({0: _text(name), 1: _int(ids[kind])}) for name, kind in fields.items()]
    body = _list(
        [_struct({place: _value(row[name]) for place, name in enumerate(fields) if row.get(name)}) for row in values]
    )
    return b"".join(
        [
            _message(-LIST, _struct({1: _slice(LIST, ROW)})),
            _message(-ROW, _struct({2: _struct({0: _struct({1: _int(ROW)}), 1: _list(named)})})),
            _message(-STRINGS, _struct({1: _slice(STRINGS, STRING)})),
            # what is no struct itself is preceded by a zero
            _message(LIST, b"\0" + body),
        ]
    )


def _slice(number: int, element: int) -> bytes:
    return _struct({0: _struct({1: _int(number)}), 1: _int(element)})


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return _int(value)
    return _list([_text(each) for each in value])


def _message(number: int, content: bytes) -> bytes:
    message = _int(number) + content
    return _uint(len(message)) + message


def _struct(fields: Mapping[int, bytes]) -> bytes:
    """Fields by their place, each told as its distance from the one before."""
    out, before = b"", -1
    for place, encoded in sorted(fields.items()):
        out += _uint(place - before) + encoded
        before = place
    return out + b"\0"


def _list(encoded: Sequence[bytes]) -> bytes:
    return _uint(len(encoded)) + b"".join(encoded)


def _text(text: str) -> bytes:
    raw = text.encode()
    return _uint(len(raw)) + raw


def _int(number: int) -> bytes:
    return _uint(~number << 1 | 1 if number < 0 else number << 1)


def _uint(number: int) -> bytes:
    if number < 128:
        return bytes([number])
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([256 - len(raw)]) + raw
