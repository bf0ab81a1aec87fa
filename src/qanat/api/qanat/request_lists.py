"""`/accounts/{account_id}/qanat/request-lists`: what passes of a hostname, request by request, while somebody wants to see it."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, rfc3339
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape, queries
from qanat.api.v4.tunnel_shapes import MOMENT, TUNNEL
from qanat.control.visibility import visible_account
from qanat.health.request_lists import MINUTES, MOST_REQUESTS, REQUESTS, Filters, ListedRequest, RequestList

router = resource(tags=["qanat"])
LISTS = "/accounts/{account_id}/qanat/request-lists"
HOST = "app.example.com"


class ListBegun(BaseModel):
    """For how long, and how much is kept."""

    model_config = ConfigDict(strict=True, extra="forbid")

    minutes: int = Field(default=MINUTES, examples=[10], description="from now on; at most 60")
    most: int = Field(default=REQUESTS, examples=[500], description="requests, the newest; at most 2000")


class ListShape(Shape):
    """A request list. It is in this edge's memory alone, and is forgotten an hour after its end."""

    hostname: Annotated[str, Field(examples=[HOST])]
    on: Annotated[bool, Field(description="false: its time is over")]
    begun_at: Annotated[str, Field(examples=[MOMENT])]
    until: Annotated[str, Field(examples=[MOMENT])]
    by: Annotated[str, Field(examples=["user 3f0a"], description="who switched it on")]
    most: Annotated[int, Field(examples=[500])]
    requests: Annotated[int, Field(examples=[42], description="that it holds")]
    dropped: Annotated[int, Field(examples=[0], description="older ones, which made room")]


class FieldShape(Shape):
    """A header field as the tunnel got it."""

    name: Annotated[str, Field(examples=["Accept"])]
    value: Annotated[str, Field(examples=["text/html"], description="`*`: it may be a secret")]


class ListedShape(Shape):
    """A request that has ended, without what may be a secret."""

    at: Annotated[float, Field(examples=[1767323045.25], description="Unix seconds, when its head was there")]
    request_id: Annotated[str, Field(examples=["8f2c1d4e5a6b7c80-fra01"])]
    client_ip: Annotated[str, Field(examples=["192.0.2.7"])]
    method: Annotated[str, Field(examples=["GET"])]
    path: Annotated[str, Field(examples=["/login"])]
    query: Annotated[str, Field(examples=["page=*"], description="its names")]
    protocol: Annotated[str, Field(examples=["HTTP/2"])]
    status: Annotated[int, Field(examples=[200], description="0: the client left")]
    cause: Annotated[str, Field(examples=[""], description="why the edge answered itself or cut it")]
    bytes_in: Annotated[int, Field(examples=[0])]
    bytes_out: Annotated[int, Field(examples=[5120])]
    duration_s: Annotated[float, Field(examples=[0.031])]
    queue_s: Annotated[float | None, Field(examples=[0.0002], description="to a stream on a connection")]
    first_byte_s: Annotated[float | None, Field(examples=[0.03], description="from there to the answer's head")]
    connector_s: Annotated[
        float | None, Field(examples=[0.0001], description="of that the connector's; null: not told")
    ]
    origin_s: Annotated[float | None, Field(examples=[0.025], description="and the origin's")]
    tunnel_id: Annotated[str, Field(examples=[TUNNEL])]
    node: Annotated[str, Field(examples=["web-1"])]
    user_agent: Annotated[str, Field(examples=["curl/8.5.0"])]
    referer: Annotated[str, Field(examples=["https://example.com/"])]
    headers: list[FieldShape]


@router.get(LISTS)
@needs("request.read")
def list_lists(account_id: AccountPath, ctx: Ctx, who: Who) -> Ok[list[ListShape]]:
    """The request lists that there are, also those whose time is over."""
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, "request.read")
    return ok([_shown(each, ctx.store.clock) for each in ctx.live.request_lists.every(account_id)])


@router.put(f"{LISTS}/{{hostname}}")
@needs("request.edit")
def put_list(account_id: AccountPath, hostname: str, body: ListBegun, ctx: Ctx, who: Who) -> Ok[ListShape]:
    """Lists the requests of a hostname from now on, for a while. Which values of header fields are told is fixed: those that are
    known to hold no secret."""
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, "request.edit")
    lists = ctx.live.request_lists
    with ctx.store.writing(who.actor) as write:
        ordered = lists.ordered(write, account_id=account_id, hostname=hostname, minutes=body.minutes, most=body.most)
    return ok(_shown(lists.begin(ordered), ctx.store.clock))


@router.delete(f"{LISTS}/{{hostname}}")
@needs("request.edit")
def delete_list(account_id: AccountPath, hostname: str, ctx: Ctx, who: Who) -> Ok[None]:
    """Ends a list, and forgets what it holds."""
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, "request.edit")
    with ctx.store.writing(who.actor) as write:
        ctx.live.request_lists.end(write, account_id=account_id, hostname=hostname)
    return ok(None)


@router.get(
    f"{LISTS}/{{hostname}}/requests",
    openapi_extra=queries(
        {
            "status": "Only these: `404`, `5xx` or `400-499`.",
            "path": "Only with this text in the path.",
            "method": "Only this method.",
            "address": "Only of this client's address, or of this network.",
        }
    ),
)
@needs("request.read")
def list_requests(
    account_id: AccountPath, hostname: str, request: Request, ctx: Ctx, who: Who, page: AskedPage
) -> OkPage[ListedShape]:
    """What is listed of a hostname, newest first."""
    asked = {name: request.query_params.get(name, "") for name in ("status", "path", "method", "address")}
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, "request.read")
    found = ctx.live.request_lists.read(account_id, hostname, Filters(**asked), most=MOST_REQUESTS)
    rows = [_listed(each) for each in found[page.offset : page.offset + page.per_page]]
    return ok_page(rows, page, len(found))


def _shown(each: RequestList, clock: Callable[[], datetime]) -> ListShape:
    return {
        "hostname": each.hostname,
        "on": each.is_on(clock()),
        "begun_at": rfc3339(each.begun_at),
        "until": rfc3339(each.until),
        "by": each.by,
        "most": each.most,
        "requests": len(each.requests),
        "dropped": each.dropped,
    }


def _listed(each: ListedRequest) -> ListedShape:
    return {
        "at": each.time,
        "request_id": each.request_id,
        "client_ip": each.client_ip,
        "method": each.method,
        "path": each.path,
        "query": each.query,
        "protocol": each.protocol,
        "status": each.status,
        "cause": each.cause,
        "bytes_in": each.bytes_in,
        "bytes_out": each.bytes_out,
        "duration_s": each.duration_s,
        "queue_s": each.queue_s,
        "first_byte_s": each.first_byte_s,
        "connector_s": each.connector_s,
        "origin_s": each.origin_s,
        "tunnel_id": each.tunnel_id,
        "node": each.node,
        "user_agent": each.user_agent,
        "referer": each.referer,
        "headers": [{"name": name, "value": value} for name, value in each.headers],
    }
