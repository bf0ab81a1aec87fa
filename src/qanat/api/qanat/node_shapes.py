"""How nodes, modes and promotions are shown."""

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from qanat.api.http.context import Context
from qanat.api.http.envelope import rfc3339
from qanat.api.http.shapes import Shape
from qanat.api.v4.tunnel_shapes import CONNECTION, MOMENT
from qanat.control import connector_tokens
from qanat.nodes import mode, nodes
from qanat.nodes.mode import Policy
from qanat.nodes.nodes import Node
from qanat.nodes.promotion import LONGEST_HOLD_S, MOST_HELD
from qanat.store.models import Promotion, Tunnel, TunnelRole

Mode = Literal["replicas", "active-standby"]
NODE = Annotated[str, Field(examples=["web-1"])]


class ModeShape(Shape):
    """Which of a tunnel's nodes get requests, and how the active one is replaced without anybody asking."""

    mode: Mode
    active: Annotated[str | None, Field(examples=["web-1"], description="the active node; null in mode replicas")]
    epoch: Annotated[int, Field(examples=[7], description="of the active node; it only rises")]
    since: Annotated[str | None, Field(examples=[MOMENT])]
    reason: Annotated[str, Field(examples=["planned: by token 3f…"])]
    automatic: Annotated[bool, Field(description="an active that is gone or ill is replaced")]
    follows_role: Annotated[bool, Field(description="the node whose role probe says active is promoted")]
    failover_after_s: Annotated[float, Field(examples=[0.5], description="for so long the active must be gone")]
    hold_down_s: Annotated[
        float, Field(examples=[300.0], description="for so long after a promotion an ill one is not replaced")
    ]
    max_promotions: Annotated[int, Field(examples=[3], description="automatic ones, in `per_s` seconds")]
    per_s: Annotated[float, Field(examples=[3600.0])]
    keeps_standby: Annotated[bool, Field(description="an active that was replaced at once is not fenced")]


class NodeShape(Shape):
    """A node: the host that a connector token names, or `default`, the hosts with the tunnel's own token."""

    id: Annotated[
        str, Field(examples=[CONNECTION], description="the connector token's; `default` for the tunnel's own")
    ]
    name: NODE
    state: Annotated[
        Literal["active", "standby", "fenced"],
        Field(
            description="active: it gets requests, when it is connected. In mode replicas all are that aren't fenced"
        ),
    ]
    token: Annotated[Literal["active", "expired", "revoked"], Field(description="its connector token")]
    connections: Annotated[int, Field(examples=[4])]
    suspect: Annotated[int, Field(examples=[0], description="of these, those whose peer doesn't acknowledge")]
    open_requests: Annotated[int, Field(examples=[12], description="open on it now, WebSockets among them")]
    health: Annotated[Literal["healthy", "unhealthy", "unknown"], Field(description="of its origin")]
    health_reason: Annotated[str, Field(examples=["GET /up answered 503"])]
    health_since: Annotated[str | None, Field(examples=[MOMENT])]
    role: Annotated[Literal["active", "standby", "unknown"], Field(description="what its role probe said last")]
    role_detail: Annotated[str, Field(examples=["pg_is_in_recovery() is true"])]
    role_at: Annotated[str | None, Field(examples=[MOMENT])]
    fenced_at: Annotated[str | None, Field(examples=[None])]
    fenced_by: Annotated[str, Field(examples=[""], description="operator, node or promotion")]
    fenced_reason: Annotated[str, Field(examples=[""])]


class NodesShape(Shape):
    """A tunnel's mode and nodes."""

    mode: ModeShape
    nodes: list[NodeShape]


class StepShape(Shape):
    """When a promotion came to a state."""

    at: Annotated[str, Field(examples=[MOMENT])]
    state: Annotated[str, Field(examples=["flipped"])]
    text: Annotated[str, Field(examples=["epoch 8"])]


class PromotionShape(Shape):
    """A promotion, and how far it is."""

    id: Annotated[str, Field(examples=[CONNECTION])]
    kind: Literal["planned", "forced", "automatic"]
    # `from` is a word of Python's
    from_node: Annotated[str | None, Field(examples=["web-1"])]
    to_node: Annotated[str, Field(examples=["web-2"])]
    state: Annotated[
        Literal["wanted", "held", "draining", "before", "flipped", "after", "released", "undone"],
        Field(description="`before` and `after` wait for `advance`; over is what is released or undone"),
    ]
    epoch: Annotated[int | None, Field(examples=[8], description="which it made; null before")]
    reason: Annotated[str, Field(examples=["new disk"])]
    undo_reason: Annotated[str, Field(examples=[""])]
    step_error: Annotated[str, Field(examples=[""], description="what the caller said of a command that failed")]
    held: Annotated[int, Field(examples=[12], description="requests that waited")]
    cut: Annotated[int, Field(examples=[0], description="requests that were still open on the old node, and ended")]
    started_at: Annotated[str, Field(examples=[MOMENT])]
    finished_at: Annotated[str | None, Field(examples=[MOMENT])]
    timeline: list[StepShape]


