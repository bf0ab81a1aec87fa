"""Cutovers as they are kept: begun, moved on, paused, taken back, each step one write with its audit row.

Who moves a cutover on names the `version` that it looked at: a step that was decided on what is no longer so is not taken."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from secrets import token_hex
from typing import Any

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from qanat.control import tunnels
from qanat.cutover import records, weights
from qanat.cutover.gates import Gate
from qanat.cutover.machine import ACTIVE, MOVED, State
from qanat.cutover.plan import Plan, read, written
from qanat.cutover.records import Place
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.models import Cutover, Tunnel
from qanat.store.notices import Notice, NoticeKind
from qanat.store.reach import Reach
from qanat.store.versions import row_version

MOST_ENTRIES = 500
MOST_KEPT = 200
"""Of one account; older ones that are over are forgotten."""
CHARACTERS = 16


def plan_of(row: Cutover) -> Plan:
    """As it was asked for."""
    return read(row.plan)


def share_of(row: Cutover) -> int:
    """Of the hostnames' requests that go to the target, in percent."""
    if row.state == State.MOVING:
        return plan_of(row).steps[row.step]
    return 100 if row.state in (State.SETTLING, State.DONE, State.BROKEN) else 0


def shares_of(row: Cutover) -> list[records.Share]:
    """The weights that the cutover has set: none but during its steps."""
    return _shares(row, share_of(row)) if row.state == State.MOVING else []


def changed(session: Session, row: Cutover) -> dict[str, str]:
    """What others changed of the hostnames meanwhile (`records.changed`)."""
    return records.changed(session, row.records, shares_of(row))


def ready(session: Session, account_id: str, plan: Plan, *, reach: Reach) -> tuple[Tunnel, Tunnel, list[Place]]:
    """The source, the target and the places of a plan, if nothing stands in its way.

    Raises:
        QanatError: `tunnel_unknown`, and as `records.places`; `cutover_under_way`; `cutover_bad_plan`: the tunnel that is left
            has other hostnames, whose WebSockets would be cut too.
    """
    source = _tunnel(session, account_id, plan.from_tunnel, "from_tunnel", deleted=True)
    target = _tunnel(session, account_id, plan.to_tunnel, "to_tunnel")
    _check_free(session, account_id, plan.hostnames)
    found = records.places(session, account_id, plan.hostnames, source.id, reach=reach)
    others = records.others(session, source.id, plan.hostnames) if plan.websockets == "cut" else []
    if others:
        raise QanatError(
            "cutover_bad_plan",
            f"{source.name} also serves {', '.join(others[:5])}, whose WebSockets would be cut as well",
            where="websockets",
            hint="let them stay, or move all of its hostnames",
        )
    return source, target, found


def version_of(session: Session, account_id: str, places: Sequence[Place]) -> str:
    """A name for what a cutover of these hostnames would begin with: other records or another cutover, other name."""
    last = dict.fromkeys((place.hostname for place in places), "")
    for row in _of_account(session, account_id):
        last.update({hostname: f"{row.id} {row.version}" for hostname in row.hostnames if hostname in last})
    values = repr([(place.hostname, row_version(place.record), last[place.hostname]) for place in places])
    return sha256(values.encode()).hexdigest()[:CHARACTERS]


def begin(
    write: Write, *, account_id: str, plan: Plan, reach: Reach, asked_by: str, base_version: str | None = None
) -> Cutover:
    """A cutover to be checked and moved by the edge. `base_version`: what a plan named, which must hold still.

    Raises:
        QanatError: as `ready`; `cutover_stale`, the message has the version now.
    """
    source, target, places = ready(write.session, account_id, plan, reach=reach)
    version = version_of(write.session, account_id, places)
    if base_version is not None and base_version != version:
        raise QanatError(
            "cutover_stale",
            f"the hostnames were changed, or cut over, since this was planned: their version is {version} now",
            where="base_version",
            hint="plan again, and look at it",
        )
    kept = {place.hostname: records.kept(place) for place in places}
    row = new(
        write,
        State.CHECKING,
        plan,
        kept,
        account_id=account_id,
        between=(source.id, target.id),
        asked_by=asked_by,
        base_version=version,
    )
    add(write, row, "begin", f"{', '.join(plan.hostnames[:5])}: from {source.name} to {target.name}")
    return row


