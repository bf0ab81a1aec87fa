"""`/accounts/{account_id}/cfd_tunnel`."""

import base64
import binascii
from secrets import token_bytes

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, false, func, or_
from starlette.datastructures import QueryParams

from qanat.api.http.conditional import IfMatch, versioned
from qanat.api.http.context import Ctx, Who, needs, visible_account
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, parse_time
from qanat.api.http.filters import choice, storable, truth, words
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath, ConnectorPath, TunnelPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import ConnectorTokenText, Described, queries
from qanat.api.v4.tunnel_shapes import (
    ConnectorShape,
    NewTunnelShape,
    TunnelShape,
    connector_token,
    shown,
    shown_connector,
)
from qanat.control import accounts, tunnel_status, tunnels
from qanat.control.tunnel_status import TunnelState, recent_state, recent_states, state
from qanat.control.visibility import visible_tunnel
from qanat.errors import QanatError
from qanat.ids import parse_connector_id
from qanat.store.models import Tunnel

router = resource(tags=["cfd_tunnel"])

PATH = "/accounts/{account_id}/cfd_tunnel"

STATUSES = ("inactive", "healthy", "degraded", "down")
TIME = {"type": "string", "format": "date-time"}
FILTERS: dict[str, Described] = {
    "name": "Exactly this name; case matters.",
    "uuid": "The tunnel of this id.",
    "is_deleted": ("Deleted ones only, or none of them; both when absent.", {"type": "boolean"}),
    "existed_at": ("Made before, and not deleted before.", TIME),
    "was_active_at": ("Connected then, as far as the last change tells.", TIME),
    "was_inactive_at": ("Not connected then, as far as the last change tells.", TIME),
    "status": ("Of this status.", {"type": "string", "enum": [*STATUSES]}),
    "include_prefix": "The name begins with this.",
    "name_prefix": "The same as `include_prefix`.",
    "exclude_prefix": "The name does not begin with this.",
}


class TunnelCreate(BaseModel):
    """A tunnel to make; without a secret a good one is made."""

    model_config = ConfigDict(strict=True)

    name: str = Field(examples=["web"])
    tunnel_secret: str | None = Field(default=None, description="at least 32 characters of base64")
    config_src: str | None = Field(default=None, description="`local` (when absent) or `cloudflare`")


class TunnelChange(BaseModel):
    """What of a tunnel changes; `null` leaves as it is."""

    model_config = ConfigDict(strict=True)

    name: str | None = Field(default=None, examples=["web-2"])
    tunnel_secret: str | None = Field(default=None, description="at least 32 characters of base64")


@router.post(PATH)
@needs("tunnel.edit")
def create_tunnel(account_id: AccountPath, body: TunnelCreate, ctx: Ctx, who: Who) -> Ok[NewTunnelShape]:
    """Makes a tunnel; the answer holds its connector token."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    secret = parse_secret(body.tunnel_secret) if body.tunnel_secret is not None else token_bytes(tunnels.SECRET_BYTES)
    with ctx.store.writing(who.actor) as write:
        tunnel = tunnels.create(
            write,
            ctx.sealer,
            account_id=account_id,
            name=body.name,
            secret=secret,
            config_src=body.config_src if body.config_src is not None else "local",
        )
    state = TunnelState("inactive", tunnel.created_at, None)
    return ok({**shown(tunnel, state), "token": connector_token(tunnel, secret, ctx.found_by)})


@router.get(PATH, openapi_extra=queries(FILTERS))
@needs("tunnel.read")
def list_tunnels(account_id: AccountPath, request: Request, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[TunnelShape]:
    """The account's tunnels in order of age, deleted ones too unless `is_deleted=false`."""
    with ctx.store.reading() as session:
        accounts.get(session, account_id, reach=who.reach("tunnel.read"))
        rows, total = tunnels.page(
            session, account_id, filters=_filters(request.query_params), offset=page.offset, limit=page.per_page
        )
        states = recent_states(session, rows, now=ctx.store.clock())
    return ok_page([shown(row, states[row.id]) for row in rows], page, total)


