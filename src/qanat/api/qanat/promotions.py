"""`/accounts/{account_id}/qanat/tunnels/{tunnel_id}/promotions`: how far a promotion is, its paused steps, and earlier ones."""

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath, PromotionPath, TunnelPath
from qanat.api.http.routes import resource
from qanat.api.qanat.node_shapes import Advanced, FenceAsked, PromotionShape, shown_promotion
from qanat.api.qanat.nodes import PATH
from qanat.control.visibility import visible_tunnel
from qanat.nodes import promotion
from qanat.store import Actor
from qanat.store.models import Tunnel

router = resource(prefix=PATH + "/promotions", tags=["qanat"])


@router.get("")
@needs("tunnel.read")
def list_promotions(
    account_id: AccountPath, tunnel_id: TunnelPath, ctx: Ctx, who: Who, page: AskedPage
) -> OkPage[PromotionShape]:
    """The tunnel's promotions, newest first."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        rows, total = promotion.page(session, tunnel.id, offset=page.offset, limit=page.per_page)
        return ok_page([shown_promotion(session, row) for row in rows], page, total)


@router.get("/{promotion_id}")
@needs("tunnel.read")
def get_promotion(
    account_id: AccountPath, tunnel_id: TunnelPath, promotion_id: PromotionPath, ctx: Ctx, who: Who
) -> Ok[PromotionShape]:
    """One promotion, and how far it is."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        return ok(shown_promotion(session, promotion.get(session, tunnel, promotion_id)))


@router.post("/{promotion_id}/advance")
@needs("tunnel.edit")
def advance_promotion(
    account_id: AccountPath, tunnel_id: TunnelPath, promotion_id: PromotionPath, body: Advanced, ctx: Ctx, who: Who
) -> Ok[PromotionShape]:
    """Ends a paused step. One that nobody ends is over with the time for which requests are held: `before` undoes the
    promotion then."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id, "tunnel.edit")
    return ok(advanced(ctx, who.actor, tunnel, promotion_id, body))


@router.post("/{promotion_id}/undo")
@needs("tunnel.edit")
def undo_promotion(
    account_id: AccountPath, tunnel_id: TunnelPath, promotion_id: PromotionPath, body: FenceAsked, ctx: Ctx, who: Who
) -> Ok[PromotionShape]:
    """Undoes a promotion that hasn't flipped yet."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id, "tunnel.edit")
    return ok(undone(ctx, who.actor, tunnel, promotion_id, body.reason))


def advanced(ctx: Context, actor: Actor, tunnel: Tunnel, promotion_id: str, body: Advanced) -> PromotionShape:
    """A step that is over."""
    with ctx.store.writing(actor) as write:
        row = promotion.get(write.session, tunnel, promotion_id)
        promotion.advance(write, row, state=body.state, error=body.error)
    return _again(ctx, tunnel, promotion_id)


def undone(ctx: Context, actor: Actor, tunnel: Tunnel, promotion_id: str, reason: str) -> PromotionShape:
    """One that shall be undone."""
    with ctx.store.writing(actor) as write:
        row = promotion.get(write.session, tunnel, promotion_id)
        promotion.ask_undo(write, row, reason or f"by {actor.kind} {actor.name}")
    return _again(ctx, tunnel, promotion_id)


def _again(ctx: Context, tunnel: Tunnel, promotion_id: str) -> PromotionShape:
    with ctx.store.reading() as session:
        return shown_promotion(session, promotion.get(session, tunnel, promotion_id))
