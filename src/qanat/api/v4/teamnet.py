"""`/accounts/{account_id}/teamnet/routes`: private network routes, kept and listed as stock. Traffic comes later."""

from typing import Annotated, Literal, NotRequired, cast

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement
from starlette.datastructures import QueryParams

from qanat.api.http.context import Ctx, Who, needs, visible_account
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, parse_time, rfc3339
from qanat.api.http.filters import truth, words
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath, RoutePath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Described, Shape, queries
from qanat.api.v4.cfd_tunnel import TIME, shows_deleted, wants_ours
from qanat.api.v4.tunnel_shapes import CONNECTION, CONNECTOR, MOMENT, TUNNEL
from qanat.control import private_routes
from qanat.control.private_routes import FullRoute, Network, parse_address, parse_network
from qanat.errors import QanatError
from qanat.ids import parse_uuid
from qanat.store.models import TeamnetRoute

router = resource(prefix="/accounts/{account_id}/teamnet/routes", tags=["teamnet"])

UUID = {"type": "string", "format": "uuid"}
VIRTUAL_NETWORK: dict[str, Described] = {
    "virtual_network_id": ("In this virtual network; the default one when absent.", UUID)
}
FILTERS: dict[str, Described] = {
    "comment": "Exactly this comment.",
    "tunnel_id": ("Of this tunnel.", UUID),
    "virtual_network_id": ("In this virtual network.", UUID),
    "route_id": ("The route of this id.", UUID),
    "is_deleted": ("Deleted ones only, or none of them; both when absent.", {"type": "boolean"}),
    "existed_at": ("Made before, and not deleted before.", TIME),
    "network_subset": "Networks that lie in this one.",
    "network_superset": "Networks that this one, or this address, lies in.",
    "tun_types": "Kinds of tunnels, with commas or repeated.",
}


class RouteCreate(BaseModel):
    """A network to route to a tunnel."""

    model_config = ConfigDict(strict=True)

    network: str = Field(examples=["10.20.0.0/16"])
    tunnel_id: str = Field(examples=[TUNNEL])
    comment: str | None = Field(default=None, examples=["office"])
    virtual_network_id: str | None = Field(default=None, description="the default one when absent")


class RouteChange(BaseModel):
    """What of a route changes; `null` leaves as it is."""

    model_config = ConfigDict(strict=True)

    network: str | None = Field(default=None, examples=["10.20.0.0/16"])
    tunnel_id: str | None = Field(default=None, examples=[TUNNEL])
    comment: str | None = Field(default=None, examples=["office"])
    virtual_network_id: str | None = Field(default=None, examples=[CONNECTOR])


class NetworkRoute(BaseModel):
    """A route whose network is in the path."""

    model_config = ConfigDict(strict=True)

    tunnel_id: str | None = Field(default=None, examples=[TUNNEL])
    comment: str | None = Field(default=None, examples=["office"])
    virtual_network_id: str | None = Field(default=None, description="the default one when absent")


class TeamnetRouteShape(Shape):
    """A private network route."""

    id: Annotated[str, Field(examples=[CONNECTION])]
    network: Annotated[str, Field(examples=["10.20.0.0/16"])]
    tunnel_id: Annotated[str, Field(examples=[TUNNEL])]
    tunnel_name: Annotated[str, Field(examples=["web"])]
    tun_type: Literal["cfd_tunnel"]
    virtual_network_id: Annotated[str, Field(examples=[CONNECTOR])]
    virtual_network_name: Annotated[str, Field(examples=["default"])]
    comment: Annotated[str, Field(examples=["office"])]
    created_at: Annotated[str, Field(examples=[MOMENT])]
    deleted_at: Annotated[str | None, Field(examples=[None])]


class FoundRouteShape(Shape):
    """The route that an address lies in; an empty object when there is none."""

    id: NotRequired[Annotated[str | None, Field(examples=[CONNECTION])]]
    network: NotRequired[Annotated[str | None, Field(examples=["10.20.0.0/16"])]]
    tunnel_id: NotRequired[Annotated[str | None, Field(examples=[TUNNEL])]]


