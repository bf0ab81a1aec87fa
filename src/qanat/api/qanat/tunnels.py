"""`/qanat/tunnels`: a tunnel with everything that a person wants to see of it, which the stock API has no place for."""

from collections.abc import Mapping
from typing import cast

from sqlalchemy.orm import Session

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, rfc3339
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import TunnelPath
from qanat.api.http.routes import resource
from qanat.api.v4.tunnel_shapes import (
    EventKind,
    EventShape,
    OwnConnectorShape,
    OwnTunnelShape,
    shown,
    shown_own_connector,
)
from qanat.control import configurations, connections, connector_tokens
from qanat.control.tunnel_status import ConnectorConnections, every_connector, recent_state
from qanat.control.visibility import known_tunnel
from qanat.health.lines import Line
from qanat.nodes import mode, nodes
from qanat.store.models import Configuration, Tunnel

router = resource(prefix="/qanat/tunnels/{tunnel_id}", tags=["qanat"])


@router.get("")
@needs("tunnel.read")
def get_tunnel(tunnel_id: TunnelPath, ctx: Ctx, who: Who) -> Ok[OwnTunnelShape]:
    """A tunnel with its status since when and why, and each connector's configuration version. A deleted one too."""
    with ctx.store.reading() as session:
        tunnel = known_tunnel(session, who, tunnel_id)
        state = recent_state(session, tunnel, now=ctx.store.clock())
        newest = configurations.newest(session, tunnel.id)
        connectors = _connectors(session, tunnel, state.all_connectors, newest, ctx.live.lines())
        role = mode.of(session, tunnel.id)
        active = nodes.name_of(session, tunnel.id, role.active_token_id if role is not None else None)
    return ok(
        {
            **shown(tunnel, state),
            "status_since": rfc3339(state.since),
            "status_reason": state.reason,
            "configuration_version": newest.version if newest is not None else 0,
            "mode": mode.mode_of(role),
            "active_node": active,
            "epoch": role.epoch if role is not None else 0,
            "connectors": connectors,
            "local_configuration": tunnel.local_configuration,
        }
    )


@router.get("/connectors")
@needs("tunnel.read")
def list_connectors(tunnel_id: TunnelPath, ctx: Ctx, who: Who) -> Ok[list[OwnConnectorShape]]:
    """The connected connectors, then those that were connected in the last day, with everything that is known of them."""
    with ctx.store.reading() as session:
        tunnel = known_tunnel(session, who, tunnel_id)
        state = recent_state(session, tunnel, now=ctx.store.clock())
        newest = configurations.newest(session, tunnel.id)
        return ok(_connectors(session, tunnel, every_connector(session, tunnel.id, state), newest, ctx.live.lines()))


@router.get("/events")
@needs("tunnel.read")
def list_events(tunnel_id: TunnelPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[EventShape]:
    """What happened to the tunnel's connections, newest first."""
    with ctx.store.reading() as session:
        tunnel = known_tunnel(session, who, tunnel_id)
        rows, total = connections.events(session, tunnel.id, offset=page.offset, limit=page.per_page)
    told: list[EventShape] = [
        {"at": rfc3339(row.at), "kind": cast(EventKind, row.kind), "detail": row.detail} for row in rows
    ]
    return ok_page(told, page, total)


def _connectors(
    session: Session,
    tunnel: Tunnel,
    connectors: list[ConnectorConnections],
    newest: Configuration | None,
    lines: Mapping[str, Line],
) -> list[OwnConnectorShape]:
    names = {token.id: token.name for token in connector_tokens.every(session, tunnel.id)}
    return [shown_own_connector(connector, conns, names, newest, lines) for connector, conns in connectors]