@router.get(PATH + "/{tunnel_id}")
@needs("tunnel.read")
def get_tunnel(account_id: AccountPath, tunnel_id: TunnelPath, request: Request, ctx: Ctx, who: Who) -> Ok[TunnelShape]:
    """One tunnel, a deleted one with `deleted_at` (404 to Terraform's provider v5, which makes it again)."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id, deleted=shows_deleted(request))
        return versioned(
            ok(shown(tunnel, recent_state(session, tunnel, now=ctx.store.clock()))), tunnels.version(tunnel)
        )


@router.patch(PATH + "/{tunnel_id}")
@needs("tunnel.edit")
def change_tunnel(
    account_id: AccountPath, tunnel_id: TunnelPath, body: TunnelChange, ctx: Ctx, who: Who, if_match: IfMatch
) -> Ok[TunnelShape]:
    """Renames the tunnel or changes its secret (and with it its token): connectors with the old one are refused at once,
    their live connections end after a grace."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        tunnel = tunnels.change(
            write,
            ctx.sealer,
            account_id=account_id,
            tunnel_id=tunnel_id,
            name=body.name,
            secret=parse_secret(body.tunnel_secret) if body.tunnel_secret is not None else None,
            expected=if_match,
        )
    with ctx.store.reading() as session:
        return versioned(
            ok(shown(tunnel, recent_state(session, tunnel, now=ctx.store.clock()))), tunnels.version(tunnel)
        )