@router.get("", openapi_extra=queries(FILTERS))
@needs("tunnel.read")
def list_routes(
    account_id: AccountPath, request: Request, ctx: Ctx, who: Who, page: AskedPage
) -> OkPage[TeamnetRouteShape]:
    """The account's routes in order of age. The same network as `network_subset` and `network_superset` finds exactly it."""
    query = request.query_params
    visible_account(ctx, who, account_id, "tunnel.read")
    filters = _filters(query)
    within = _network_asked(query, "network_subset")
    containing = _network_asked(query, "network_superset")
    if not wants_ours(query):
        return ok_page([], page, 0)
    with ctx.store.reading() as session:
        rows, total = private_routes.page(
            session,
            account_id,
            filters=filters,
            within=within,
            containing=containing,
            offset=page.offset,
            limit=page.per_page,
        )
    return ok_page([shown(row) for row in rows], page, total)


@router.post("")
@needs("tunnel.edit")
def create_route(account_id: AccountPath, body: RouteCreate, ctx: Ctx, who: Who) -> Ok[TeamnetRouteShape]:
    """Keeps a route. Each network is once in a virtual network; a longer prefix within a shorter one is allowed."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        made = private_routes.create(
            write,
            account_id=account_id,
            network=body.network,
            tunnel_id=body_uuid(body.tunnel_id, "tunnel_id"),
            network_id=body_uuid(body.virtual_network_id, "virtual_network_id") if body.virtual_network_id else None,
            comment=body.comment if body.comment is not None else "",
        )
    return ok(shown(made))


@router.get("/ip/{ip}", openapi_extra=queries(VIRTUAL_NETWORK))
@needs("tunnel.read")
def get_route_of_address(account_id: AccountPath, ip: str, request: Request, ctx: Ctx, who: Who) -> Ok[FoundRouteShape]:
    """The route with the longest prefix that the address lies in; an empty object when there is none."""
    visible_account(ctx, who, account_id, "tunnel.read")
    address = parse_address(ip)
    with ctx.store.reading() as session:
        found = private_routes.of_address(session, account_id, address, _network_id(request.query_params))
    return ok(cast(FoundRouteShape, shown(found) if found is not None else {}))


@router.post("/network/{network:path}", openapi_extra=queries(VIRTUAL_NETWORK))
@needs("tunnel.edit")
def create_network_route(
    account_id: AccountPath, network: str, body: NetworkRoute, request: Request, ctx: Ctx, who: Who
) -> Ok[TeamnetRouteShape]:
    """As POST of a route; what old clients call."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    if body.tunnel_id is None:
        raise QanatError("body_malformed", "a route needs a tunnel", where="tunnel_id")
    with ctx.store.writing(who.actor) as write:
        made = private_routes.create(
            write,
            account_id=account_id,
            network=network,
            tunnel_id=body_uuid(body.tunnel_id, "tunnel_id"),
            network_id=_network_id(request.query_params, body.virtual_network_id),
            comment=body.comment if body.comment is not None else "",
        )
    return ok(shown(made))


@router.patch("/network/{network:path}", openapi_extra=queries(VIRTUAL_NETWORK))
@needs("tunnel.edit")
def change_network_route(
    account_id: AccountPath, network: str, body: NetworkRoute, request: Request, ctx: Ctx, who: Who
) -> Ok[TeamnetRouteShape]:
    """As PATCH of a route, found by its network; what old clients call."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    network_id = _network_id(request.query_params, body.virtual_network_id)
    with ctx.store.reading() as session:
        found = private_routes.find(session, account_id, network, network_id)
    with ctx.store.writing(who.actor) as write:
        changed = private_routes.change(
            write,
            account_id=account_id,
            route_id=found.route.id,
            tunnel_id=body_uuid(body.tunnel_id, "tunnel_id") if body.tunnel_id is not None else None,
            comment=body.comment,
        )
    return ok(shown(changed))


@router.delete("/network/{network:path}", openapi_extra=queries(VIRTUAL_NETWORK))
@needs("tunnel.edit")
def delete_network_route(
    account_id: AccountPath, network: str, request: Request, ctx: Ctx, who: Who
) -> Ok[TeamnetRouteShape]:
    """As DELETE of a route, found by its network; what old clients call."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    network_id = _network_id(request.query_params)
    with ctx.store.reading() as session:
        found = private_routes.find(session, account_id, network, network_id, deleted=True)
    with ctx.store.writing(who.actor) as write:
        gone = private_routes.delete(write, account_id=account_id, route_id=found.route.id)
    return ok(shown(gone))


