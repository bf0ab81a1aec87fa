"""The nodes of a tunnel. One is what a connector token names; the tunnel's own token is the node `default`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.control import connector_tokens
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.models import Connection, ConnectorToken, NodeState, Tunnel, TunnelRole
from qanat.store.notices import Notice, NoticeKind

DEFAULT: Final = "default"
"""How the node of the tunnel's own token is named, whose token id is ""."""
LONGEST_DETAIL = 200

Role = Literal["active", "standby", "unknown"]
FencedBy = Literal["operator", "node", "promotion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node. `token`: None for the tunnel's own. `connections`: registered and not draining."""

    tunnel_id: str
    token_id: str
    name: str
    token: ConnectorToken | None
    state: NodeState | None
    connections: int

    @property
    def is_fenced(self) -> bool:
        """Whether it gets no requests, whatever the mode."""
        return self.state is not None and self.state.fenced_at is not None

    @property
    def role(self) -> Role:
        """What its role probe said last; `unknown` without one."""
        return self.state.role if self.state is not None else "unknown"  # type: ignore[return-value]

    def is_over(self, at: datetime) -> bool:
        """Whether its token lets nobody in any more."""
        return self.token is not None and connector_tokens.status_of(self.token, at) != "active"


def every(session: Session, tunnel: Tunnel) -> list[Node]:
    """In order of their tokens' age, the tunnel's own first. That one is left out where only named tokens are used; revoked ones
    are unless they are connected or active."""
    states = {
        each.token_id: each for each in session.scalars(select(NodeState).where(NodeState.tunnel_id == tunnel.id))
    }
    role = session.get(TunnelRole, tunnel.id)
    active = role.active_token_id if role is not None else None
    query = select(Connection.token_id).where(
        Connection.tunnel_id == tunnel.id, Connection.lost_at.is_(None), Connection.draining_at.is_(None)
    )
    live: dict[str, int] = {}
    for token_id in session.scalars(query):
        live[token_id] = live.get(token_id, 0) + 1

    def node(token_id: str, name: str, token: ConnectorToken | None) -> Node:
        return Node(
            tunnel_id=tunnel.id,
            token_id=token_id,
            name=name,
            token=token,
            state=states.get(token_id),
            connections=live.get(token_id, 0),
        )

    tokens = connector_tokens.every(session, tunnel.id)
    tokens.sort(key=lambda each: (each.created_at, each.id))
    shown = [each for each in tokens if each.revoked_at is None or each.id == active or each.id in live]
    fenced = "" in states and states[""].fenced_at is not None
    own = [node("", DEFAULT, None)] if "" in live or active == "" or fenced or not shown else []
    return own + [node(each.id, each.name, each) for each in shown]


def find(session: Session, tunnel: Tunnel, name_or_id: str) -> Node:
    """By name or token id. A revoked token's is found by its id.

    Raises:
        QanatError: `node_unknown`.
    """
    for token in connector_tokens.every(session, tunnel.id):
        if token.id == name_or_id or (token.name == name_or_id and token.revoked_at is None):
            return _node(session, tunnel, token)
    if name_or_id == DEFAULT:
        return _node(session, tunnel, None)
    raise QanatError(
        "node_unknown",
        f"the tunnel has no node {name_or_id[:100]!r}",
        where="node",
        hint="a node is what a connector token names; see `qanat node list`",
    )


def get(session: Session, tunnel: Tunnel, token_id: str) -> Node:
    """By its token id, "" for the tunnel's own. QanatError `node_unknown`."""
    return find(session, tunnel, token_id) if token_id else _node(session, tunnel, None)


def _node(session: Session, tunnel: Tunnel, token: ConnectorToken | None) -> Node:
    token_id = token.id if token is not None else ""
    query = select(func.count()).where(
        Connection.tunnel_id == tunnel.id,
        Connection.token_id == token_id,
        Connection.lost_at.is_(None),
        Connection.draining_at.is_(None),
    )
    return Node(
        tunnel_id=tunnel.id,
        token_id=token_id,
        name=token.name if token is not None else DEFAULT,
        token=token,
        state=session.get(NodeState, (tunnel.id, token_id)),
        connections=session.scalar(query.select_from(Connection)) or 0,
    )


def name_of(session: Session, tunnel_id: str, token_id: str | None) -> str | None:
    """For people; also of a token that is forgotten."""
    if token_id is None:
        return None
    if token_id == "":
        return DEFAULT
    token = session.get(ConnectorToken, token_id)
    return token.name if token is not None and token.tunnel_id == tunnel_id else token_id


def state_of(write: Write, tunnel_id: str, token_id: str) -> NodeState:
    """The node's row, made where there is none."""
    state = write.session.get(NodeState, (tunnel_id, token_id))
    if state is None:
        state = NodeState(
            tunnel_id=tunnel_id,
            token_id=token_id,
            fenced_at=None,
            fenced_by="",
            fenced_reason="",
            role="unknown",
            role_at=None,
            role_detail="",
        )
        write.session.add(state)
    return state


def fence(write: Write, tunnel: Tunnel, node: Node, *, by: FencedBy, reason: str) -> NodeState:
    """From the answer on it gets no request, in either mode. The active one can't be fenced: somebody must serve. A fenced one
    again keeps who did it first.

    Raises:
        QanatError: `node_active`.
    """
    role = write.session.get(TunnelRole, tunnel.id)
    if role is not None and role.active_token_id == node.token_id:
        raise QanatError(
            "node_active",
            f"the node {node.name!r} is the active one",
            where="node",
            hint="promote another node first (with force, it is cut off at once), or set the mode `replicas`",
        )
    state = state_of(write, tunnel.id, node.token_id)
    if state.fenced_at is None:
        state.fenced_at = write.at
        state.fenced_by = by
        state.fenced_reason = reason
    _told(write, tunnel, node, "node.fence", by=by, reason=reason)
    return state


def unfence(write: Write, tunnel: Tunnel, node: Node, *, by: FencedBy) -> NodeState:
    """In mode `replicas` it gets requests again, else it is a standby. From the host itself (`node`) only what was fenced from
    there: a host that was replaced doesn't let itself in again. One that isn't fenced is no error.

    Raises:
        QanatError: `node_fenced`: it may not do that itself.
    """
    state = state_of(write, tunnel.id, node.token_id)
    if by == "node" and state.fenced_at is not None and state.fenced_by != "node":
        raise QanatError(
            "node_fenced",
            f"the node was fenced by {_WHO[state.fenced_by]}: {state.fenced_reason}",
            where="node",
            hint="unfence it with an API token",
        )
    state.fenced_at, state.fenced_by, state.fenced_reason = None, "", ""
    _told(write, tunnel, node, "node.unfence", by=by)
    return state


_WHO = {"operator": "an operator", "promotion": "a promotion", "node": "itself"}


def told_role(write: Write, tunnel_id: str, token_id: str, *, role: Role, detail: str) -> None:
    """What a node's role probe says. For `Store.recording`."""
    state = state_of(write, tunnel_id, token_id)
    state.role, state.role_at, state.role_detail = role, write.at, detail[:LONGEST_DETAIL]


def _told(write: Write, tunnel: Tunnel, node: Node, action: str, **more: object) -> None:
    detail = {"tunnel_id": tunnel.id, "node": node.name, **more}
    write.audit(action, node.token_id or tunnel.id, account_id=tunnel.account_id, detail=detail)
    write.notice(Notice(NoticeKind.TUNNEL, tunnel_id=tunnel.id, account_id=tunnel.account_id))
