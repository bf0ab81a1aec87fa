"""The v4 envelope (api.md 0.1): the only thing that leaves the API, whatever happened."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Generic, TypeVar, overload

from fastapi.responses import JSONResponse

from qanat.api.http.failures import failure_of
from qanat.api.http.pagination import Page
from qanat.api.http.shapes import ErrorShape
from qanat.errors import QanatError, RetryLaterError

Result = TypeVar("Result")

DO_NOT_RETRY = {"x-should-retry": "false"}


class Ok(JSONResponse, Generic[Result]):
    """200 with a `Result`. As what an endpoint returns it is its description, too."""


class OkPage(JSONResponse, Generic[Result]):
    """200 with a page of `Result`s. The endpoint takes an `AskedPage`: its parameters are described."""


def ok(result: Result) -> Ok[Result]:
    """`messages` stays empty, since stock clients disagree on its shape."""
    return Ok({"success": True, "errors": [], "messages": [], "result": result})


def ok_page(rows: Sequence[Result], page: Page, total: int) -> OkPage[Result]:
    """With its `result_info`."""
    return OkPage(
        {
            "success": True,
            "errors": [],
            "messages": [],
            "result": list(rows),
            "result_info": page.info(count=len(rows), total=total),
        }
    )


def refuse(error: QanatError) -> JSONResponse:
    """The failure for one of our errors."""
    failure = failure_of(error.code)
    message = error.message
    if error.where and failure.names_place and error.where not in message:
        message = f"{error.where}: {message}"
    if error.hint and failure.names_place:
        message = f"{message} ({error.hint})"
    body: ErrorShape = {"code": failure.code, "message": message, "qanat_code": error.code}
    if failure.chain is not None:
        body["error_chain"] = [{"code": failure.chain, "message": error.hint or error.message}]
    if error.where and failure.points:
        body["source"] = {"pointer": pointer(error.where, under=failure.under)}
    headers = {"Retry-After": str(ceil(error.retry_after_s))} if isinstance(error, RetryLaterError) else None
    return fail(failure.status, [body], headers)


def fail(status: int, errors: Sequence[ErrorShape], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A failure. 409 and lasting 5xx say that repeating is of no use: SDKs would repeat for minutes (api.md 0.2)."""
    all_headers = dict(headers or {})
    if status == 409 or (status >= 500 and status not in (502, 503, 504)):
        all_headers.update(DO_NOT_RETRY)
    return JSONResponse(
        {"success": False, "errors": list(errors), "messages": [], "result": None},
        status_code=status,
        headers=all_headers,
    )


def pointer(where: str, *, under: str = "") -> str:
    """`ingress[2].service` as the JSON pointer `/ingress/2/service`."""
    parts = where.replace("[", ".").replace("]", "").split(".")
    return under + "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts if part)


@overload
def rfc3339(moment: datetime) -> str: ...
@overload
def rfc3339(moment: None) -> None: ...
@overload
def rfc3339(moment: datetime | None) -> str | None: ...
def rfc3339(moment: datetime | None) -> str | None:
    """`2024-01-02T03:04:05.123456Z`, None for None (never "")."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str, *, where: str) -> datetime:
    """QanatError `request_bad_time`."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the latter: year 1 or 9999, and beyond by its offset
        raise QanatError(
            "request_bad_time", f"{text[:40]!r} is not a time such as 2024-01-02T03:04:05Z", where=where
        ) from None
