"""`/client/v4/qanat`: what the stock API has no place for."""

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal, cast

from pydantic import Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, rfc3339
from qanat.api.http.pagination import AskedPage
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.tunnel_shapes import ACCOUNT, MOMENT
from qanat.certificates.numbers import numbers
from qanat.control.visibility import sees_request, visible_skipped
from qanat.errors import QanatError
from qanat.store.skipped import Skipped

router = resource(prefix="/qanat", tags=["qanat"])


class AddressesShape(Shape):
    """Where the edge listens; null for what is switched off."""

    https: Annotated[str | None, Field(examples=["0.0.0.0:443"])]
    http: Annotated[str | None, Field(examples=["0.0.0.0:80"])]
    tunnel: Annotated[str | None, Field(examples=["0.0.0.0:7844"])]


class CertificateNumbersShape(Shape):
    """Certificates by status, of the zones that are seen; files and the development CA's are not among them."""

    active: Annotated[int, Field(examples=[12])]
    expiring: Annotated[int, Field(examples=[0])]
    expired: Annotated[int, Field(examples=[0])]
    pending: Annotated[int, Field(examples=[1])]
    failing: Annotated[int, Field(examples=[0])]
    ends_first: Annotated[str | None, Field(examples=["app.example.com"], description="whose certificate ends first")]
    ends_in_s: Annotated[float | None, Field(examples=[2592000.0], description="and in how many seconds")]


class StatusShape(Shape):
    """An edge."""

    version: Annotated[str, Field(examples=["0.2.0"])]
    location: Annotated[str, Field(examples=["fra01"])]
    addresses: AddressesShape
    counters: Annotated[
        dict[str, int], Field(examples=[{"requests": 1200, "request_errors": 3}], description="since its start")
    ]
    skipped: Annotated[
        dict[str, int],
        Field(
            examples=[{"certificate": 1}],
            description="rows, by kind, that the edge leaves out; `/qanat/skipped` lists them. Of the accounts that are seen",
        ),
    ]
    health: Annotated[
        dict[str, int],
        Field(
            examples=[{"healthy": 12, "unhealthy": 1}],
            description="origins behind nodes, by hostname, and how they are; `/accounts/{account_id}/qanat/health` lists them. "
            "Empty for a token that doesn't see the whole server",
        ),
    ]
    certificates: CertificateNumbersShape
    unknown_endpoints: Annotated[
        dict[str, int],
        Field(
            examples=[{"GET /client/v4/accounts/{id}/workers/scripts": 2}],
            description="how often clients asked for what qanat doesn't have; empty for a token that doesn't "
            "see the whole server",
        ),
    ]


class SkippedShape(Shape):
    """A row that the edge leaves out because something of it can't be used; it is tried again every minute."""

    kind: Annotated[
        str,
        Field(
            examples=["certificate"],
            description="tunnel, configuration, connector_token, token_expiry, record, hostname, certificate, given_certificate, "
            "certificate_order or quick_tunnel",
        ),
    ]
    name: Annotated[str, Field(examples=["app.example.com"], description="a hostname, an id, or a file")]
    account_id: Annotated[str | None, Field(examples=[ACCOUNT], description="null: of no account, or unknown")]
    code: Annotated[str, Field(examples=["certificate_unkept"])]
    reason: Annotated[str, Field(examples=["OSError: No space left on device (ENOSPC)"])]
    since: Annotated[str, Field(examples=[MOMENT])]


HopName = Literal["browser", "edge", "tunnel", "connector", "origin"]


class HopShape(Shape):
    """One hop of a failed request. `edge`: from the head's last byte to a connection; `tunnel`: to a stream on it; `connector`
    and `origin`: to what came back through it. A connector of ours tells how long it and its origin took: the way there and the
    way back are hops of `tunnel` then, taken to be equally long."""

    hop: HopName
    at_s: Annotated[float, Field(examples=[0.0004], description="seconds after the request's head was there")]
    took_s: Annotated[float, Field(examples=[0.0031])]
    what: Annotated[str, Field(examples=["origin_refused: dial tcp 127.0.0.1:80: connection refused"])]


