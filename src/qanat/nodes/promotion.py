"""A promotion: the active node is replaced by another one. A row says how far it is; each step is one write.

Planned:           wanted → held → draining → (before) → flipped → (after) → released
Forced, automatic: wanted → flipped → released

Until `flipped` whatever fails, also a control plane that dies, leads to `undone`, and nothing has changed. From `flipped` on
the new node is the active one, and whatever fails leads to `released`.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import uuid4

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.nodes import mode, nodes
from qanat.nodes.readiness import Facts, check_ready
from qanat.store.database import Write
from qanat.store.models import Promotion, Tunnel, TunnelRole
from qanat.store.notices import Notice, NoticeKind

Kind = Literal["planned", "forced", "automatic"]
State = Literal["wanted", "held", "draining", "before", "flipped", "after", "released", "undone"]

PAUSES: Final = ("before", "after")
"""States in which the caller's commands run; `advance` ends them."""
BEFORE_FLIP: Final = ("wanted", "held", "draining", "before")
AFTER_FLIP: Final = ("flipped", "after")
OVER: Final = ("released", "undone")
_MAY_FOLLOW: Final[dict[str, Collection[str]]] = {
    "wanted": ("held", "flipped", "undone"),
    "held": ("draining", "undone"),
    "draining": ("before", "flipped", "undone"),
    "before": ("flipped", "undone"),
    "flipped": ("after", "released"),
    "after": ("released",),
}

LONGEST_HOLD_S = 30.0
MOST_HELD = 10_000
KEPT = 100
"""Promotions of one tunnel that are remembered."""
LONGEST_TEXT = 500


def want(
    write: Write,
    tunnel: Tunnel,
    node: nodes.Node,
    facts: Facts,
    *,
    kind: Kind,
    reason: str,
    expected_epoch: int | None = None,
    hold_s: float = LONGEST_HOLD_S,
    drain_s: float = 10.0,
    most_held: int = 1000,
    has_before: bool = False,
    has_after: bool = False,
) -> Promotion:
    """Notes that a node shall be promoted; whoever runs promotions hears of it. `expected_epoch`: what the caller takes for the
    epoch. Of a planned one: requests are held for `hold_s` in all, at most `most_held`; of these `drain_s` are for what is open.

    Raises:
        QanatError: `tunnel_not_standby`, `promotion_under_way`, `promotion_stale`, `node_active`, what `check_ready` raises,
            `promotion_bad_value`.
    """
    role = _standby(write.session, tunnel)
    mode.check_none_under_way(write.session, tunnel, role)
    if expected_epoch is not None and expected_epoch != role.epoch:
        raise QanatError(
            "promotion_stale",
            f"the epoch is {role.epoch}, and {expected_epoch} was expected: another promotion came first",
            where="epoch",
            hint="look at `qanat node list`, and decide anew",
        )
    if role.active_token_id == node.token_id:
        raise QanatError("node_active", f"the node {node.name!r} is active since epoch {role.epoch}", where="node")
    check_ready(node, facts, write.at, force=kind == "forced")
    if not 0.0 < hold_s <= LONGEST_HOLD_S:
        raise _bad("hold_s", f"requests are held for at most {LONGEST_HOLD_S:g} s")
    if not 0.0 <= drain_s <= hold_s:
        raise _bad("drain_s", "what is open is waited for within the time that requests are held")
    if not 0 <= most_held <= MOST_HELD:
        raise _bad("most_held", f"at most {MOST_HELD} requests are held")
    row = Promotion(
        id=str(uuid4()),
        tunnel_id=tunnel.id,
        kind=kind,
        from_token_id=role.active_token_id,
        to_token_id=node.token_id,
        epoch_before=role.epoch,
        epoch=None,
        state="wanted",
        reason=reason[:LONGEST_TEXT],
        actor=f"{write.actor.kind} {write.actor.name}",
        hold_s=hold_s,
        drain_s=drain_s,
        most_held=most_held,
        has_before=has_before and kind == "planned",
        has_after=has_after and kind == "planned",
        step_done="",
        step_error="",
        undo_reason="",
        held=0,
        cut=0,
        timeline=[],
        started_at=write.at,
        finished_at=None,
    )
    _note(write, row, "wanted", reason)
    write.session.add(row)
    _forget_old(write.session, tunnel.id)
    write.audit(
        "node.promote",
        node.token_id or tunnel.id,
        account_id=tunnel.account_id,
        detail={"tunnel_id": tunnel.id, "promotion": row.id, "node": node.name, "kind": kind, "reason": row.reason},
    )
    _notice(write, tunnel)
    return row