def new(
    write: Write,
    state: State,
    plan: Plan,
    kept: Mapping[str, Any],
    *,
    account_id: str,
    between: tuple[str, str],
    asked_by: str,
    base_version: str = "",
    gates: Sequence[Gate] = (),
    baseline: Mapping[str, Any] | None = None,
) -> Cutover:
    """A row to be added. `kept`: each hostname's record as it is to be restored; `between`: the ids of source and target."""
    return Cutover(
        id=token_hex(16),
        account_id=account_id,
        from_tunnel_id=between[0],
        to_tunnel_id=between[1],
        hostnames=list(plan.hostnames),
        plan=written(plan),
        state=state,
        step=0,
        is_paused=False,
        is_resumed=False,
        since=write.at,
        version=0,
        why="",
        base_version=base_version,
        records=dict(kept),
        gates=msgspec.to_builtins(list(gates)),
        baseline=baseline,
        timeline=[],
        asked_by=asked_by,
        created_at=write.at,
        finished_at=None,
    )


def add(write: Write, row: Cutover, event: str, says: str) -> None:
    """A new row, in the state that it has."""
    write.session.add(row)
    _forget_old(write.session, row.account_id)
    _enter(write, row, event, State(row.state), says)


def get(session: Session, account_id: str, cutover_id: str) -> Cutover:
    """QanatError `cutover_unknown`."""
    row = session.get(Cutover, cutover_id) if cutover_id.isalnum() else None
    if row is None or row.account_id != account_id:
        raise QanatError("cutover_unknown", "no such cutover", where="cutover_id")
    return row


def page(
    session: Session,
    account_id: str,
    *,
    offset: int,
    limit: int,
    reach: Reach,
    hostname: str | None = None,
    is_active: bool = False,
) -> tuple[list[Cutover], int]:
    """Newest first, and how many match in all. `reach`: the zones that are seen, all of a cutover's."""
    rows = [
        row
        for row in reversed(_of_account(session, account_id))
        if (hostname is None or hostname in row.hostnames)
        and not (is_active and row.state not in ACTIVE)
        and all(reach.has_zone(one["zone_id"], account_id) for one in row.records.values())
    ]
    return rows[offset : offset + limit], len(rows)


def under_way(session: Session) -> list[str]:
    """The ids of those that aren't over, in all accounts."""
    query = select(Cutover.id).where(Cutover.state.in_(ACTIVE)).order_by(Cutover.created_at, Cutover.id)
    return list(session.scalars(query))


def at_version(session: Session, cutover_id: str, version: int) -> Cutover | None:
    """One that is under way and was changed by nobody since."""
    row = session.get(Cutover, cutover_id)
    return row if row is not None and row.version == version and row.state in ACTIVE else None


# ------------------------------------------------------------ steps, in the order of a cutover


def refuse(write: Write, row: Cutover, gates: Sequence[Gate], why: str) -> None:
    """A gate is shut: nothing was moved."""
    row.gates = msgspec.to_builtins(list(gates))
    _enter(write, row, "refuse", State.REFUSED, why)


def hold(write: Write, row: Cutover, gates: Sequence[Gate]) -> None:
    """The gates are open, and new requests are about to wait."""
    row.gates = msgspec.to_builtins(list(gates))
    _enter(write, row, "hold", State.HOLDING, "the gates are open; new requests wait")


