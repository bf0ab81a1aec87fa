"""`/qanat/node`: a host asks about itself, by the connector token that it has (`Authorization: Bearer`). It may
promote, drain and fence itself, and nothing else."""

from typing import Annotated

from fastapi import Depends, Request

from qanat.api.http.context import Context, Ctx, open_to_all
from qanat.api.http.endpoint import Takes, takes
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.paths import PromotionPath
from qanat.api.http.routes import resource
from qanat.api.qanat.node_shapes import (
    Advanced,
    FenceAsked,
    NodeShape,
    NodesShape,
    PromotionAsked,
    PromotionShape,
    shown_node,
    shown_promotion,
)
from qanat.api.qanat.nodes import fenced, shown_nodes, unfenced, wanted
from qanat.api.qanat.promotions import advanced, undone
from qanat.auth.connectors import Host, verify_connector
from qanat.auth.tokens import token_hash
from qanat.errors import QanatError, RetryLaterError
from qanat.nodes import mode, nodes, promotion

router = resource(prefix="/qanat/node", tags=["qanat"])


def _host(request: Request, ctx: Ctx) -> Host:
    """Who asks; of bad credentials too many are told to wait, as everywhere (security.md S33)."""
    scheme, _, text = request.headers.get("authorization", "").strip().partition(" ")
    address = request.client.host if request.client is not None else ""
    if scheme.lower() != "bearer" or not text.strip():
        raise QanatError("credentials_missing", "Invalid request headers", hint="Missing Authorization header")
    try:
        return verify_connector(ctx.store, ctx.sealer, text.strip(), address=address)
    except QanatError as error:
        if error.code != "token_refused":
            raise
        ctx.failed_logins.note(address=address, way="connector")
        wait = ctx.guesses.failed(address=address, credentials=token_hash(text.strip()).hex())
        if wait is None:
            raise
    raise RetryLaterError("too_many_failures", "Too many failed authentication attempts", retry_after_s=wait)


Asking = Annotated[Host, Depends(_host)]
SMALL = Takes(max_bytes=4096)


@router.get("")
@open_to_all
def get_own_node(ctx: Ctx, host: Asking) -> Ok[NodeShape]:
    """The node that the token names."""
    with ctx.store.reading() as session:
        node = nodes.get(session, host.tunnel, host.token_id)
        return ok(shown_node(ctx, node, mode.of(session, host.tunnel.id)))


@router.get("/nodes")
@open_to_all
def list_own_nodes(ctx: Ctx, host: Asking) -> Ok[NodesShape]:
    """All nodes of its tunnel, and the mode: who is active, if not this host."""
    with ctx.store.reading() as session:
        return ok(shown_nodes(ctx, session, host.tunnel))


@router.post("/promote")
@open_to_all
@takes(SMALL)
def promote_own_node(body: PromotionAsked, ctx: Ctx, host: Asking) -> Ok[PromotionShape]:
    """Makes the host the active one, on the same terms as for anybody."""
    return ok(wanted(ctx, host.actor, host.tunnel, host.token_id, body))


@router.post("/drain")
@open_to_all
@takes(SMALL)
def drain_own_node(body: FenceAsked, ctx: Ctx, host: Asking) -> Ok[NodeShape]:
    """The host gets no new requests any more."""
    reason = body.reason or "drained by itself"
    return ok(fenced(ctx, host.actor, host.tunnel, host.token_id, by="node", reason=reason, cut=False))


@router.post("/fence")
@open_to_all
@takes(SMALL)
def fence_own_node(body: FenceAsked, ctx: Ctx, host: Asking) -> Ok[NodeShape]:
    """The host gets no requests any more, and what is open on it is cut."""
    reason = body.reason or "fenced by itself"
    return ok(fenced(ctx, host.actor, host.tunnel, host.token_id, by="node", reason=reason, cut=True))


@router.post("/unfence")
@open_to_all
@takes(SMALL)
def unfence_own_node(ctx: Ctx, host: Asking) -> Ok[NodeShape]:
    """The host takes back what it did itself. What an operator or a promotion has fenced needs an API token."""
    return ok(unfenced(ctx, host.actor, host.tunnel, host.token_id, by="node"))


@router.get("/promotions/{promotion_id}")
@open_to_all
def get_own_promotion(promotion_id: PromotionPath, ctx: Ctx, host: Asking) -> Ok[PromotionShape]:
    """A promotion of this host, and how far it is."""
    with ctx.store.reading() as session:
        row = promotion.get(session, host.tunnel, promotion_id)
        _is_own(host, row.to_token_id)
        return ok(shown_promotion(session, row))


@router.post("/promotions/{promotion_id}/advance")
@open_to_all
@takes(SMALL)
def advance_own_promotion(promotion_id: PromotionPath, body: Advanced, ctx: Ctx, host: Asking) -> Ok[PromotionShape]:
    """Ends a paused step of a promotion of this host."""
    _check_own(ctx, host, promotion_id)
    return ok(advanced(ctx, host.actor, host.tunnel, promotion_id, body))


@router.post("/promotions/{promotion_id}/undo")
@open_to_all
@takes(SMALL)
def undo_own_promotion(promotion_id: PromotionPath, body: FenceAsked, ctx: Ctx, host: Asking) -> Ok[PromotionShape]:
    """Undoes a promotion of this host that hasn't flipped yet."""
    _check_own(ctx, host, promotion_id)
    return ok(undone(ctx, host.actor, host.tunnel, promotion_id, body.reason))


def _check_own(ctx: Context, host: Host, promotion_id: str) -> None:
    with ctx.store.reading() as session:
        _is_own(host, promotion.get(session, host.tunnel, promotion_id).to_token_id)


def _is_own(host: Host, token_id: str) -> None:
    if token_id != host.token_id:
        raise QanatError("promotion_unknown", "the tunnel has no such promotion", where="promotion_id")
