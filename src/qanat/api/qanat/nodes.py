"""`/accounts/{account_id}/qanat/tunnels/{tunnel_id}/nodes` and `…/mode`: which nodes a tunnel has, and which get requests."""

from sqlalchemy.orm import Session

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.paths import AccountPath, TunnelPath
from qanat.api.http.routes import resource
from qanat.api.qanat.node_shapes import (
    FenceAsked,
    ModePut,
    ModeShape,
    NodeShape,
    NodesShape,
    PromotionAsked,
    PromotionShape,
    shown_mode,
    shown_node,
    shown_promotion,
)
from qanat.control.principal import Principal
from qanat.control.visibility import visible_tunnel
from qanat.nodes import mode, nodes, promotion
from qanat.store import Actor
from qanat.store.models import Tunnel

PATH = "/accounts/{account_id}/qanat/tunnels/{tunnel_id}"
router = resource(prefix=PATH, tags=["qanat"])


@router.get("/mode")
@needs("tunnel.read")
def get_mode(account_id: AccountPath, tunnel_id: TunnelPath, ctx: Ctx, who: Who) -> Ok[ModeShape]:
    """The tunnel's mode, its active node and epoch."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        return ok(shown_mode(session, tunnel, mode.of(session, tunnel.id)))


@router.put("/mode")
@needs("tunnel.edit")
def put_mode(account_id: AccountPath, tunnel_id: TunnelPath, body: ModePut, ctx: Ctx, who: Who) -> Ok[ModeShape]:
    """Sets the mode; settings that are left out stay. In mode active-standby one node gets requests: who it is changes by a
    promotion only."""
    tunnel = _tunnel(ctx, who, account_id, tunnel_id)
    with ctx.store.writing(who.actor) as write:
        role = mode.put(write, tunnel, mode=body.mode, active=body.active, policy=body.policy())
    with ctx.store.reading() as session:
        return ok(shown_mode(session, tunnel, role))


@router.get("/nodes")
@needs("tunnel.read")
def list_nodes(account_id: AccountPath, tunnel_id: TunnelPath, ctx: Ctx, who: Who) -> Ok[NodesShape]:
    """The tunnel's nodes, and its mode."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        return ok(shown_nodes(ctx, session, tunnel))


@router.get("/nodes/{node}")
@needs("tunnel.read")
def get_node(account_id: AccountPath, tunnel_id: TunnelPath, node: str, ctx: Ctx, who: Who) -> Ok[NodeShape]:
    """One node, by its name or its connector token's id."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        return ok(shown_node(ctx, nodes.find(session, tunnel, node), mode.of(session, tunnel.id)))


@router.post("/nodes/{node}/promote")
@needs("tunnel.edit")
def promote_node(
    account_id: AccountPath, tunnel_id: TunnelPath, node: str, body: PromotionAsked, ctx: Ctx, who: Who
) -> Ok[PromotionShape]:
    """Makes the node the active one. Answered when the promotion has begun; `…/promotions/{id}` says how far it is.
    Refused with the reason: an unknown, fenced, unreached or ill node, one whose role probe says standby, and a second promotion
    at once."""
    tunnel = _tunnel(ctx, who, account_id, tunnel_id)
    with ctx.store.reading() as session:
        found = nodes.find(session, tunnel, node)
    return ok(wanted(ctx, who.actor, tunnel, found.token_id, body))


@router.post("/nodes/{node}/drain")
@needs("tunnel.edit")
def drain_node(
    account_id: AccountPath, tunnel_id: TunnelPath, node: str, body: FenceAsked, ctx: Ctx, who: Who
) -> Ok[NodeShape]:
    """The node gets no new requests from the answer on; what is open on it ends by itself. The active node isn't drained: promote
    another one."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id, "tunnel.edit")
        found = nodes.find(session, tunnel, node)
    return ok(fenced(ctx, who.actor, tunnel, found.token_id, by="operator", reason=body.reason or "drained", cut=False))


@router.post("/nodes/{node}/fence")
@needs("tunnel.edit")
def fence_node(
    account_id: AccountPath, tunnel_id: TunnelPath, node: str, body: FenceAsked, ctx: Ctx, who: Who
) -> Ok[NodeShape]:
    """The node gets no requests from the answer on, and what is open on it is cut."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id, "tunnel.edit")
        found = nodes.find(session, tunnel, node)
    return ok(fenced(ctx, who.actor, tunnel, found.token_id, by="operator", reason=body.reason or "fenced", cut=True))


@router.post("/nodes/{node}/unfence")
@needs("tunnel.edit")
def unfence_node(account_id: AccountPath, tunnel_id: TunnelPath, node: str, ctx: Ctx, who: Who) -> Ok[NodeShape]:
    """The node may get requests again: in mode replicas it does, else it is a standby that may be promoted."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id, "tunnel.edit")
        found = nodes.find(session, tunnel, node)
    return ok(unfenced(ctx, who.actor, tunnel, found.token_id, by="operator"))


def wanted(ctx: Context, actor: Actor, tunnel: Tunnel, token_id: str, asked: PromotionAsked) -> PromotionShape:
    """A promotion that has begun."""
    facts = ctx.live.node(tunnel.id, token_id)
    with ctx.store.writing(actor) as write:
        row = promotion.want(
            write,
            tunnel,
            nodes.get(write.session, tunnel, token_id),
            facts,
            kind="forced" if asked.force else "planned",
            reason=asked.reason or f"by {actor.kind} {actor.name}",
            expected_epoch=asked.epoch,
            hold_s=asked.hold_s,
            drain_s=asked.drain_s,
            most_held=asked.most_held,
            has_before=asked.before,
            has_after=asked.after,
        )
    with ctx.store.reading() as session:
        return shown_promotion(session, promotion.get(session, tunnel, row.id))


def fenced(
    ctx: Context, actor: Actor, tunnel: Tunnel, token_id: str, *, by: nodes.FencedBy, reason: str, cut: bool
) -> NodeShape:
    """A node that gets nothing any more. `cut`: nor does what is open on it go on."""
    with ctx.store.writing(actor) as write:
        nodes.fence(write, tunnel, nodes.get(write.session, tunnel, token_id), by=by, reason=reason)
    if cut:
        ctx.live.cut(tunnel.id, token_id)
    return _one(ctx, tunnel, token_id)


def unfenced(ctx: Context, actor: Actor, tunnel: Tunnel, token_id: str, *, by: nodes.FencedBy) -> NodeShape:
    """A node that may get requests again."""
    with ctx.store.writing(actor) as write:
        nodes.unfence(write, tunnel, nodes.get(write.session, tunnel, token_id), by=by)
    return _one(ctx, tunnel, token_id)


def shown_nodes(ctx: Context, session: Session, tunnel: Tunnel) -> NodesShape:
    """All of them."""
    role = mode.of(session, tunnel.id)
    return {
        "mode": shown_mode(session, tunnel, role),
        "nodes": [shown_node(ctx, node, role) for node in nodes.every(session, tunnel)],
    }


def _one(ctx: Context, tunnel: Tunnel, token_id: str) -> NodeShape:
    with ctx.store.reading() as session:
        return shown_node(ctx, nodes.get(session, tunnel, token_id), mode.of(session, tunnel.id))


def _tunnel(ctx: Context, who: Principal, account_id: str, tunnel_id: str) -> Tunnel:
    with ctx.store.reading() as session:
        return visible_tunnel(session, who, account_id, tunnel_id, "tunnel.edit")