def shift(write: Write, row: Cutover, step: int, why: str, numbers: Mapping[str, Any] | None = None) -> None:
    """The target gets its share of this step."""
    plan = plan_of(row)
    share = plan.steps[step]
    for hostname, one in row.records.items():
        weights.put(write, one["zone_id"], hostname, _shares(row, share), plan.sticky)
    row.step = step
    _enter(write, row, "shift", State.MOVING, f"{share} % go to the target: {why}", numbers)


def repoint(write: Write, row: Cutover, why: str, numbers: Mapping[str, Any] | None = None) -> None:
    """All requests to the target: the records themselves are repointed."""
    row.records = records.repoint(write, row.records, row.to_tunnel_id, action="record.cutover")
    row.step = len(plan_of(row).steps) - 1
    _enter(write, row, "repoint", State.SETTLING, f"all requests go to the target: {why}", numbers)


def finish(write: Write, row: Cutover, why: str, numbers: Mapping[str, Any] | None = None) -> None:
    """It is done: nobody watches any more."""
    _enter(write, row, "finish", State.DONE, why, numbers)


def report(write: Write, row: Cutover, why: str, numbers: Mapping[str, Any] | None = None) -> None:
    """It is broken, and stays where it is: the record is kept elsewhere."""
    _enter(write, row, "broken", State.BROKEN, why, numbers)


def roll_back(
    write: Write, row: Cutover, why: str, numbers: Mapping[str, Any] | None = None, *, asked: bool = False
) -> None:
    """The records as they were before, exactly. `asked`: by a person; a cutover that is done can go back, too.

    Raises:
        QanatError: `cutover_over`: there is nothing to take back; `cutover_changed`: others changed the records since;
            `tunnel_unknown`: the old tunnel is gone.
    """
    if row.state not in (*ACTIVE, State.DONE, State.BROKEN):
        raise QanatError("cutover_over", f"the cutover is {row.state.replace('_', ' ')}: there is nothing to take back")
    moved = row.state in (*MOVED, State.DONE, State.BROKEN)
    if moved:
        _tunnel(write.session, row.account_id, row.from_tunnel_id, "from_tunnel")
        others = changed(write.session, row)
        if others:
            raise _changed_error(others)
        row.records = records.restore(write, row.records, action="record.rollback")
    _enter(write, row, "rollback_asked" if asked else "rollback", State.ROLLED_BACK, why, numbers)


def stop(write: Write, row: Cutover, why: str) -> None:
    """Somebody changed a record meanwhile: what is still the cutover's goes back to what it was, the rest stays as it is."""
    others = changed(write.session, row)
    own = {hostname: one for hostname, one in row.records.items() if hostname not in others}
    for hostname in others:
        zone_id = row.records[hostname]["zone_id"]
        if sorted(weights.read(write.session, zone_id, hostname)) == sorted(shares_of(row)):
            weights.clear(write, zone_id, hostname)
    left = ""
    if own and row.state in MOVED:
        try:
            _tunnel(write.session, row.account_id, row.from_tunnel_id, "from_tunnel")
        except QanatError:
            left = "; the old tunnel is deleted, so that the others stay where they are"
        else:
            row.records = {**row.records, **records.restore(write, own, action="record.rollback")}
            left = f"; {', '.join(sorted(own)[:5])} went back"
    _enter(write, row, "stop", State.STOPPED, f"{why}{left}")


def note(write: Write, row: Cutover, event: str, says: str, numbers: Mapping[str, Any] | None = None) -> None:
    """A line in the timeline; the cutover stays where it is."""
    _tell(row, write.at, event, says, numbers)
    row.version += 1
    _audit(write, row, event, says)


def pause(write: Write, row: Cutover) -> None:
    """No further step; it is watched, and rolled back, all the same. QanatError `cutover_over`."""
    _check_active(row)
    row.is_paused = True
    note(write, row, "pause", "no further step until it is resumed")
    _notify(write, row)


