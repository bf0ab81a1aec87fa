"""`multipart/form-data`, the one body that isn't JSON: read by the standard library's mail parser."""

from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from qanat.errors import QanatError

MAX_FIELDS = 20


async def read_form(request: Request) -> dict[str, bytes]:
    """The fields of the body. A file's name and type don't matter. QanatError `body_malformed`."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise QanatError("body_malformed", "the body is not multipart/form-data", where="body")
    # a whole megabyte of lines takes most of a second: in a thread, so that nobody else waits
    return await run_in_threadpool(parse_form, kind, await request.body())


def parse_form(content_type: str, body: bytes) -> dict[str, bytes]:
    """QanatError `body_malformed`."""
    head = b"content-type: " + content_type.encode("latin-1", "replace").replace(b"\n", b" ") + b"\r\n\r\n"
    try:
        message: Message = BytesParser(policy=HTTP).parsebytes(head + body)
        parts = message.get_payload()
    except (RecursionError, ValueError, LookupError):
        parts = None
    if not isinstance(parts, list) or len(parts) > MAX_FIELDS:
        raise QanatError("body_malformed", "the body is not multipart/form-data", where="body")
    fields: dict[str, bytes] = {}
    for part in parts:
        if not isinstance(part, Message):
            continue
        name = part.get_param("name", header="content-disposition")
        value = None if part.is_multipart() else part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes):
            fields[name] = value
    return fields
