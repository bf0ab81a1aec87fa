"""Hostname → tunnel routes for the edge, compiled from proxied records."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.ids import Hostname, TunnelId
from qanat.store.models import Record, Tunnel, Zone


def compile_routes(targets: Iterable[tuple[Hostname, TunnelId]]) -> dict[Hostname, TunnelId]:
    """One route a hostname, whatever the order; exact before wildcard is the router's business.

    Raises:
        QanatError: `route_conflict`, one hostname points to two tunnels; `where` is the hostname.
    """
    routes: dict[Hostname, TunnelId] = {}
    for hostname, tunnel in targets:
        if routes.setdefault(hostname, tunnel) != tunnel:
            raise QanatError(
                "route_conflict", f"{hostname} points to two tunnels", where=hostname, hint="delete one record"
            )
    return routes


def read_routes(session: Session) -> list[tuple[Hostname, TunnelId]]:
    """What the proxied CNAMEs say: the tunnel is of the zone's account, and the zone isn't paused. A deleted tunnel's
    hostnames stay, so that its visitors get the tunnel's error and not an unknown hostname's."""
    rows = session.execute(
        select(Record.name, Record.tunnel_id)
        .join(Zone, Zone.id == Record.zone_id)
        .join(Tunnel, Tunnel.id == Record.tunnel_id)
        .where(
            Record.type == "CNAME",
            Record.proxied.is_(True),
            Zone.paused.is_(False),
            Tunnel.account_id == Zone.account_id,
        )
        .order_by(Record.name)
    )
    return [(Hostname(name), TunnelId(tunnel_id)) for name, tunnel_id in rows if tunnel_id is not None]