class FailedRequestShape(Shape):
    """A request that the edge answered itself or cut."""

    request_id: Annotated[str, Field(examples=["8f2c1d4e5a6b7c80-fra01"])]
    hostname: Annotated[str, Field(examples=["app.example.com"])]
    method: Annotated[str, Field(examples=["GET"])]
    path: Annotated[str, Field(examples=["/login"])]
    tunnel_id: Annotated[str | None, Field(examples=["f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"])]
    connection_id: Annotated[str | None, Field(examples=["1bedc50d-42b3-473c-b108-ff3d10c0d925"])]
    status: Annotated[
        int, Field(examples=[502], description="what the client was answered; 0 when the connection was cut")
    ]
    cause: Annotated[str, Field(examples=["origin_refused"])]
    fault: Annotated[str, Field(examples=["origin"], description="client, edge, tunnel or origin")]
    detail: Annotated[str, Field(examples=["dial tcp 127.0.0.1:80: connection refused"])]
    started_at: Annotated[str, Field(examples=["2026-01-02T03:04:05.678901Z"])]
    duration_s: Annotated[float, Field(examples=[0.004])]
    client_ip: Annotated[str, Field(examples=["192.0.2.7"])]
    hops: Annotated[
        list[HopShape], Field(examples=[[]], description="in order, as far as it came; the last one is where it broke")
    ]


@router.get("/status")
@needs("edge.read")
def get_status(ctx: Ctx, who: Who) -> Ok[StatusShape]:
    """This edge: version, addresses, counters; and which endpoints clients asked for that qanat doesn't have."""
    reach, listens = who.reach("edge.read"), ctx.live.addresses()
    with ctx.store.reading() as session:
        counted = numbers(session, ctx.store.clock(), reach=reach)
    skipped = Counter(row.kind for row in visible_skipped(ctx.skipped.rows(), reach))
    return ok(
        {
            "version": ctx.version,
            "location": ctx.location,
            "addresses": {"https": listens["https"], "http": listens["http"], "tunnel": listens["tunnel"]},
            "counters": dict(ctx.live.counters()),
            "health": dict(sorted(Counter(each.state for each in ctx.live.health.spots().values()).items()))
            if reach.is_everything
            else {},
            "skipped": dict(sorted(skipped.items())),
            "certificates": cast(CertificateNumbersShape, asdict(counted)),
            "unknown_endpoints": dict(ctx.misses) if reach.is_everything else {},
        }
    )


@router.get("/skipped")
@needs("edge.read")
def list_skipped(ctx: Ctx, who: Who, page: AskedPage) -> OkPage[SkippedShape]:
    """The rows that the edge leaves out, of the accounts that the token sees: what of them can't be used, and since when.
    Everything else goes on meanwhile."""
    rows = visible_skipped(ctx.skipped.rows(), who.reach("edge.read"))
    shown = [shown_skipped(row) for row in rows[page.offset : page.offset + page.per_page]]
    return ok_page(shown, page, len(rows))


def shown_skipped(row: Skipped) -> SkippedShape:
    """For answers."""
    return {
        "kind": row.kind,
        "name": row.name,
        "account_id": row.account_id,
        "code": row.code,
        "reason": row.reason,
        "since": rfc3339(row.since),
    }


@router.get("/requests/{request_id}")
@needs("tunnel.read")
def explain_request(request_id: str, ctx: Ctx, who: Who) -> Ok[FailedRequestShape]:
    """Why a recent request failed, by the id that its error page shows. Only the newest failures are remembered."""
    failed = ctx.live.failed_request(request_id)
    reach = who.reach("tunnel.read")
    with ctx.store.reading() as session:
        if failed is None or not sees_request(session, reach, failed.tunnel_id):
            raise QanatError("request_unknown", "no recent failure has this request id")
    fields = {name: getattr(failed, name) for name in FailedRequestShape.__annotations__}
    started_at = rfc3339(datetime.fromtimestamp(failed.started_at, UTC))
    hops: list[HopShape] = [
        {"hop": cast(HopName, hop), "at_s": round(at, 6), "took_s": round(took, 6), "what": what}
        for hop, at, took, what in failed.hops
    ]
    return ok(cast(FailedRequestShape, {**fields, "started_at": started_at, "hops": hops}))
