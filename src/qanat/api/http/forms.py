"""`multipart/form-data` (RFC 7578), the one body that isn't JSON: taken apart in one pass, within limits."""

from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import HTTP

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from qanat.errors import QanatError

MAX_FIELDS = 20
MAX_HEAD_BYTES = 4096
MAX_BOUNDARY = 70  # RFC 2046 5.1.1


async def read_form(request: Request) -> dict[str, bytes]:
    """The fields of the body. A file's name and type don't matter. QanatError `body_malformed`."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise _no_form()
    return await run_in_threadpool(parse_form, kind, await request.body())


def parse_form(content_type: str, body: bytes) -> dict[str, bytes]:
    """QanatError `body_malformed`. What a part holds is never looked into: a form in a form is bytes."""
    boundary = _parameter(content_type, "boundary")
    if not boundary or len(boundary) > MAX_BOUNDARY:
        raise _no_form()
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(delimiter, MAX_FIELDS + 2)
    # before the first part and after the last one stands nothing that counts; the last delimiter ends in `--`
    if len(pieces) < 3 or len(pieces) > MAX_FIELDS + 2 or not pieces[-1].startswith(b"--"):
        raise _no_form()
    fields: dict[str, bytes] = {}
    for piece in pieces[1:-1]:
        line, _, part = piece.partition(b"\r\n")
        if line.strip(b" \t"):
            raise _no_form()
        head, found, value = (b"\r\n" + part).partition(b"\r\n\r\n")
        if not found or len(head) > MAX_HEAD_BYTES:
            raise _no_form()
        name = _name(head.removeprefix(b"\r\n"))
        if name is not None:
            fields[name] = value
    return fields


def _name(head: bytes) -> str | None:
    try:
        part: Message = BytesHeaderParser(policy=HTTP).parsebytes(head + b"\r\n\r\n")
        name = part.get_param("name", header="content-disposition")
    except (ValueError, LookupError, RecursionError):
        raise _no_form() from None
    return name if isinstance(name, str) else None


def _parameter(content_type: str, name: str) -> str | None:
    message = Message()
    message["content-type"] = content_type[:MAX_HEAD_BYTES].replace("\r", " ").replace("\n", " ")
    value = message.get_param(name)
    return value if isinstance(value, str) else None


def _no_form() -> QanatError:
    return QanatError("body_malformed", "the body is not multipart/form-data", where="body")