class ModePut(BaseModel):
    """A mode, and what of its settings shall change."""

    model_config = ConfigDict(strict=True)

    mode: Mode
    active: str | None = Field(default=None, description="the node that shall be active, where that isn't plain")
    automatic: bool | None = None
    follows_role: bool | None = None
    failover_after_s: float | None = None
    hold_down_s: float | None = None
    max_promotions: int | None = None
    per_s: float | None = None
    keeps_standby: bool | None = None

    def policy(self) -> Policy:
        """The settings among it."""
        return Policy(**self.model_dump(exclude={"mode", "active"}))


class PromotionAsked(BaseModel):
    """How a node shall be promoted."""

    model_config = ConfigDict(strict=True)

    force: bool = Field(
        default=False, description="at once: nothing is held, what is open on the old node is cut, and it is fenced"
    )
    reason: str = Field(default="", max_length=300)
    epoch: int | None = Field(default=None, description="what the caller takes for the epoch; another one is refused")
    hold_s: float = Field(
        default=LONGEST_HOLD_S, description=f"requests wait so long at most, all in all; up to {LONGEST_HOLD_S:g}"
    )
    drain_s: float = Field(default=10.0, description="of this: for what is open on the old node; then it is cut")
    most_held: int = Field(default=1000, description=f"more requests than these are answered 503; up to {MOST_HELD}")
    before: bool = Field(default=False, description="waits, drained and before the flip, for `advance`")
    after: bool = Field(default=False, description="waits, after the flip and before requests go on, for `advance`")


class FenceAsked(BaseModel):
    """Why."""

    model_config = ConfigDict(strict=True)

    reason: str = Field(default="", max_length=300)


class Advanced(BaseModel):
    """What came of the caller's commands."""

    model_config = ConfigDict(strict=True)

    state: Literal["before", "after"]
    error: str = Field(default="", max_length=500, description="not empty: they failed. Before the flip that undoes it")


def shown_mode(session: Session, tunnel: Tunnel, role: TunnelRole | None) -> ModeShape:
    """For answers."""
    policy = mode.DEFAULTS if role is None else {name: getattr(role, name) for name in mode.DEFAULTS}
    return cast(
        ModeShape,
        {
            "mode": mode.mode_of(role),
            "active": nodes.name_of(session, tunnel.id, role.active_token_id) if role is not None else None,
            "epoch": role.epoch if role is not None else 0,
            "since": rfc3339(role.since) if role is not None else None,
            "reason": role.reason if role is not None else "",
            **policy,
        },
    )


def shown_node(ctx: Context, node: Node, role: TunnelRole | None) -> NodeShape:
    """For answers, as the running edge sees it."""
    facts = ctx.live.node(node.tunnel_id, node.token_id)
    state = node.state
    is_active = mode.mode_of(role) == "replicas" or (role is not None and role.active_token_id == node.token_id)
    at = ctx.store.clock()
    return {
        "id": node.token_id or nodes.DEFAULT,
        "name": node.name,
        "state": "fenced" if node.is_fenced else "active" if is_active else "standby",
        "token": connector_tokens.status_of(node.token, at) if node.token is not None else "active",
        "connections": facts.connections,
        "suspect": facts.suspect,
        "open_requests": facts.open_requests,
        "health": facts.health,
        "health_reason": facts.why,
        "health_since": rfc3339(facts.since),
        "role": node.role,
        "role_detail": state.role_detail if state is not None else "",
        "role_at": rfc3339(state.role_at) if state is not None else None,
        "fenced_at": rfc3339(state.fenced_at) if state is not None else None,
        "fenced_by": state.fenced_by if state is not None else "",
        "fenced_reason": state.fenced_reason if state is not None else "",
    }


def shown_promotion(session: Session, row: Promotion) -> PromotionShape:
    """For answers."""
    return cast(
        PromotionShape,
        {
            "id": row.id,
            "kind": row.kind,
            "from_node": nodes.name_of(session, row.tunnel_id, row.from_token_id),
            "to_node": nodes.name_of(session, row.tunnel_id, row.to_token_id),
            "state": row.state,
            "epoch": row.epoch,
            "reason": row.reason,
            "undo_reason": row.undo_reason,
            "step_error": row.step_error,
            "held": row.held,
            "cut": row.cut,
            "started_at": rfc3339(row.started_at),
            "finished_at": rfc3339(row.finished_at),
            "timeline": cast(Any, row.timeline),
        },
    )
