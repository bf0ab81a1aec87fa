"""`/qanat/audit`: who wrote what, as pages or as a stream, and whether the chain holds."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy import ColumnElement
from starlette.datastructures import QueryParams

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.endpoint import HEAVY, STREAMED, takes
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, parse_time
from qanat.api.http.filters import words
from qanat.api.http.pagination import AskedPage
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape, queries, text_answers
from qanat.control.principal import Principal
from qanat.store import audit

router = resource(prefix="/qanat/audit", tags=["qanat"])

MAX_SEQ_DIGITS = 18  # which databases hold in 64 bits
FILTERS: dict[str, str | tuple[str, Mapping[str, Any]]] = {
    "action": "one action, such as `record.create`, or all of a kind, such as `record`",
    "actor": "id of the token or user that wrote",
    "object_id": "id of the tunnel, zone, record, … that was written",
    "account": "id of the account that it belongs to",
    "since": ("from this time on", {"type": "string", "format": "date-time"}),
    "until": ("before this time", {"type": "string", "format": "date-time"}),
}
BEFORE: dict[str, str | tuple[str, Mapping[str, Any]]] = {
    "before": ("only rows older than the one of this `seq`", {"type": "integer", "minimum": 1})
}
LINE_EXAMPLE = '{"seq":1,"at":"2026-01-02T03:04:05.678901Z","action":"account.create"}\n'


class AuditActorShape(Shape):
    """Who wrote."""

    kind: Annotated[
        str,
        Field(examples=["token"], description="`token`, `user`, `quick`, `system`, or `address`, whose log-ins failed"),
    ]
    id: Annotated[str, Field(examples=["ed17574386854bf78a67040be0a770b0"])]
    address: Annotated[str, Field(examples=["203.0.113.7"], description="where from; empty for the edge itself")]


class AuditShape(Shape):
    """One write. `hash` covers the row and `previous`, the hash of the row before."""

    seq: Annotated[int, Field(examples=[42], ge=1)]
    at: Annotated[str, Field(examples=["2026-01-02T03:04:05.678901Z"], json_schema_extra={"format": "date-time"})]
    actor: AuditActorShape
    action: Annotated[str, Field(examples=["record.create"])]
    account_id: Annotated[str | None, Field(examples=["023e105f4ecef8ad9ca31a8372d0c353"])]
    object_id: Annotated[str, Field(examples=["372e67954025e0ba6aaa6d586b9e0b59"])]
    detail: Annotated[dict[str, Any], Field(examples=[{"name": "app.example.com", "type": "CNAME"}])]
    previous: Annotated[str, Field(examples=["0" * 64], min_length=64, max_length=64)]
    hash: Annotated[str, Field(examples=["9f" * 32], min_length=64, max_length=64)]


class VerdictShape(Shape):
    """Whether the audit chain holds. Keep `last_seq` and `last_hash` elsewhere, and a cut end shows too."""

    ok: Annotated[bool, Field(examples=[True])]
    count: Annotated[int, Field(examples=[42], description="rows that hold, from the first on")]
    last_seq: Annotated[int | None, Field(examples=[42])]
    last_hash: Annotated[str | None, Field(examples=["9f" * 32])]
    first_broken: Annotated[int | None, Field(examples=[None], description="`seq` of the first row that doesn't hold")]
    reason: Annotated[str | None, Field(examples=[None])]


@router.get("", openapi_extra=queries({**FILTERS, **BEFORE}))
@needs("audit.read")
def list_audit(request: Request, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[AuditShape]:
    """The writes in the accounts that the token sees, newest first. Rows that come in between don't move those of a
    `before`."""
    query = request.query_params
    filters = _filters(query, who)
    with ctx.store.reading() as session:
        rows, total = audit.list_rows(
            session, filters=filters, before=_seq(query.get("before")), offset=page.offset, limit=page.per_page
        )
    return ok_page([audit.shown(row) for row in rows], page, total)


@router.get(
    "/export",
    responses=text_answers("application/x-ndjson", LINE_EXAMPLE),
    response_class=StreamingResponse,
    openapi_extra=queries(FILTERS),
)
@needs("audit.read")
@takes(STREAMED)
def export_audit(request: Request, ctx: Ctx, who: Who) -> Response:
    """The same rows as JSON lines, oldest first, to the end of the log as it is when it is reached."""
    filters = _filters(request.query_params, who)
    return StreamingResponse(audit.lines(ctx.store.reading, filters), media_type="application/x-ndjson")


@router.get("/verify")
@needs("audit.read")
@takes(HEAVY)
def verify_audit(ctx: Ctx, who: Who) -> Ok[VerdictShape]:
    """Walks the whole chain: each row's hash, and that none is missing before the last."""
    who.everything("audit.read")

    def read(after: int) -> Any:
        with ctx.store.reading() as session:
            return audit.read_rows(session, after)

    verdict = audit.verify(read)
    return ok(
        {
            "ok": verdict.first_broken is None,
            "count": verdict.count,
            "last_seq": verdict.last_seq,
            "last_hash": verdict.last_hash,
            "first_broken": verdict.first_broken,
            "reason": verdict.reason,
        }
    )


def _filters(query: QueryParams, who: Principal) -> list[ColumnElement[bool]]:
    since, until = query.get("since"), query.get("until")
    return audit.matching(
        reach=who.reach("audit.read"),
        action=words(query, "action"),
        actor=words(query, "actor"),
        object_id=words(query, "object_id"),
        account_id=words(query, "account"),
        since=parse_time(since, where="since") if since is not None else None,
        until=parse_time(until, where="until") if until is not None else None,
    )


def _seq(text: str | None) -> int | None:
    """What isn't a number filters nothing (api.md 0.5)."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= MAX_SEQ_DIGITS else None
