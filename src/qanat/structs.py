"""JSON and plain objects read as what they are declared to be, from any thread.

msgspec plans how to read a type when it is first read, and shows the unfinished plan to other threads meanwhile: two that read a
type for the first time crash the interpreter (msgspec 0.22). So the first time is one thread's, here.
"""

from threading import Lock
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")

_planned: set[Any] = set()
_planning = Lock()


@overload
def decode(text: bytes | str | msgspec.Raw, kind: type[T]) -> T: ...
@overload
def decode(text: bytes | str | msgspec.Raw, kind: Any) -> Any: ...
def decode(text: bytes | str | msgspec.Raw, kind: Any) -> Any:
    """A JSON text as a `kind`. Raises msgspec.MsgspecError, UnicodeDecodeError."""
    _plan(kind)
    return msgspec.json.decode(text, type=kind)


@overload
def convert(value: object, kind: type[T]) -> T: ...
@overload
def convert(value: object, kind: Any) -> Any: ...
def convert(value: object, kind: Any) -> Any:
    """An object of dicts, lists and scalars as a `kind`. Raises msgspec.ValidationError."""
    _plan(kind)
    return msgspec.convert(value, kind)


def _plan(kind: Any) -> None:
    if kind not in _planned:
        with _planning:
            msgspec.json.Decoder(kind)
            _planned.add(kind)