def step(write: Write, row: Promotion, to: State, text: str = "") -> None:
    """The next state, but for those that `flip`, `finish` and `undo` make. For `Store.recording`."""
    _go(write, row, to, text)
    tunnel = write.session.get_one(Tunnel, row.tunnel_id)
    _notice(write, tunnel)


def flip(write: Write, row: Promotion) -> TunnelRole:
    """The new node is the active one, of a new epoch; all in this write. Who was replaced at once is fenced: it may be anywhere,
    with anything it hasn't told.

    Raises:
        QanatError: `promotion_stale`: the epoch is another one, or the tunnel's mode; `node_unknown`, `node_stale`,
        `node_fenced`,
            `node_unready`: since it was wanted the node has become unfit; `promotion_undone`: somebody asked for that.
    """
    session = write.session
    tunnel = session.get_one(Tunnel, row.tunnel_id)
    role = session.get(TunnelRole, row.tunnel_id)
    if row.undo_reason:
        raise QanatError("promotion_undone", row.undo_reason)
    if tunnel.deleted_at is not None or role is None or role.mode != mode.STANDBY or role.epoch != row.epoch_before:
        raise QanatError("promotion_stale", "the tunnel was deleted, or its mode or epoch has changed")
    node = nodes.get(session, tunnel, row.to_token_id)
    # whether it is reached and well was asked when it was wanted, and is the runner's to see; what rows say is asked again
    check_ready(node, Facts(connections=1), write.at)
    before = nodes.name_of(session, tunnel.id, role.active_token_id)
    if row.kind != "planned" and role.active_token_id is not None and not role.keeps_standby:
        state = nodes.state_of(write, tunnel.id, role.active_token_id)
        if state.fenced_at is None:
            state.fenced_at, state.fenced_by = write.at, "promotion"
            state.fenced_reason = f"{node.name!r} took its place in epoch {role.epoch + 1}: {row.reason}"[:LONGEST_TEXT]
    role.active_token_id = node.token_id
    role.epoch += 1
    role.since, role.reason = write.at, f"{row.kind}: {row.reason}"[:LONGEST_TEXT]
    row.epoch = role.epoch
    _go(write, row, "flipped", f"epoch {role.epoch}")
    write.audit(
        "node.promoted",
        node.token_id or tunnel.id,
        account_id=tunnel.account_id,
        detail={
            "tunnel_id": tunnel.id,
            "promotion": row.id,
            "from": before,
            "to": node.name,
            "epoch": role.epoch,
            "kind": row.kind,
        },
    )
    write.notice(Notice(NoticeKind.TUNNEL, tunnel_id=tunnel.id, account_id=tunnel.account_id))
    _notice(write, tunnel)
    return role


def finish(write: Write, row: Promotion, text: str = "", *, held: int = 0, cut: int = 0) -> None:
    """Done, and told so."""
    row.held, row.cut = held, cut
    _go(write, row, "released", text)
    _end(write, row, "node.promotion_released", held=held, cut=cut)


def undo(write: Write, row: Promotion, reason: str, *, held: int = 0) -> None:
    """Nothing has changed. QanatError `promotion_over`: it is flipped, or over."""
    if row.state not in BEFORE_FLIP:
        raise _over(row)
    row.held = held
    row.undo_reason = reason[:LONGEST_TEXT]
    _go(write, row, "undone", reason)
    _end(write, row, "node.promotion_undone", reason=row.undo_reason)


def ask_undo(write: Write, row: Promotion, reason: str) -> None:
    """Whoever runs it undoes it, unless it flips first.

    Raises:
        QanatError: `promotion_over`.
    """
    if row.state not in BEFORE_FLIP:
        raise _over(row)
    row.undo_reason = reason[:LONGEST_TEXT]
    tunnel = write.session.get_one(Tunnel, row.tunnel_id)
    write.audit("node.promotion_undo", row.id, account_id=tunnel.account_id, detail={"reason": row.undo_reason})
    _notice(write, tunnel)


