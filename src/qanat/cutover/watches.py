"""Records that other hands repointed (Terraform, an SDK) are watched afterwards as a cutover's are: as a row of its own for each
hostname, in the history of cutovers, that begins when the move is made.

Nothing of it holds anybody up: another change of the record, or a cutover of it, ends it. What is broken is told, and taken back
only where the setting says so: whoever keeps the record elsewhere (a Terraform state) would find it changed."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy.orm import Session

from qanat.control.record_changes import FORMED
from qanat.cutover import cutovers
from qanat.cutover.edge import CutoverEdge
from qanat.cutover.gates import Gate, learnt
from qanat.cutover.machine import State
from qanat.cutover.plan import Check, Plan
from qanat.cutover.watching import patiences, took_s
from qanat.store import Actor, Store
from qanat.store.database import Write
from qanat.store.models import Record
from qanat.store.versions import row_version

Watch = Literal["report", "rollback", "off"]
BASELINE = timedelta(seconds=60)
MOST = 24
"""Of one request's moves: those that were asked by requests."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A move that was made. `before`: the record's fields until then; `gate`: what both tunnels answered."""

    account_id: str
    zone_id: str
    record_id: str
    hostname: str
    from_tunnel: str
    to_tunnel: str
    before: dict[str, Any]
    gate: Gate
    check: Check


def note(session: Session, record_id: str) -> dict[str, Any]:
    """A record's fields, before it changes."""
    record = session.get_one(Record, record_id)
    return {name: getattr(record, name) for name in FORMED}


def begin(store: Store, edge: CutoverEdge, actor: Actor, moves: Sequence[Moved], *, watch: Watch) -> None:
    """After the write that made these moves."""
    if watch == "off" or not moves:
        return
    baselines = {move.hostname: _baseline(store, edge, move) for move in moves[:MOST]}
    with store.writing(actor) as write:
        begun = [_begin(write, move, baselines[move.hostname], watch, actor) for move in moves[:MOST]]
        if not any(begun):
            write.idle()


def _begin(write: Write, move: Moved, baseline: Mapping[str, Any], watch: Watch, actor: Actor) -> bool:
    """Unless the record is another one again."""
    record = write.session.get(Record, move.record_id)
    if record is None or record.tunnel_id != move.to_tunnel or record.name != move.hostname:
        return False
    plan = Plan(
        from_tunnel=move.from_tunnel,
        to_tunnel=move.to_tunnel,
        hostnames=(move.hostname,),
        check=move.check,
        watch="rollback" if watch == "rollback" else "report",
    )
    kept = {
        "zone_id": move.zone_id,
        "record_id": move.record_id,
        "version": row_version(record),
        "before": move.before,
    }
    row = cutovers.new(
        write,
        State.SETTLING,
        plan,
        {move.hostname: kept},
        account_id=move.account_id,
        between=(move.from_tunnel, move.to_tunnel),
        asked_by=f"{actor.kind} {actor.name}",
        gates=[move.gate],
        baseline=baseline,
    )
    cutovers.add(write, row, "watch", f"its record was repointed from {move.from_tunnel} to {move.to_tunnel}")
    return True


def _baseline(store: Store, edge: CutoverEdge, move: Moved) -> dict[str, Any]:
    gates = msgspec.to_builtins([move.gate])
    patience = patiences([move.hostname], lambda _: move.check, learnt(gates), took_s(gates))
    since = store.clock() - BASELINE
    counts = edge.counts(
        hostname=move.hostname, tunnel_id=move.from_tunnel, since=since, long_s=patience[move.hostname]
    )
    return {move.hostname: msgspec.to_builtins(counts)}