@router.delete(
    PATH + "/{tunnel_id}",
    openapi_extra=queries({"cascade": ("End connections, delete private routes.", {"type": "boolean"})}),
)
@needs("tunnel.edit")
def delete_tunnel(
    account_id: AccountPath, tunnel_id: TunnelPath, request: Request, ctx: Ctx, who: Who
) -> Ok[TunnelShape]:
    """Deletes softly: the name is free, connectors are refused; one that is deleted already answers the same. Live connections
    end by `cascade=true`, or by the account's setting `delete_disconnects`; private routes go with it only by `cascade=true`."""
    account = visible_account(ctx, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        tunnel = tunnels.delete(
            write,
            account_id=account_id,
            tunnel_id=tunnel_id,
            cascade=truth(request.query_params, "cascade") is True,
            disconnects=accounts.deletes_disconnect(account, who.token.kind),
        )
    with ctx.store.reading() as session:
        return ok(shown(tunnel, state(session, tunnel)))


@router.get(PATH + "/{tunnel_id}/token")
@needs("tunnel.edit")
def get_token(account_id: AccountPath, tunnel_id: TunnelPath, ctx: Ctx, who: Who) -> Ok[ConnectorTokenText]:
    """The connector token."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id, "tunnel.edit")
    return ok(connector_token(tunnel, tunnels.open_secret(ctx.sealer, tunnel), ctx.found_by))


@router.get(PATH + "/{tunnel_id}/connections")
@needs("tunnel.read")
def list_connections(account_id: AccountPath, tunnel_id: TunnelPath, ctx: Ctx, who: Who) -> Ok[list[ConnectorShape]]:
    """The connectors with their connections, also those that were lost a moment ago."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        state = recent_state(session, tunnel, now=ctx.store.clock())
    return ok([shown_connector(connector, conns) for connector, conns in state.all_connectors])


@router.delete(
    PATH + "/{tunnel_id}/connections",
    openapi_extra=queries({"client_id": ("Only this connector's.", {"type": "string", "format": "uuid"})}),
)
@needs("tunnel.edit")
def delete_connections(
    account_id: AccountPath, tunnel_id: TunnelPath, request: Request, ctx: Ctx, who: Who
) -> Ok[dict[str, str]]:
    """Disconnects the tunnel's connectors, or the one of `client_id`."""
    visible_account(ctx, who, account_id, "tunnel.edit")
    client_id = request.query_params.get("client_id")
    with ctx.store.writing(who.actor) as write:
        tunnels.disconnect(
            write,
            account_id=account_id,
            tunnel_id=tunnel_id,
            connector_id=parse_connector_id(client_id) if client_id is not None else None,
        )
    return ok({})


@router.get(PATH + "/{tunnel_id}/connectors/{connector_id}")
@needs("tunnel.read")
def get_connector(
    account_id: AccountPath, tunnel_id: TunnelPath, connector_id: ConnectorPath, ctx: Ctx, who: Who
) -> Ok[ConnectorShape]:
    """One connected connector."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        connector, conns = tunnel_status.get_connector(session, tunnel, connector_id)
    return ok(shown_connector(connector, conns))


@router.get(
    "/accounts/{account_id}/tunnels",
    openapi_extra=queries({**FILTERS, "tun_types": "Kinds of tunnels, with commas or repeated."}),
)
@needs("tunnel.read")
def list_all_kinds(
    account_id: AccountPath, request: Request, ctx: Ctx, who: Who, page: AskedPage
) -> OkPage[TunnelShape]:
    """All kinds of tunnels, of which qanat has one, `cfd_tunnel`."""
    if not wants_ours(request.query_params):
        visible_account(ctx, who, account_id, "tunnel.read")
        return ok_page([], page, 0)
    return list_tunnels(account_id, request, ctx, who, page)


def wants_ours(query: QueryParams) -> bool:
    """Whether `tun_types`, where it is given, names the one kind of tunnel that there is."""
    kinds = [kind for text in query.getlist("tun_types") for kind in text.split(",")]
    return not kinds or "cfd_tunnel" in kinds


def shows_deleted(request: Request) -> bool:
    """Whether GET of what is deleted answers it, with `deleted_at`. Terraform's provider v5 never looks at that and would go
    on with an object that is gone; it drops one from its state on 404 alone, and plans to make it again."""
    return request.headers.get("x-stainless-lang", "").lower() != "terraform"


def parse_secret(text: str) -> bytes:
    """Standard base64. QanatError `tunnel_bad_secret`; the text itself is never repeated."""
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise QanatError(
            "tunnel_bad_secret",
            "not base64 with padding, of at least 32 characters",
            where="tunnel_secret",
            hint="leave it out, and a good one is made",
        ) from None
    tunnels.check_secret(secret)
    return secret


def _filters(query: QueryParams) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if (status := choice(query, "status", STATUSES)) is not None:
        filters.append(Tunnel.status == status)
    if (name := words(query, "name")) is not None:
        filters.append(Tunnel.name == name)
    if (tunnel_id := words(query, "uuid")) is not None:
        filters.append(Tunnel.id == tunnel_id.lower())
    if (deleted := truth(query, "is_deleted")) is not None:
        filters.append(Tunnel.deleted_at.is_not(None) if deleted else Tunnel.deleted_at.is_(None))
    if (text := query.get("existed_at")) is not None:
        filters.append(tunnels.existed_at(parse_time(text, where="existed_at")))
    if (text := query.get("was_active_at")) is not None:
        moment = parse_time(text, where="was_active_at")
        filters.append(Tunnel.conns_active_at <= moment)
        filters.append(or_(Tunnel.conns_inactive_at.is_(None), Tunnel.conns_inactive_at > moment))
    if (text := query.get("was_inactive_at")) is not None:
        moment = parse_time(text, where="was_inactive_at")
        filters.append(
            or_(Tunnel.conns_active_at.is_(None), Tunnel.conns_active_at > moment, Tunnel.conns_inactive_at <= moment)
        )
    for spelling in ("include_prefix", "name_prefix"):
        if (prefix := query.get(spelling)) is not None:
            filters.append(_starts_with(storable(prefix)) if prefix else false())
    filters.extend(~_starts_with(storable(prefix)) for prefix in query.getlist("exclude_prefix"))
    return filters


def _starts_with(prefix: str) -> ColumnElement[bool]:
    # LIKE ignores case on SQLite; names are case-sensitive.
    return func.substr(Tunnel.name, 1, len(prefix)) == prefix
