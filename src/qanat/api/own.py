"""`/client/v4/qanat`: what the stock API has no place for."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from qanat.api.cfd_tunnel import shown as shown_tunnel
from qanat.api.configurations import tunnel_versions_of
from qanat.api.context import Ctx, Who
from qanat.api.envelope import ok, ok_page, rfc3339
from qanat.api.pagination import AskedPage
from qanat.auth import Principal
from qanat.errors import QanatError
from qanat.store import configurations, connections
from qanat.store.models import Connection, Connector, Tunnel

router = APIRouter(prefix="/qanat", tags=["qanat"])


@router.get("/status")
def get_status(ctx: Ctx, who: Who) -> Response:
    """This edge: version, addresses, counters; and which endpoints clients asked for that qanat doesn't have."""
    return ok(
        {
            "version": ctx.version,
            "location": ctx.location,
            "addresses": dict(ctx.live.addresses()),
            "counters": dict(ctx.live.counters()),
            "unknown_endpoints": dict(ctx.misses) if who.only_account is None else {},
        }
    )


@router.get("/requests/{request_id}")
def explain_request(request_id: str, ctx: Ctx, who: Who) -> Response:
    """Why a recent request failed, by the id that its error page shows. Only the newest failures are remembered."""
    failed = ctx.live.failed_request(request_id)
    if failed is not None and who.only_account is not None:
        with ctx.store.reading() as session:
            tunnel = session.get(Tunnel, failed.tunnel_id) if failed.tunnel_id else None
            if tunnel is None or tunnel.account_id != who.only_account:
                failed = None
    if failed is None:
        raise QanatError("request_unknown", "no recent failure has this request id")
    return ok({**asdict(failed), "started_at": rfc3339(datetime.fromtimestamp(failed.started_at, UTC))})


@router.get("/tunnels/{tunnel_id}")
def get_tunnel(tunnel_id: str, ctx: Ctx, who: Who) -> Response:
    """A tunnel with its status since when and why, and each connection's configuration version."""
    with ctx.store.reading() as session:
        tunnel = _visible(session, who, tunnel_id)
        state = connections.state(session, tunnel)
        newest = configurations.newest_configuration(session, tunnel.id)
    return ok(
        {
            **shown_tunnel(tunnel, state),
            "status_since": rfc3339(state.since),
            "status_reason": state.reason,
            "configuration_version": newest.version if newest is not None else 0,
            "connectors": [_connector(connector, conns) for connector, conns in state.connectors],
            "local_configuration": tunnel.local_configuration,
        }
    )


@router.get("/tunnels/{tunnel_id}/configurations/versions")
def list_versions(tunnel_id: str, ctx: Ctx, who: Who, page: AskedPage) -> Response:
    """Every configuration that the tunnel had, newest first, with its author."""
    with ctx.store.reading() as session:
        tunnel = _visible(session, who, tunnel_id)
        rows, total = configurations.list_versions(session, tunnel.id, offset=page.offset, limit=page.per_page)
    return ok_page(tunnel_versions_of(tunnel, rows), page, total)


@router.get("/tunnels/{tunnel_id}/events")
def list_events(tunnel_id: str, ctx: Ctx, who: Who, page: AskedPage) -> Response:
    """What happened to the tunnel's connections, newest first; refused registrations too."""
    with ctx.store.reading() as session:
        tunnel = _visible(session, who, tunnel_id)
        rows, total = connections.events(session, tunnel.id, offset=page.offset, limit=page.per_page)
    return ok_page([{"at": rfc3339(row.at), "kind": row.kind, "detail": row.detail} for row in rows], page, total)


def _visible(session: Session, who: Principal, tunnel_id: str) -> Tunnel:
    """Deleted ones too: their story is what one wants to read."""
    tunnel = session.get(Tunnel, tunnel_id.lower())
    if tunnel is None or who.only_account not in (None, tunnel.account_id):
        raise QanatError("tunnel_unknown", "no such tunnel")
    return tunnel


def _connector(connector: Connector, conns: list[Connection]) -> dict[str, Any]:
    return {
        "id": connector.id,
        "version": connector.version,
        "arch": connector.arch,
        "features": connector.features,
        "run_at": rfc3339(connector.run_at),
        "wanted_connections": connector.max_connections,
        "config_version": connector.config_version,
        "config_error": connector.config_error,
        "connections": [
            {
                "id": connection.id,
                "index": connection.index,
                "protocol": connection.protocol,
                "location": connection.location,
                "origin_ip": connection.origin_ip,
                "opened_at": rfc3339(connection.opened_at),
                "pushed_version": connection.pushed_version,
                "applied_version": connection.applied_version,
                "config_error": connection.config_error,
            }
            for connection in conns
        ],
    }
