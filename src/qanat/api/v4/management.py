"""`…/cfd_tunnel/{tunnel_id}/management`: tokens for `cloudflared tail` and diagnostics."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok, rfc3339
from qanat.api.http.paths import AccountPath, TunnelPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import JwtText
from qanat.api.v4.cfd_tunnel import PATH
from qanat.control.principal import Principal
from qanat.control.visibility import visible_tunnel

router = resource(tags=["cfd_tunnel"])


class ManagementAsked(BaseModel):
    """What the token shall be good for: some of `logs`, `admin`, `host_details`."""

    model_config = ConfigDict(strict=True)

    resources: list[str] = Field(examples=[["logs"]])


@router.post(PATH + "/{tunnel_id}/management")
@needs("tunnel.edit")
def create_token(
    account_id: AccountPath, tunnel_id: TunnelPath, body: ManagementAsked, ctx: Ctx, who: Who
) -> Ok[JwtText]:
    """A management token (JWT, ES256) for one hour."""
    return ok(_issued(ctx, who, account_id, tunnel_id, body.resources))


@router.post(PATH + "/{tunnel_id}/management/{resource}")
@needs("tunnel.edit")
def create_token_for(account_id: AccountPath, tunnel_id: TunnelPath, resource: str, ctx: Ctx, who: Who) -> Ok[JwtText]:
    """The same for one resource: `logs`, `admin` or `host_details`. This is the form that cloudflared calls."""
    return ok(_issued(ctx, who, account_id, tunnel_id, [resource]))


def _issued(ctx: Context, who: Principal, account_id: str, tunnel_id: str, resources: Sequence[str]) -> str:
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id, "tunnel.edit")
    token, expires_at = ctx.management.issue(
        tunnel_id=tunnel.id,
        account_id=tunnel.account_id,
        actor=who.actor.name,
        resources=resources,
        at=ctx.store.clock(),
    )
    with ctx.store.writing(who.actor) as write:
        write.audit(
            "tunnel.management_token",
            tunnel.id,
            account_id=tunnel.account_id,
            detail={"resources": list(resources), "expires_at": rfc3339(expires_at)},
        )
    return token
