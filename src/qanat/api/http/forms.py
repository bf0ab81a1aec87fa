"""`multipart/form-data` (RFC 7578), the one body that isn't JSON, whole and as bytes.

By python-multipart itself: Starlette's form on top of it takes one that was cut for a whole one, and guesses at texts that aren't
UTF-8."""

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from qanat.errors import QanatError

MAX_FIELDS = 20
KIND = "multipart/form-data"


async def read_form(request: Request) -> dict[str, bytes]:
    """The fields of the body. A file's name and type don't matter. QanatError `body_malformed`."""
    return await run_in_threadpool(parse_form, request.headers.get("content-type", ""), await request.body())


def parse_form(content_type: str, body: bytes) -> dict[str, bytes]:
    """QanatError `body_malformed`. What a part holds is never looked into: a form in a form is bytes."""
    kind, options = parse_options_header(content_type)
    if kind != KIND.encode() or not options.get(b"boundary"):
        raise _not_a_form()
    fields: dict[str, bytes] = {}
    is_whole = False

    def keep(name: bytes | None, value: bytes) -> None:
        if name is None or len(fields) == MAX_FIELDS:
            raise _not_a_form()
        fields[name.decode("utf-8", "replace")] = value

    def keep_field(field: Field) -> None:
        keep(field.field_name, field.value or b"")

    def keep_file(file: File) -> None:
        file.file_object.seek(0)  # in memory: a body is smaller than what goes to a disk
        keep(file.field_name, file.file_object.read())

    def end() -> None:
        nonlocal is_whole
        is_whole = True

    try:
        parser = FormParser(KIND, keep_field, keep_file, on_end=end, boundary=options[b"boundary"])
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise _not_a_form() from None
    if not is_whole:
        raise _not_a_form()
    return fields


def _not_a_form() -> QanatError:
    return QanatError("body_malformed", "the body is not multipart/form-data", where="body")
