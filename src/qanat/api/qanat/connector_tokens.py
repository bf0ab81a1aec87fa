"""`/qanat/tunnels/{tunnel_id}/connector-tokens`: named connector tokens, one a host, each rotated and revoked alone."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, parse_time, rfc3339
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import ConnectorTokenPath, TunnelPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.tunnel_shapes import CONNECTION, MOMENT, connector_token
from qanat.control import connector_tokens
from qanat.control.principal import Principal
from qanat.control.visibility import known_tunnel
from qanat.errors import QanatError
from qanat.store.models import ConnectorToken, Tunnel

router = resource(prefix="/qanat/tunnels/{tunnel_id}/connector-tokens", tags=["qanat"])


class TokenCreate(BaseModel):
    """A connector token to make."""

    model_config = ConfigDict(strict=True)

    name: str = Field(examples=["web-1"], description="unique among the tunnel's good tokens, such as the host's name")
    expires_at: str | None = Field(default=None, examples=["2027-01-31T00:00:00Z"])


class ConnectorTokenShape(Shape):
    """A connector token, without its text."""

    id: Annotated[str, Field(examples=[CONNECTION])]
    name: Annotated[str, Field(examples=["web-1"])]
    status: Literal["active", "expired", "revoked"]
    created_at: Annotated[str, Field(examples=[MOMENT])]
    expires_at: Annotated[str | None, Field(examples=["2027-01-31T00:00:00Z"])]
    revoked_at: Annotated[str | None, Field(examples=[None])]
    last_used_at: Annotated[str | None, Field(examples=[MOMENT])]
    last_used_from: Annotated[str | None, Field(examples=["192.0.2.7"])]
    connections: Annotated[int, Field(examples=[4], description="how many it holds now")]


class ShownConnectorTokenShape(ConnectorTokenShape):
    """A connector token with its text, which `tunnel run --token` takes."""

    token: Annotated[str, Field(examples=["eyJhIjoi…"])]


@router.get("")
@needs("tunnel.read")
def list_tokens(tunnel_id: TunnelPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[ConnectorTokenShape]:
    """The tunnel's named tokens in order of age, also those that are over."""
    with ctx.store.reading() as session:
        tunnel = known_tunnel(session, who, tunnel_id)
        rows, total = connector_tokens.page(session, tunnel.id, offset=page.offset, limit=page.per_page)
        live = connector_tokens.live_connections(session, rows)
    return ok_page([_shown(ctx, row, live.get(row.id, 0)) for row in rows], page, total)


@router.post("")
@needs("tunnel.edit")
def create_token(tunnel_id: TunnelPath, body: TokenCreate, ctx: Ctx, who: Who) -> Ok[ShownConnectorTokenShape]:
    """Makes a token; the answer holds it, and it can be asked for again."""
    tunnel = _tunnel(ctx, who, tunnel_id)
    with ctx.store.writing(who.actor) as write:
        made, tunnel = connector_tokens.create(
            write,
            ctx.sealer,
            account_id=tunnel.account_id,
            tunnel_id=tunnel.id,
            name=body.name,
            expires_at=parse_time(body.expires_at, where="expires_at") if body.expires_at is not None else None,
        )
    return ok({**_shown(ctx, made, 0), "token": _text(ctx, tunnel, made)})


@router.get("/{connector_token_id}")
@needs("tunnel.read")
def get_token(
    tunnel_id: TunnelPath, connector_token_id: ConnectorTokenPath, ctx: Ctx, who: Who
) -> Ok[ConnectorTokenShape]:
    """One token, without its text."""
    with ctx.store.reading() as session:
        tunnel = known_tunnel(session, who, tunnel_id)
        token = connector_tokens.get(session, tunnel.id, connector_token_id)
        live = connector_tokens.live_connections(session, [token])
    return ok(_shown(ctx, token, live.get(token.id, 0)))


@router.get("/{connector_token_id}/token")
@needs("tunnel.edit")
def show_token(
    tunnel_id: TunnelPath, connector_token_id: ConnectorTokenPath, ctx: Ctx, who: Who
) -> Ok[ShownConnectorTokenShape]:
    """The token again, with its text. One that is over is not shown."""
    with ctx.store.reading() as session:
        tunnel = known_tunnel(session, who, tunnel_id, "tunnel.edit", deleted=False)
        token = connector_tokens.get(session, tunnel.id, connector_token_id)
        live = connector_tokens.live_connections(session, [token])
    if connector_tokens.status_of(token, ctx.store.clock()) != "active":
        raise QanatError("connector_token_unknown", "the connector token is over", where="connector_token_id")
    return ok({**_shown(ctx, token, live.get(token.id, 0)), "token": _text(ctx, tunnel, token)})


@router.post("/{connector_token_id}/rotate")
@needs("tunnel.edit")
def rotate_token(
    tunnel_id: TunnelPath, connector_token_id: ConnectorTokenPath, ctx: Ctx, who: Who
) -> Ok[ShownConnectorTokenShape]:
    """A new secret under the same name: the old one is refused at once, its live connections end after a grace."""
    tunnel = _tunnel(ctx, who, tunnel_id)
    with ctx.store.writing(who.actor) as write:
        token, tunnel = connector_tokens.rotate(
            write, ctx.sealer, account_id=tunnel.account_id, tunnel_id=tunnel.id, token_id=connector_token_id
        )
    with ctx.store.reading() as session:
        live = connector_tokens.live_connections(session, [token])
    return ok({**_shown(ctx, token, live.get(token.id, 0)), "token": _text(ctx, tunnel, token)})


@router.delete("/{connector_token_id}")
@needs("tunnel.edit")
def revoke_token(
    tunnel_id: TunnelPath, connector_token_id: ConnectorTokenPath, ctx: Ctx, who: Who
) -> Ok[ConnectorTokenShape]:
    """Revokes it: its connections end, and it is never let in again. The row stays, for the record."""
    tunnel = _tunnel(ctx, who, tunnel_id)
    with ctx.store.writing(who.actor) as write:
        token = connector_tokens.revoke(
            write, account_id=tunnel.account_id, tunnel_id=tunnel.id, token_id=connector_token_id
        )
    return ok(_shown(ctx, token, 0))


def _tunnel(ctx: Context, who: Principal, tunnel_id: str) -> Tunnel:
    with ctx.store.reading() as session:
        return known_tunnel(session, who, tunnel_id, "tunnel.edit", deleted=False)


def _text(ctx: Context, tunnel: Tunnel, token: ConnectorToken) -> str:
    return connector_token(tunnel, connector_tokens.open_secret(ctx.sealer, token), ctx.found_by)


def _shown(ctx: Context, token: ConnectorToken, live: int) -> ConnectorTokenShape:
    return {
        "id": token.id,
        "name": token.name,
        "status": connector_tokens.status_of(token, ctx.store.clock()),
        "created_at": rfc3339(token.created_at),
        "expires_at": rfc3339(token.expires_at),
        "revoked_at": rfc3339(token.revoked_at),
        "last_used_at": rfc3339(token.last_used_at),
        "last_used_from": token.last_used_from,
        "connections": live,
    }
