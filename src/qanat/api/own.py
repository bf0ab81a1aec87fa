"""`/client/v4/qanat`: what the stock API has no place for."""

from dataclasses import asdict
from datetime import UTC, datetime

from fastapi import APIRouter, Response
from pydantic import Field

from qanat.api.context import Ctx, Who, needs
from qanat.api.envelope import ok, rfc3339
from qanat.api.shapes import Shape, answers
from qanat.errors import QanatError
from qanat.store.models import Tunnel

router = APIRouter(prefix="/qanat", tags=["qanat"])


class AddressesShape(Shape):
    """Where the edge listens; null for what is switched off."""

    https: str | None = Field(examples=["0.0.0.0:443"])
    http: str | None = Field(examples=["0.0.0.0:80"])
    tunnel: str | None = Field(examples=["0.0.0.0:7844"])


class StatusShape(Shape):
    """An edge."""

    version: str = Field(examples=["0.2.0"])
    location: str = Field(examples=["fra01"])
    addresses: AddressesShape
    counters: dict[str, int] = Field(examples=[{"requests": 1200, "request_errors": 3}], description="since its start")
    unknown_endpoints: dict[str, int] = Field(
        examples=[{"GET /client/v4/accounts/{id}/workers/scripts": 2}],
        description="how often clients asked for what qanat doesn't have; empty for a token that doesn't see the whole server",
    )


class FailedRequestShape(Shape):
    """A request that the edge answered itself or cut."""

    request_id: str = Field(examples=["8f2c1d4e5a6b7c80-fra01"])
    hostname: str = Field(examples=["app.example.com"])
    method: str = Field(examples=["GET"])
    path: str = Field(examples=["/login"])
    tunnel_id: str | None = Field(examples=["f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"])
    connection_id: str | None = Field(examples=["1bedc50d-42b3-473c-b108-ff3d10c0d925"])
    status: int = Field(examples=[502], description="what the client was answered; 0 when the connection was cut")
    cause: str = Field(examples=["origin_refused"])
    fault: str = Field(examples=["origin"], description="client, edge, tunnel or origin")
    detail: str = Field(examples=["dial tcp 127.0.0.1:80: connection refused"])
    started_at: str = Field(examples=["2026-01-02T03:04:05.678901Z"])
    duration_s: float = Field(examples=[0.004])
    client_ip: str = Field(examples=["192.0.2.7"])


@router.get("/status", responses=answers(StatusShape))
@needs("edge.read")
def get_status(ctx: Ctx, who: Who) -> Response:
    """This edge: version, addresses, counters; and which endpoints clients asked for that qanat doesn't have."""
    return ok(
        {
            "version": ctx.version,
            "location": ctx.location,
            "addresses": dict(ctx.live.addresses()),
            "counters": dict(ctx.live.counters()),
            "unknown_endpoints": dict(ctx.misses) if who.reach("edge.read").is_everything else {},
        }
    )


@router.get("/requests/{request_id}", responses=answers(FailedRequestShape))
@needs("tunnel.read")
def explain_request(request_id: str, ctx: Ctx, who: Who) -> Response:
    """Why a recent request failed, by the id that its error page shows. Only the newest failures are remembered."""
    failed = ctx.live.failed_request(request_id)
    reach = who.reach("tunnel.read")
    if failed is not None and not reach.is_everything:
        with ctx.store.reading() as session:
            tunnel = session.get(Tunnel, failed.tunnel_id) if failed.tunnel_id else None
            if tunnel is None or not reach.has_account(tunnel.account_id):
                failed = None
    if failed is None:
        raise QanatError("request_unknown", "no recent failure has this request id")
    return ok({**asdict(failed), "started_at": rfc3339(datetime.fromtimestamp(failed.started_at, UTC))})
