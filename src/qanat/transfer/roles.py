"""Modes, active nodes, epochs and fences of a document's tunnels.

A document is a view of the past: somebody may have been promoted since. So an import never makes anybody active where a tunnel
has had a mode: who is active here stays active, at the epoch that is in force here, and only a promotion changes that. A tunnel
that never had one gets the document's active node, one epoch later than any that the document's server has seen. Fences are only
ever added."""

from datetime import datetime
from typing import Any

from sqlalchemy import select

from qanat.errors import QanatError
from qanat.nodes import nodes
from qanat.nodes.mode import STANDBY, check_policy, under_way
from qanat.store.models import ConnectorToken, NodeState, Tunnel, TunnelRole
from qanat.transfer.document import FencePart, ModePart, TunnelPart
from qanat.transfer.run import Run, put

MOST_REASON = 1000
POLICY = (
    "automatic",
    "follows_role",
    "failover_after_s",
    "hold_down_s",
    "max_promotions",
    "per_s",
    "keeps_standby",
)


def write(run: Run, part: TunnelPart) -> None:
    """Of one tunnel, whose connector tokens are written. QanatError: `mode_bad_value`, `import_conflict`."""
    if part.mode is None and not part.fences:
        return
    session = run.write.session
    tunnel = session.get_one(Tunnel, part.id)
    row = session.get(TunnelRole, part.id)
    if part.mode is not None:
        row = _mode(run, tunnel, part, part.mode, row)
    for fence in part.fences:
        _fence(run, tunnel, fence, row)


def _mode(run: Run, tunnel: Tunnel, part: TunnelPart, mode: ModePart, row: TunnelRole | None) -> TunnelRole:
    policy = {name: getattr(mode, name) for name in POLICY}
    check_policy(policy)
    if not 0 <= mode.epoch < 2**31 - 1 or (mode.mode == STANDBY) != (mode.active_token_id is not None):
        raise QanatError("import_conflict", "its mode names no active node, or one where all are, or no epoch")
    if row is not None:
        return _kept(run, tunnel, mode, row, policy)
    told = f"{mode.mode}, epoch {mode.epoch + 1}"
    if mode.active_token_id is not None:
        name = _node_name(run, tunnel, mode.active_token_id)
        if any(fence.token_id == mode.active_token_id for fence in part.fences):
            raise QanatError("import_conflict", f"its active node {name!r} is fenced in the file")
        told += f"; the node {name!r} is active, as it was at {run.document.exported_at.isoformat()}"
    values: dict[str, Any] = {
        **policy,
        "mode": mode.mode,
        "active_token_id": mode.active_token_id,
        "epoch": mode.epoch + 1,
        "since": run.write.at,
        "reason": f"imported from the account {run.document.account.id}",
    }
    row = TunnelRole(tunnel_id=tunnel.id, **values)
    run.write.session.add(row)
    run.write.session.flush()
    run.step("mode", tunnel.id, tunnel.name, "create", told)
    return row


def _kept(run: Run, tunnel: Tunnel, mode: ModePart, row: TunnelRole, policy: dict[str, Any]) -> TunnelRole:
    """Who is active here stays it."""
    promotion = under_way(run.write.session, tunnel.id)
    if promotion is not None:
        raise QanatError("import_conflict", f"its promotion {promotion.id} is under way ({promotion.state})")
    reason = None
    if (row.mode, row.active_token_id) != (mode.mode, mode.active_token_id):
        here = nodes.name_of(run.write.session, tunnel.id, row.active_token_id)
        active = f", the node {here!r} active" if here is not None else ""
        reason = f"it stays in mode {row.mode}{active}, since epoch {row.epoch} here"
    run.step("mode", tunnel.id, tunnel.name, "change" if put(row, policy) else "same", reason)
    return row


def _fence(run: Run, tunnel: Tunnel, part: FencePart, role: TunnelRole | None) -> None:
    name = f"{tunnel.name}: {_node_name(run, tunnel, part.token_id)}"
    if part.by not in ("operator", "node", "promotion") or len(part.reason) > MOST_REASON:
        raise QanatError("import_conflict", f"the fence of {name} is by nobody, or for a very long reason")
    state = run.write.session.get(NodeState, (tunnel.id, part.token_id))
    if state is not None and state.fenced_at is not None:
        run.step("fence", part.token_id or tunnel.id, name, "same")
        return
    if role is not None and role.active_token_id == part.token_id:
        run.step("fence", part.token_id or tunnel.id, name, "same", "it is the active node here, and isn't fenced")
        return
    state = nodes.state_of(run.write, tunnel.id, part.token_id)
    put(state, {"fenced_at": part.at, "fenced_by": part.by, "fenced_reason": part.reason})
    run.write.session.flush()
    run.step("fence", part.token_id or tunnel.id, name, "create")


def _node_name(run: Run, tunnel: Tunnel, token_id: str) -> str:
    """QanatError `import_conflict`: no good token of the tunnel names that node."""
    if token_id == "":
        return nodes.DEFAULT
    at: datetime = run.write.at
    query = select(ConnectorToken).where(ConnectorToken.id == token_id, ConnectorToken.tunnel_id == tunnel.id)
    token = run.write.session.scalar(query)
    if token is None or token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= at):
        raise QanatError(
            "import_conflict", f"the connector token {token_id} of one of its nodes is unknown, revoked or expired here"
        )
    return token.name
