"""`/user/audit_logs` and `/accounts/{account_id}/audit_logs`: the rows of `/qanat/audit` in the stock form."""

from typing import Annotated, Any

from fastapi import Request
from pydantic import Field
from starlette.datastructures import QueryParams

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import OkPage, ok_page, parse_time, rfc3339
from qanat.api.http.filters import words
from qanat.api.http.pagination import AskedPage, Page
from qanat.api.http.paths import AccountPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Described, Shape, queries
from qanat.api.v4.token_shapes import HEX_ID, MOMENT
from qanat.control import accounts
from qanat.store import audit
from qanat.store.reach import Reach

router = resource()

TIME = {"type": "string", "format": "date-time"}
FILTERS: dict[str, Described] = {
    "id": "The row of this id.",
    "action.type": "One action, such as `record.create`, or all of a kind, such as `record`.",
    "actor.ip": "Writes from this address.",
    "actor.email": "Not kept: nothing matches.",
    "zone.name": "Not kept: nothing matches.",
    "since": ("From this time on.", TIME),
    "before": ("Before this time.", TIME),
}
NOT_KEPT = ("actor.email", "zone.name")


class LogActionShape(Shape):
    """What was done."""

    type: Annotated[str, Field(examples=["record.create"])]
    result: bool


class LogActorShape(Shape):
    """Who did it."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    type: Annotated[str, Field(examples=["user"])]
    ip: Annotated[str, Field(examples=["203.0.113.7"])]


class LogResourceShape(Shape):
    """What it was done to."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    type: Annotated[str, Field(examples=["record"])]


class LogOwnerShape(Shape):
    """The account."""

    id: Annotated[str | None, Field(examples=[HEX_ID])]


class LogShape(Shape):
    """A write."""

    id: Annotated[str, Field(examples=["42"])]
    when: Annotated[str, Field(examples=[MOMENT])]
    action: LogActionShape
    actor: LogActorShape
    interface: Annotated[str, Field(examples=["API"])]
    resource: LogResourceShape
    owner: LogOwnerShape
    metadata: Annotated[dict[str, Any], Field(examples=[{"name": "app.example.com", "type": "CNAME"}])]


@router.get("/user/audit_logs", tags=["user"], openapi_extra=queries(FILTERS))
@needs("audit.read")
def list_user_logs(request: Request, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[LogShape]:
    """The writes in the accounts that the token sees, newest first; `/qanat/audit` tells more of each."""
    return _page(ctx, request.query_params, who.reach("audit.read"), page)


@router.get(
    "/accounts/{account_id}/audit_logs",
    tags=["accounts"],
    openapi_extra=queries(FILTERS),
)
@needs("audit.read")
def list_account_logs(
    account_id: AccountPath, request: Request, ctx: Ctx, who: Who, page: AskedPage
) -> OkPage[LogShape]:
    """The same of one account."""
    reach = who.reach("audit.read")
    with ctx.store.reading() as session:
        accounts.get(session, account_id, reach=reach)
    return _page(ctx, request.query_params, reach, page, account_id=account_id)


def shown(row: Any) -> LogShape:
    """A row as stock clients read it."""
    return {
        "id": str(row.seq),
        "when": rfc3339(row.at),
        "action": {"type": row.action, "result": True},
        "actor": {"id": row.actor, "type": "user", "ip": row.address},
        "interface": "API",
        "resource": {"id": row.object_id, "type": row.action.partition(".")[0]},
        "owner": {"id": row.account_id},
        "metadata": audit.told_detail(row.detail),
    }


def _page(
    ctx: Context, query: QueryParams, reach: Reach, page: Page, *, account_id: str | None = None
) -> OkPage[LogShape]:
    if any(name in query for name in NOT_KEPT):
        return ok_page([], page, 0)
    since, before = query.get("since"), query.get("before")
    filters = audit.matching(
        reach=reach,
        action=words(query, "action.type"),
        account_id=account_id,
        since=parse_time(since, where="since") if since is not None else None,
        until=parse_time(before, where="before") if before is not None else None,
        row_id=words(query, "id"),
        address=words(query, "actor.ip"),
    )
    with ctx.store.reading() as session:
        rows, total = audit.list_rows(session, filters=filters, before=None, offset=page.offset, limit=page.per_page)
    return ok_page([shown(row) for row in rows], page, total)
