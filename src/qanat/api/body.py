"""The body of a request: bounded in size, depth and time, and JSON that every database and encoder can hold."""

import asyncio
import json
from math import isinf

from starlette.datastructures import Headers
from starlette.types import Receive

from qanat.errors import QanatError

MAX_BODY_BYTES = 1024 * 1024
MAX_DEPTH = 100
MAX_VALUES = 4_000_000  # one takes two bytes of the body at least, but 60 of memory
BODY_TIMEOUT_S = 30.0
SLOWEST_BYTES_PER_S = 100_000
SMALL_BYTES = 16 * 1024  # checked where it is; larger ones in a thread, so that nobody else waits


async def read_body(headers: Headers, receive: Receive, *, most: int) -> bytes:
    """The whole body of at most `most` bytes. One that says that it is larger isn't read at all.

    Raises:
        QanatError: `body_too_large`, `body_too_slow`; `body_malformed`: its end never came.
    """
    too_large = QanatError("body_too_large", f"the body is larger than {most} bytes, the most that is taken")
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > most:
        raise too_large
    body = bytearray()
    timeout_s = BODY_TIMEOUT_S + most // SLOWEST_BYTES_PER_S
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    # What is there so far could pass for the whole: half a zone file has good lines too.
                    raise QanatError("body_malformed", "the client left before the end of the body")
                body += message.get("body", b"")
                if len(body) > most:
                    raise too_large
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise QanatError("body_too_slow", f"the body was not there after {timeout_s:.0f} s") from None
    return bytes(body)


def check_json(body: bytes) -> None:
    """Refuses what parsers take and others choke on later: NUL and half surrogate pairs in texts, numbers that are none,
    lists in lists in lists, and more of them than memory is there for; and any encoding but UTF-8.

    Raises:
        QanatError: `body_malformed`. What isn't JSON at all is told by who parses it.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QanatError("body_malformed", f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    if "\x00" in text:
        raise QanatError("body_malformed", "the body has a NUL byte")
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise QanatError("body_malformed", f"the body holds more than {MAX_VALUES} values")
    try:
        level: list[object] = [json.loads(text)]
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        return
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        level = [inner for value in level for inner in _checked(value)]


def _checked(value: object) -> list[object]:
    """What stands in it."""
    if isinstance(value, str):
        if "\x00" in value or (not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value)):
            raise QanatError("body_malformed", "a text has a NUL, or half a surrogate pair, which is no character")
    elif isinstance(value, float):
        if isinf(value) or value != value:
            raise QanatError("body_malformed", "a number is NaN or infinite, which JSON does not have")
    elif isinstance(value, dict):
        return [*value, *value.values()]
    elif isinstance(value, list):
        return value
    return []


def _too_deep() -> QanatError:
    return QanatError("body_malformed", f"the body nests lists and objects more than {MAX_DEPTH} deep")
