"""What the store knows of a cutover's tunnels: nodes with their tokens, and the rule that takes a hostname."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.control import connector_tokens
from qanat.control.explain import Target, follow, rules_of
from qanat.control.tunnel_status import state
from qanat.cutover.gates import Node, RuleSeen
from qanat.cutover.plan import representative
from qanat.errors import QanatError
from qanat.ingress.verdicts import Asked
from qanat.store.models import NodeState, Tunnel, TunnelRole

OWN_TOKEN = ""
DEFAULT_NODE = "default"


def nodes(session: Session, tunnel: Tunnel, now: datetime) -> list[Node]:
    """The hosts of a tunnel: each of its good connector tokens, and those that hold connections although they are over."""
    connections: dict[str, int] = {}
    for _, live in state(session, tunnel).connectors:
        for connection in live:
            connections[connection.token_id] = connections.get(connection.token_id, 0) + 1
    active, fenced = active_node(session, tunnel.id), _fenced(session, tunnel.id)

    def serves(token_id: str) -> bool:
        return token_id not in fenced and active in (None, token_id)

    found = []
    if OWN_TOKEN in connections:
        held = connections[OWN_TOKEN]
        found.append(Node(token_id=OWN_TOKEN, name=DEFAULT_NODE, connections=held, serves=serves(OWN_TOKEN)))
    for token in connector_tokens.every(session, tunnel.id):
        status = connector_tokens.status_of(token, now)
        held = connections.get(token.id, 0)
        if status == "active":
            found.append(Node(token_id=token.id, name=token.name, connections=held, serves=serves(token.id)))
        elif held or not connections:
            found.append(Node(token_id=token.id, name=token.name, connections=held, wrong=f"is {status}"))
    return found


def active_node(session: Session, tunnel_id: str) -> str | None:
    """The token of the one node that gets requests in the mode active-standby, which alone is to be asked; None: all do."""
    role = session.get(TunnelRole, tunnel_id)
    return role.active_token_id if role is not None and role.mode == "active-standby" else None


def _fenced(session: Session, tunnel_id: str) -> set[str]:
    query = select(NodeState.token_id).where(NodeState.tunnel_id == tunnel_id, NodeState.fenced_at.is_not(None))
    return set(session.scalars(query))


def target_of(session: Session, tunnel: Tunnel) -> Target:
    """The tunnel with what its connectors go by."""
    return Target(tunnel, state(session, tunnel), rules_of(session, tunnel))


def rule_of(target: Target, hostname: str, path: str) -> RuleSeen:
    """The rule that takes the requests, by the same matching as `explain`. Patterns may take a second: no session is needed."""
    if target.tunnel.deleted_at is not None:
        return RuleSeen(index=None, why="the tunnel is deleted")
    if target.rules is None:
        why = "the connector is managed locally and did not tell its rules"
        return RuleSeen(index=None, why=why, is_known=False)
    try:
        explained = follow(target, Asked(representative(hostname), path.partition("?")[0]))
    except QanatError as error:
        return RuleSeen(index=None, why=str(error))
    if explained.rule is None:
        reason = (
            explained.ending.reason if explained.ending.outcome == "configuration_unreadable" else "there are no rules"
        )
        return RuleSeen(index=None, why=f"no rule takes it: {reason}")
    verdict = explained.rule.verdict
    return RuleSeen(index=verdict.index, hostname=verdict.rule.hostname, service=verdict.rule.service.text)