@router.get("/{route_id}")
@needs("tunnel.read")
def get_route(
    account_id: AccountPath, route_id: RoutePath, request: Request, ctx: Ctx, who: Who
) -> Ok[TeamnetRouteShape]:
    """One route, a deleted one with `deleted_at` (404 to Terraform's provider v5, which makes it again)."""
    visible_account(ctx, who, account_id, "tunnel.read")
    with ctx.store.reading() as session:
        return ok(shown(private_routes.get(session, account_id, route_id, deleted=shows_deleted(request))))


@router.patch("/{route_id}")
@needs("tunnel.edit")
def change_route(
    account_id: AccountPath, route_id: RoutePath, body: RouteChange, ctx: Ctx, who: Who
) -> Ok[TeamnetRouteShape]:
    """Changes what is given."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        changed = private_routes.change(
            write,
            account_id=account_id,
            route_id=route_id,
            network=body.network,
            tunnel_id=body_uuid(body.tunnel_id, "tunnel_id") if body.tunnel_id is not None else None,
            network_id=body_uuid(body.virtual_network_id, "virtual_network_id") if body.virtual_network_id else None,
            comment=body.comment,
        )
    return ok(shown(changed))


@router.delete("/{route_id}")
@needs("tunnel.edit")
def delete_route(account_id: AccountPath, route_id: RoutePath, ctx: Ctx, who: Who) -> Ok[TeamnetRouteShape]:
    """Deletes softly. One that is deleted already, such as with its tunnel, answers the same."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        gone = private_routes.delete(write, account_id=account_id, route_id=route_id)
    return ok(shown(gone))


def shown(full: FullRoute) -> TeamnetRouteShape:
    """A route as stock clients read it (api.md 2.7)."""
    route = full.route
    return {
        "id": route.id,
        "network": route.network,
        "tunnel_id": route.tunnel_id,
        "tunnel_name": full.tunnel.name,
        "tun_type": "cfd_tunnel",
        "virtual_network_id": route.virtual_network_id,
        "virtual_network_name": full.network.name,
        "comment": route.comment,
        "created_at": rfc3339(route.created_at),
        "deleted_at": rfc3339(route.deleted_at),
    }


def body_uuid(text: str, where: str) -> str:
    """A UUID in a body. QanatError `body_malformed`."""
    try:
        return parse_uuid(text, where.removesuffix("_id").replace("_", " "))
    except QanatError as error:
        raise QanatError("body_malformed", error.message, where=where) from None


def _network_id(query: QueryParams, in_body: str | None = None) -> str | None:
    text = query.get("virtual_network_id")
    text = text if text is not None else in_body
    return body_uuid(text, "virtual_network_id") if text is not None else None


def _network_asked(query: QueryParams, name: str) -> Network | None:
    text = query.get(name)
    return parse_network(text, where=name) if text is not None else None


def _filters(query: QueryParams) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    for name, column in (
        ("tunnel_id", TeamnetRoute.tunnel_id),
        ("virtual_network_id", TeamnetRoute.virtual_network_id),
        ("route_id", TeamnetRoute.id),
    ):
        if (text := words(query, name)) is not None:
            filters.append(column == text.lower())
    if (comment := words(query, "comment")) is not None:
        filters.append(TeamnetRoute.comment == comment)
    deleted = truth(query, "is_deleted")
    if deleted is not None:
        filters.append(TeamnetRoute.deleted_at.is_not(None) if deleted else TeamnetRoute.deleted_at.is_(None))
    if (text := query.get("existed_at")) is not None:
        moment = parse_time(text, where="existed_at")
        filters.append(TeamnetRoute.created_at <= moment)
        filters.append(TeamnetRoute.deleted_at.is_(None) | (TeamnetRoute.deleted_at > moment))
    return filters
