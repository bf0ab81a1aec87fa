"""A tunnel's mode: `replicas`, in which all nodes get requests, or `active-standby`, in which one does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.nodes import nodes
from qanat.store.database import Write
from qanat.store.models import Promotion, Tunnel, TunnelRole
from qanat.store.notices import Notice, NoticeKind

Mode = Literal["replicas", "active-standby"]
MODES: Final = ("replicas", "active-standby")
STANDBY: Final = "active-standby"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the active node is replaced without anybody asking. None: as it is, or the default of a tunnel that has none yet.

    `automatic`: at all. `follows_role`: the node whose role probe says active is promoted. `failover_after_s`: for so long the
    active must be gone. `hold_down_s`: for so long after a promotion an ill one isn't replaced. `max_promotions` in `per_s`: of
    automatic ones. `keeps_standby`: who was replaced at once isn't fenced."""

    automatic: bool | None = None
    follows_role: bool | None = None
    failover_after_s: float | None = None
    hold_down_s: float | None = None
    max_promotions: int | None = None
    per_s: float | None = None
    keeps_standby: bool | None = None


DEFAULTS: Final = {
    "automatic": False,
    "follows_role": False,
    "failover_after_s": 0.5,
    "hold_down_s": 300.0,
    "max_promotions": 3,
    "per_s": 3600.0,
    "keeps_standby": False,
}
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "failover_after_s": (0.1, 3600.0),
    "hold_down_s": (0.0, 86_400.0),
    "max_promotions": (1, 1000),
    "per_s": (1.0, 604_800.0),
}


def of(session: Session, tunnel_id: str) -> TunnelRole | None:
    """None: in mode `replicas` since ever."""
    return session.get(TunnelRole, tunnel_id)


def mode_of(role: TunnelRole | None) -> Mode:
    """In words."""
    return role.mode if role is not None else "replicas"  # type: ignore[return-value]


def put(write: Write, tunnel: Tunnel, *, mode: Mode, active: str | None, policy: Policy) -> TunnelRole:
    """Sets mode and policy. `active`: name or token id of the node that shall be active; not needed where that is plain. Who is
    active already is replaced by a promotion only.

    Raises:
        QanatError: `mode_bad_value`, `mode_active_missing`, `mode_active_set`, `node_unknown`, `node_stale`, `node_fenced`,
            `promotion_under_way`.
    """
    if mode not in MODES:
        raise _bad("mode", f"the mode is {' or '.join(MODES)}")
    check_policy({name: getattr(policy, name) for name in _BOUNDS})
    check_none_under_way(write.session, tunnel, write.session.get(TunnelRole, tunnel.id))
    role = write.session.get(TunnelRole, tunnel.id)
    if role is None:
        role = TunnelRole(
            tunnel_id=tunnel.id,
            mode="replicas",
            active_token_id=None,
            epoch=0,
            since=write.at,
            reason="",
            **DEFAULTS,
        )
        write.session.add(role)
    for name in DEFAULTS:
        value = getattr(policy, name)
        if value is not None:
            setattr(role, name, value)
    token_id = _active(write, tunnel, role, active) if mode == STANDBY else None
    if mode == "replicas" and active is not None:
        raise _bad("active", "in mode replicas all nodes are active")
    if (mode, token_id) != (role.mode, role.active_token_id):
        role.mode, role.active_token_id = mode, token_id
        role.epoch += 1
        role.since, role.reason = write.at, f"the mode was set to {mode}"
    write.audit(
        "tunnel.mode",
        tunnel.id,
        account_id=tunnel.account_id,
        detail={
            "mode": mode,
            "active": nodes.name_of(write.session, tunnel.id, token_id),
            "epoch": role.epoch,
            **{name: getattr(role, name) for name in DEFAULTS},
        },
    )
    write.notice(Notice(NoticeKind.TUNNEL, tunnel_id=tunnel.id, account_id=tunnel.account_id))
    return role


def check_policy(values: Mapping[str, Any]) -> None:
    """QanatError `mode_bad_value`, of a number out of its bounds. None is within."""
    for name, (least, most) in _BOUNDS.items():
        value = values[name]
        if value is not None and not least <= value <= most:
            raise _bad(name, f"{name} is from {least:g} to {most:g}")


def check_none_under_way(session: Session, tunnel: Tunnel, role: TunnelRole | None) -> None:
    """QanatError `promotion_under_way`, with the epoch."""
    found = under_way(session, tunnel.id)
    if found is not None:
        to = nodes.name_of(session, tunnel.id, found.to_token_id)
        raise QanatError(
            "promotion_under_way",
            f"the promotion {found.id} of the node {to!r} is under way ({found.state}); the epoch is "
            f"{role.epoch if role is not None else 0}",
            hint="wait until it has ended, or undo it",
        )


def under_way(session: Session, tunnel_id: str) -> Promotion | None:
    """The tunnel's promotion that hasn't ended yet."""
    query = select(Promotion).where(Promotion.tunnel_id == tunnel_id, Promotion.finished_at.is_(None))
    return session.scalar(query)


def _active(write: Write, tunnel: Tunnel, role: TunnelRole, wanted: str | None) -> str:
    session = write.session
    if role.mode == STANDBY and role.active_token_id is not None:
        if wanted is not None and nodes.find(session, tunnel, wanted).token_id != role.active_token_id:
            raise QanatError(
                "mode_active_set",
                f"the node {nodes.name_of(session, tunnel.id, role.active_token_id)!r} is active, since epoch {role.epoch}",
                where="active",
                hint="promote the other one: `qanat node promote`",
            )
        return role.active_token_id
    if wanted is not None:
        node = nodes.find(session, tunnel, wanted)
    else:
        connected = [each for each in nodes.every(session, tunnel) if each.connections and not each.is_fenced]
        if len(connected) != 1:
            names = ", ".join(each.name for each in connected) or "none"
            raise QanatError(
                "mode_active_missing",
                f"which node shall be active? Connected now: {names}",
                where="active",
                hint="name it: --active NODE",
            )
        node = connected[0]
    if node.is_over(write.at):
        raise QanatError(
            "node_stale", f"the connector token of the node {node.name!r} is revoked or expired", where="active"
        )
    if node.is_fenced:
        raise QanatError("node_fenced", f"the node {node.name!r} is fenced", where="active", hint="unfence it first")
    return node.token_id


def _bad(where: str, message: str) -> QanatError:
    return QanatError("mode_bad_value", message, where=where)
