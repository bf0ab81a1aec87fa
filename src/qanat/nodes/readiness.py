"""Whether a node may be promoted now, and why not. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from qanat.errors import QanatError
from qanat.nodes.nodes import Node

HealthState = Literal["healthy", "unhealthy", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How a node is, as the running edge sees it. `suspect`: of its connections, those whose peer doesn't acknowledge
    what is sent. `health`: of its origin, by probes and by what its requests met; `unknown` where nothing tells."""

    connections: int
    suspect: int = 0
    open_requests: int = 0
    health: HealthState = "unknown"
    why: str = ""
    since: datetime | None = None

    @property
    def usable(self) -> int:
        """Connections that requests would go to."""
        return max(0, self.connections - self.suspect)


def check_ready(node: Node, facts: Facts, at: datetime, *, force: bool = False) -> None:
    """Whether requests may be led to the node. `force` passes over an ill origin: it may be the only one there is. Nothing passes
    over a fence, a role probe that says standby, a token that is over, or a node that nobody reaches.

    Raises:
        QanatError: `node_stale`, `node_fenced`, `node_unready`.
    """
    if node.is_over(at):
        raise QanatError(
            "node_stale",
            f"the connector token of the node {node.name!r} is revoked or expired",
            where="node",
            hint="make a new one for that host",
        )
    if node.is_fenced and node.state is not None:
        raise QanatError(
            "node_fenced",
            f"the node {node.name!r} is fenced: {node.state.fenced_reason}",
            where="node",
            hint="see that the host is fit to serve, then `qanat node unfence`",
        )
    if facts.usable == 0:
        reason = "none of its connections answers" if facts.connections else "it has no connections"
        raise _unready(node, reason, "start its connector, or see what keeps it from the edge")
    if node.role == "standby":
        detail = node.state.role_detail if node.state is not None else ""
        raise _unready(
            node, f"its role probe says standby{': ' + detail if detail else ''}", "promote what it probes first"
        )
    if facts.health == "unhealthy" and not force:
        raise _unready(node, f"its origin is ill: {facts.why}", "mend it, or promote it with force all the same")


def _unready(node: Node, reason: str, hint: str) -> QanatError:
    return QanatError("node_unready", f"the node {node.name!r} can't be promoted: {reason}", where="node", hint=hint)
