"""`/zones/{zone_id}/tunnels/{tunnel_id}/routes`: what `cloudflared tunnel route dns` and `route lb` call."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.paths import TunnelPath, ZonePath
from qanat.api.http.repointing import Repoint
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.tunnel_shapes import ACCOUNT, TUNNEL
from qanat.control import hostname_routes, zones
from qanat.cutover.repointing import Move
from qanat.dns.forms import record_name
from qanat.errors import QanatError
from qanat.store.models import Record, Zone

router = resource(tags=["routes"])


class RoutePut(BaseModel):
    """A hostname that shall reach the tunnel. `lb_name`, `lb_pool` belong to `lb`, which qanat does not have."""

    model_config = ConfigDict(strict=True)

    type: str = Field(examples=["dns"])
    user_hostname: str | None = Field(default=None, examples=["app.example.com"])
    overwrite_existing: bool | None = Field(default=None, description="replace another target of the hostname")
    lb_name: Any = Field(default=None, description="ignored")
    lb_pool: Any = Field(default=None, description="ignored")


class RouteShape(Shape):
    """What came of it."""

    cname: Literal["new", "updated", "unchanged"]
    name: Annotated[str, Field(examples=["app.example.com"])]
    dns_tag: Annotated[str, Field(examples=[ACCOUNT], description="the record's id")]
    previous: Annotated[
        list[str],
        Field(examples=[[f"CNAME {TUNNEL}.cfargotunnel.com"]], description="what an updated hostname was before"),
    ]


@router.put("/zones/{zone_id}/tunnels/{tunnel_id}/routes")
@needs("dns.edit", "tunnel.read")
def put_route(
    zone_id: ZonePath, tunnel_id: TunnelPath, body: RoutePut, ctx: Ctx, who: Who, repoint: Repoint
) -> Ok[RouteShape]:
    """Makes the hostname a proxied CNAME to the tunnel, in the longest zone of the account that it is in. A name that is in
    none of them is relative to the zone in the path. Another target stays unless `overwrite_existing`, or its tunnel is
    deleted."""
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=who.reach("dns.edit"))
    if not who.reach("tunnel.read").has_account(zone.account_id):
        raise QanatError("tunnel_unknown", "no such tunnel", where="tunnel_id")
    if body.type == "lb":
        raise QanatError(
            "route_load_balancer",
            "qanat has no load balancers: replicas of one tunnel share its requests by themselves",
            where="type",
            hint="use `tunnel route dns`",
        )
    if body.type != "dns":
        raise QanatError(
            "route_bad_type", f"{body.type[:40]!r} is not a valid kind of route: `dns` is the only one", where="type"
        )
    if not body.user_hostname or not body.user_hostname.strip():
        raise QanatError("route_bad_hostname", "a dns route needs a hostname", where="user_hostname")
    hostname, reach = body.user_hostname, who.reach("dns.edit")
    guard = None
    if body.overwrite_existing:
        with ctx.store.reading() as session:
            home = hostname_routes.zone_of(session, zone, hostname, reach)
        guard = repoint.guard_of(home, lambda session: _moves(session, home, hostname, tunnel_id))
    with ctx.store.writing(who.actor) as write:
        routed = hostname_routes.route(
            write,
            zone_id=zone.id,
            tunnel_id=tunnel_id,
            hostname=hostname,
            overwrite=bool(body.overwrite_existing),
            reach=reach,
            repoint=guard,
        )
    repoint.watch(guard, who)
    return ok(
        {
            "cname": routed.outcome,
            "name": routed.record.name,
            "dns_tag": routed.record.id,
            "previous": list(routed.previous),
        }
    )


def _moves(session: Session, zone: Zone, hostname: str, tunnel_id: str) -> list[Move]:
    """Where the hostname leads now, if it is to another tunnel."""
    try:
        name = record_name(hostname, zone.name)
    except QanatError:
        return []  # told by the write
    query = select(Record.tunnel_id).where(Record.zone_id == zone.id, Record.name == name, Record.proxied.is_(True))
    return [Move(name, each, tunnel_id) for each in session.scalars(query) if each is not None and each != tunnel_id]
