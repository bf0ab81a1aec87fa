"""`/accounts/{account_id}/teamnet/virtual_networks`: virtual networks of private routes, kept and listed as stock."""

from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement
from starlette.datastructures import QueryParams

from qanat.api.http.context import Ctx, Who, needs, visible_account
from qanat.api.http.envelope import Ok, ok, rfc3339
from qanat.api.http.filters import truth, words
from qanat.api.http.paths import AccountPath, VirtualNetworkPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Described, Shape, queries
from qanat.api.v4.cfd_tunnel import shows_deleted
from qanat.api.v4.teamnet import UUID
from qanat.api.v4.tunnel_shapes import CONNECTOR, MOMENT
from qanat.control import virtual_networks
from qanat.store.models import VirtualNetwork

router = resource(prefix="/accounts/{account_id}/teamnet/virtual_networks", tags=["teamnet"])

FILTERS: dict[str, Described] = {
    "id": ("The one of this id.", UUID),
    "name": "Exactly this name.",
    "is_default": ("The default one, or the others.", {"type": "boolean"}),
    "is_default_network": ("The same as `is_default`.", {"type": "boolean"}),
    "is_deleted": ("Deleted ones only, or none of them; both when absent.", {"type": "boolean"}),
}


class NetworkCreate(BaseModel):
    """A virtual network to make. cloudflared says `is_default`, everybody else `is_default_network`."""

    model_config = ConfigDict(strict=True)

    name: str = Field(examples=["staging"])
    comment: str | None = Field(default=None, examples=["lab"])
    is_default_network: bool | None = None
    is_default: bool | None = None


class NetworkChange(BaseModel):
    """What of a virtual network changes; `null` leaves as it is."""

    model_config = ConfigDict(strict=True)

    name: str | None = Field(default=None, examples=["staging"])
    comment: str | None = Field(default=None, examples=["lab"])
    is_default_network: bool | None = None


class VirtualNetworkShape(Shape):
    """A virtual network."""

    id: Annotated[str, Field(examples=[CONNECTOR])]
    name: Annotated[str, Field(examples=["staging"])]
    comment: Annotated[str, Field(examples=["lab"])]
    is_default_network: bool
    created_at: Annotated[str, Field(examples=[MOMENT])]
    deleted_at: Annotated[str | None, Field(examples=[None])]


@router.get("", openapi_extra=queries(FILTERS))
@needs("tunnel.read")
def list_networks(account_id: AccountPath, request: Request, ctx: Ctx, who: Who) -> Ok[list[VirtualNetworkShape]]:
    """All of the account's virtual networks, on one page. The default one is made when there is none yet."""
    visible_account(ctx, who, account_id, "tunnel.read")
    filters = _filters(request.query_params)
    with ctx.store.reading() as session:
        is_missing = virtual_networks.default(session, account_id) is None
    if is_missing:
        with ctx.store.recording() as write:
            virtual_networks.ensure_default(write, account_id)
    with ctx.store.reading() as session:
        return ok([shown(row) for row in virtual_networks.listed(session, account_id, filters=filters)])


@router.post("")
@needs("tunnel.edit")
def create_network(account_id: AccountPath, body: NetworkCreate, ctx: Ctx, who: Who) -> Ok[VirtualNetworkShape]:
    """Makes a virtual network; as the default it takes that place from another."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        made = virtual_networks.create(
            write,
            account_id=account_id,
            name=body.name,
            comment=body.comment if body.comment is not None else "",
            is_default=bool(body.is_default_network or body.is_default),
        )
    return ok(shown(made))


@router.get("/{virtual_network_id}")
@needs("tunnel.read")
def get_network(
    account_id: AccountPath, virtual_network_id: VirtualNetworkPath, request: Request, ctx: Ctx, who: Who
) -> Ok[VirtualNetworkShape]:
    """One virtual network, a deleted one with `deleted_at` (404 to Terraform's provider v5, which makes it again)."""
    visible_account(ctx, who, account_id, "tunnel.read")
    deleted = shows_deleted(request)
    with ctx.store.reading() as session:
        return ok(shown(virtual_networks.get(session, account_id, virtual_network_id, deleted=deleted)))


@router.patch("/{virtual_network_id}")
@needs("tunnel.edit")
def change_network(
    account_id: AccountPath, virtual_network_id: VirtualNetworkPath, body: NetworkChange, ctx: Ctx, who: Who
) -> Ok[VirtualNetworkShape]:
    """Changes what is given. The default one stays it until another is made the default."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        changed = virtual_networks.change(
            write,
            account_id=account_id,
            network_id=virtual_network_id,
            name=body.name,
            comment=body.comment,
            is_default=body.is_default_network,
        )
    return ok(shown(changed))


@router.delete(
    "/{virtual_network_id}",
    openapi_extra=queries({"force": ("Delete its routes as well.", {"type": "boolean"})}),
)
@needs("tunnel.edit")
def delete_network(
    account_id: AccountPath, virtual_network_id: VirtualNetworkPath, request: Request, ctx: Ctx, who: Who
) -> Ok[VirtualNetworkShape]:
    """Deletes softly one without routes, or with them by `force=true`; never the default one."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        gone = virtual_networks.delete(
            write,
            account_id=account_id,
            network_id=virtual_network_id,
            force=truth(request.query_params, "force") is True,
        )
    return ok(shown(gone))


def shown(network: VirtualNetwork) -> VirtualNetworkShape:
    """A virtual network as stock clients read it (api.md 2.7)."""
    return {
        "id": network.id,
        "name": network.name,
        "comment": network.comment,
        "is_default_network": network.is_default,
        "created_at": rfc3339(network.created_at),
        "deleted_at": rfc3339(network.deleted_at),
    }


def _filters(query: QueryParams) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if (network_id := words(query, "id")) is not None:
        filters.append(VirtualNetwork.id == network_id.lower())
    if (name := words(query, "name")) is not None:
        filters.append(VirtualNetwork.name == name)
    for spelling in ("is_default", "is_default_network"):
        default = truth(query, spelling)
        if default is not None:
            filters.append(VirtualNetwork.is_default.is_(default))
    deleted = truth(query, "is_deleted")
    if deleted is not None:
        filters.append(VirtualNetwork.deleted_at.is_not(None) if deleted else VirtualNetwork.deleted_at.is_(None))
    return filters