def advance(write: Write, row: Promotion, *, state: str, error: str = "") -> None:
    """The caller's commands of a paused step have ended. `error`: with this; of `before` that undoes the promotion.

    Raises:
        QanatError: `promotion_over`: it isn't in that step (any more).
    """
    if row.state != state or state not in PAUSES:
        raise _over(row)
    row.step_done = state
    row.step_error = error[:LONGEST_TEXT]
    tunnel = write.session.get_one(Tunnel, row.tunnel_id)
    detail = {"state": state, **({"error": row.step_error} if error else {})}
    write.audit("node.promotion_advance", row.id, account_id=tunnel.account_id, detail=detail)
    _notice(write, tunnel)


def recover(write: Write, row: Promotion, reason: str) -> None:
    """Of one that nobody runs any more: undone where nothing has changed, finished where the new node is active already."""
    if row.state in BEFORE_FLIP:
        undo(write, row, reason)
    elif row.state in AFTER_FLIP:
        finish(write, row, reason)
    else:
        write.idle()


def unfinished(session: Session) -> list[str]:
    """The ids of all that are under way."""
    return list(session.scalars(select(Promotion.id).where(Promotion.finished_at.is_(None))))


def get(session: Session, tunnel: Tunnel, promotion_id: str) -> Promotion:
    """QanatError `promotion_unknown`."""
    row = session.get(Promotion, promotion_id)
    if row is None or row.tunnel_id != tunnel.id:
        raise QanatError("promotion_unknown", "the tunnel has no such promotion", where="promotion_id")
    return row


def page(session: Session, tunnel_id: str, *, offset: int, limit: int) -> tuple[list[Promotion], int]:
    """Newest first, and how many there are."""
    query = select(Promotion).where(Promotion.tunnel_id == tunnel_id)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    ordered = query.order_by(Promotion.started_at.desc(), Promotion.id)
    return list(session.scalars(ordered.offset(offset).limit(limit))), total


def automatic_since(session: Session, tunnel_id: str, moment: datetime) -> list[datetime]:
    """When automatic promotions flipped (or began), since a moment; oldest first."""
    query = select(Promotion.started_at).where(
        Promotion.tunnel_id == tunnel_id,
        Promotion.kind == "automatic",
        Promotion.state != "undone",
        Promotion.started_at > moment,
    )
    return list(session.scalars(query.order_by(Promotion.started_at)))


def _standby(session: Session, tunnel: Tunnel) -> TunnelRole:
    role = session.get(TunnelRole, tunnel.id)
    if role is None or role.mode != mode.STANDBY:
        raise QanatError(
            "tunnel_not_standby",
            "the tunnel is in mode replicas: all its nodes get requests",
            where="tunnel_id",
            hint="`qanat tunnel mode TUNNEL active-standby --active NODE`",
        )
    return role


def _go(write: Write, row: Promotion, to: State, text: str) -> None:
    if to not in _MAY_FOLLOW.get(row.state, ()):
        raise _over(row)
    row.state = to
    _note(write, row, to, text)


def _note(write: Write, row: Promotion, state: str, text: str) -> None:
    line = {"at": write.at.isoformat(timespec="milliseconds"), "state": state, "text": text[:LONGEST_TEXT]}
    row.timeline = [*row.timeline, line]


def _end(write: Write, row: Promotion, action: str, **more: object) -> None:
    row.finished_at = write.at
    tunnel = write.session.get_one(Tunnel, row.tunnel_id)
    write.audit(
        action, row.id, account_id=tunnel.account_id, detail={"tunnel_id": tunnel.id, "epoch": row.epoch, **more}
    )
    _notice(write, tunnel)


def _notice(write: Write, tunnel: Tunnel) -> None:
    write.notice(Notice(NoticeKind.PROMOTION, tunnel_id=tunnel.id, account_id=tunnel.account_id))


def _forget_old(session: Session, tunnel_id: str) -> None:
    old: Sequence[str] = session.scalars(
        select(Promotion.id)
        .where(Promotion.tunnel_id == tunnel_id, Promotion.finished_at.is_not(None))
        .order_by(Promotion.started_at.desc(), Promotion.id)
        .offset(KEPT - 1)
    ).all()
    if old:
        session.execute(delete(Promotion).where(Promotion.id.in_(old)))


def _over(row: Promotion) -> QanatError:
    return QanatError(
        "promotion_over",
        f"the promotion is {row.state}" + (f": {row.undo_reason}" if row.state == "undone" else ""),
        where="promotion_id",
    )


def _bad(where: str, message: str) -> QanatError:
    return QanatError("promotion_bad_value", message, where=where)
