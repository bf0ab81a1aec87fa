"""The body of a request: bounded in size, depth and time, and JSON that every database and encoder can hold."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive

from qanat.api import engine
from qanat.errors import QanatError

MAX_BODY_BYTES = 1024 * 1024
MAX_DEPTH = 100
MAX_VALUES = 200_000  # and keys; one takes two bytes of the body at least, but 60 of memory and much of the time
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


def check_json(body: bytes, *, most_values: int = MAX_VALUES) -> None:
    """Refuses what isn't JSON and what parsers take and others choke on later: NUL and half surrogate pairs in texts, numbers
    that aren't any, lists in lists in lists, and more of them than there should be; and any encoding but UTF-8. Nothing is built
    of it, and the interpreter isn't held.

    Raises:
        QanatError: `body_malformed`.
    """
    reason = engine.check_json(body, most_deep=MAX_DEPTH, most_values=most_values)
    if reason is not None:
        raise QanatError("body_malformed", f"the body can't be read as JSON: {reason}")