def resume(write: Write, row: Cutover) -> None:
    """On with it: what was paused goes on, what is held is moved. QanatError `cutover_over`."""
    _check_active(row)
    row.is_paused = False
    row.is_resumed = row.state == State.HOLDING
    note(write, row, "resume", "on with it")
    _notify(write, row)


# ------------------------------------------------------------ within


def _shares(row: Cutover, share: int) -> list[records.Share]:
    return [(row.from_tunnel_id, 100 - share), (row.to_tunnel_id, share)]


def _enter(
    write: Write, row: Cutover, event: str, state: State, says: str, numbers: Mapping[str, Any] | None = None
) -> None:
    row.state = state
    row.since = write.at
    row.why = says
    row.version += 1
    if state not in ACTIVE:
        row.finished_at = write.at
        row.is_paused = False
    _tell(row, write.at, event, says, numbers)
    _audit(write, row, event, says)
    _notify(write, row)


def _tell(row: Cutover, at: datetime, event: str, says: str, numbers: Mapping[str, Any] | None) -> None:
    entry: dict[str, Any] = {"at": at.isoformat(), "event": event, "state": str(row.state), "says": says}
    if numbers:
        entry["numbers"] = dict(numbers)
    row.timeline = [*row.timeline[-MOST_ENTRIES + 1 :], entry]


def _audit(write: Write, row: Cutover, event: str, says: str) -> None:
    detail = {
        "state": str(row.state),
        "step": row.step,
        "from": row.from_tunnel_id,
        "to": row.to_tunnel_id,
        "hostnames": row.hostnames,
        "says": says,
        "asked_by": row.asked_by,
    }
    write.audit(f"cutover.{event}", row.id, account_id=row.account_id, detail=detail)


def _notify(write: Write, row: Cutover) -> None:
    write.notice(Notice(NoticeKind.CUTOVER, account_id=row.account_id))


def _of_account(session: Session, account_id: str) -> list[Cutover]:
    query = select(Cutover).where(Cutover.account_id == account_id).order_by(Cutover.created_at, Cutover.id)
    return list(session.scalars(query))


def _check_free(session: Session, account_id: str, hostnames: Sequence[str]) -> None:
    query = select(Cutover).where(Cutover.account_id == account_id, Cutover.state.in_(ACTIVE))
    for row in session.scalars(query):
        shared = sorted(set(hostnames) & set(row.hostnames))
        if shared and plan_of(row).watch is None:  # what is only watched ends by itself when its record changes
            raise QanatError(
                "cutover_under_way",
                f"{', '.join(shared[:5])} is being cut over by {row.id}, at version {row.version} and {row.state}",
                where="hostnames",
                hint="wait for it, or roll it back",
            )


def _check_active(row: Cutover) -> None:
    if row.state not in ACTIVE:
        raise QanatError("cutover_over", f"the cutover is {row.state.replace('_', ' ')}")


def _changed_error(others: Mapping[str, str]) -> QanatError:
    told = "; ".join(f"{hostname} {what}" for hostname, what in list(others.items())[:5])
    return QanatError(
        "cutover_changed",
        f"the records aren't as the cutover left them: {told}",
        hint="change them by hand, or cut over again",
    )


def _tunnel(session: Session, account_id: str, tunnel_id: str, where: str, *, deleted: bool = False) -> Tunnel:
    try:
        return tunnels.get(session, account_id, tunnel_id, deleted=deleted)
    except QanatError as error:
        raise QanatError(error.code, error.message, where=where, hint=error.hint) from None


def _forget_old(session: Session, account_id: str) -> None:
    over = (Cutover.account_id == account_id, Cutover.state.not_in(ACTIVE))
    count = session.scalar(select(func.count()).select_from(Cutover).where(*over)) or 0
    if count > MOST_KEPT:
        oldest = select(Cutover.id).where(*over).order_by(Cutover.created_at, Cutover.id).limit(count - MOST_KEPT)
        session.execute(delete(Cutover).where(Cutover.id.in_(oldest)))
