"""Whether a record may be repointed: from a tunnel that serves its hostname to one that doesn't, only by who says so.

What is asked (connections, rules, a request through both tunnels) is asked before the write (`look`); within it, only what was
found is looked up. The first record of a hostname is never refused, nor one whose tunnel serves nobody."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import structlog
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.control import connections
from qanat.cutover import facts
from qanat.cutover.answers import Answer
from qanat.cutover.edge import CutoverEdge
from qanat.cutover.gates import Gate, Node, RuleSeen, request_gate, rule_gate
from qanat.cutover.plan import Check, Plan, representative
from qanat.cutover.watches import Moved, note
from qanat.dns.forms import RecordForm
from qanat.errors import QanatError
from qanat.health import checks
from qanat.store import Store, Write
from qanat.store.models import Record, Tunnel, Zone

Policy = Literal["enforce", "warn", "off"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
HEADER = "qanat-cutover-policy"
MOST_ASKED = 24
MOST_LOOKED_AT = 500
"""Moves of one write; of those beyond, the write itself counts connections."""
AT_ONCE = 8
ANSWER_S = 3.0

log = structlog.get_logger(__name__)


class Move(NamedTuple):
    """A hostname's requests from one tunnel to another."""

    hostname: str
    from_tunnel: str
    to_tunnel: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a move: whether it takes a hostname from a tunnel that serves it to one that doesn't, and why. `gate`:
    what both answered to `check`, where both were asked and all is well."""

    is_bad: bool
    why: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    gate: Gate | None = None
    check: Check | None = None


def parse_policy(text: str, *, where: str) -> Policy:
    """QanatError `policy_bad`."""
    for policy in POLICIES:
        if policy == text.strip().lower():
            return policy
    raise QanatError("policy_bad", f"{text[:40]!r} is none of {', '.join(POLICIES)}", where=where)


def foresee(session: Session, zone: Zone, changes: Iterable[tuple[str, Callable[[Record], RecordForm]]]) -> list[Move]:
    """The moves that changes of records (id → its new form) will be; one that can't be is told by the write in its turn."""
    found: dict[Move, None] = {}
    for record_id, form_of in changes:
        record = session.get(Record, record_id) if record_id.isalnum() else None
        if record is None or record.zone_id != zone.id or record.tunnel_id is None or not record.proxied:
            continue
        try:
            form = form_of(record)
        except QanatError:
            continue
        if (
            form.proxied
            and form.tunnel_id is not None
            and form.tunnel_id != record.tunnel_id
            and form.name == record.name
        ):
            found[Move(record.name, record.tunnel_id, form.tunnel_id)] = None
    return list(found)


def look(store: Store, edge: CutoverEdge | None, moves: Iterable[Move]) -> dict[Move, Finding]:
    """What is to be said of each move. The first ones are asked by a request through both tunnels; those beyond, and all where
    there is no edge to ask, are judged by connections and rules."""
    listed = list(moves)[:MOST_LOOKED_AT]
    if not listed:
        return {}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="qanat-repoint") as pool:
        asked = [
            pool.submit(_found, store, edge if number < MOST_ASKED else None, move)
            for number, move in enumerate(listed)
        ]
        return dict(zip(listed, (each.result() for each in asked), strict=True))


class Guard:
    """What a write of records or weights asks of each move (control/record_edit.py). `default`: of zones that have no policy of
    their own; `asked`: by the request's header, which wins; `where`: what of the request names the new tunnel."""

    def __init__(
        self, found: Mapping[Move, Finding], *, default: Policy, asked: Policy | None = None, where: str = "content"
    ) -> None:
        self._found = found
        self._default = default
        self._asked = asked
        self._where = where
        self.moved: list[Moved] = []
        """What was let through, and can be watched."""

    def __call__(self, write: Write, zone: Zone, hostname: str, from_tunnel: str, to_tunnel: str) -> None:
        """Before the record changes. QanatError `record_target_down`."""
        policy = self._asked or zone.cutover_policy or self._default
        if policy == "off":
            return
        move = Move(hostname, from_tunnel, to_tunnel)
        found = self._found.get(move) or _by_connections(write.session, move)
        if not found.is_bad:
            self._note(write.session, zone, move, found)
            return
        if policy == "warn":
            log.warning("a record is repointed to a tunnel that doesn't serve", hostname=hostname, reason=found.why)
            detail = {"hostname": hostname, "from": from_tunnel, "to": to_tunnel, "why": found.why}
            write.audit("record.repoint_warned", zone.id, account_id=zone.account_id, detail=detail)
            return
        raise QanatError(
            "record_target_down",
            f"{hostname} is served by the tunnel {from_tunnel}, and {to_tunnel} would not serve it: {found.why}",
            where=self._where,
            hint=f"bring the target up, use `qanat cutover`, or override it by the header {HEADER}: off",
        )

    def _note(self, session: Session, zone: Zone, move: Move, found: Finding) -> None:
        query = select(Record).where(Record.zone_id == zone.id, Record.name == move.hostname, Record.type == "CNAME")
        record = session.scalar(query.where(Record.tunnel_id == move.from_tunnel).limit(1))
        if record is None or found.gate is None or found.check is None:
            return  # made anew under another id, or nothing was asked
        self.moved.append(
            Moved(
                account_id=zone.account_id,
                zone_id=zone.id,
                record_id=record.id,
                hostname=move.hostname,
                from_tunnel=move.from_tunnel,
                to_tunnel=move.to_tunnel,
                before=note(session, record.id),
                gate=found.gate,
                check=found.check,
            )
        )


def _by_connections(session: Session, move: Move) -> Finding:
    """Of a move that nobody foresaw: what the write itself can see."""
    if not connections.count_live(session, move.from_tunnel) or connections.count_live(session, move.to_tunnel):
        return Finding(False)
    return Finding(True, "it has no connections")


def _found(store: Store, edge: CutoverEdge | None, move: Move) -> Finding:
    with store.reading() as session:
        now = store.clock()
        source, target = session.get(Tunnel, move.from_tunnel), session.get(Tunnel, move.to_tunnel)
        if source is None or target is None or source.deleted_at is not None or target.deleted_at is not None:
            return Finding(False)  # nothing to lose; or the write refuses it itself
        leaving = _usable(facts.nodes(session, source, now))
        if not leaving:
            return Finding(False)
        active = facts.active_node(session, source.id)
        coming = _usable(facts.nodes(session, target, now))
        way = facts.target_of(session, target)
        probe = checks.read(session, target.account_id).of(
            account_id=target.account_id, hostname=move.hostname, tunnel_id=target.id
        )
    check = Check(path=probe.path)
    evidence: dict[str, Any] = {
        "source": {"connections": sum(node.connections for node in leaving)},
        "target": {"connections": sum(node.connections for node in coming), "nodes": [node.name for node in coming]},
    }
    asked = representative(move.hostname)
    before = None
    if edge is not None:
        before = edge.ask(tunnel_id=source.id, token_id=active, hostname=asked, check=check, timeout_s=ANSWER_S)
        if not _serves(before):
            return Finding(False)
    if not coming:
        return Finding(True, f"{target.name} has no connections", evidence)
    rule = facts.rule_of(way, move.hostname, check.path)
    if edge is None or before is None:
        return _by_rule(move, target, rule, evidence)
    answers: dict[str, Answer] = {}
    for node in coming:
        why = edge.illness(tunnel_id=target.id, token_id=node.token_id, hostname=move.hostname)
        after = edge.ask(tunnel_id=target.id, token_id=node.token_id, hostname=asked, check=check, timeout_s=ANSWER_S)
        answers[node.name] = after
        evidence["target"][node.name] = after.told
        evidence["source"]["answer"] = before.told
        if not why and not _as_good(after, before):
            why = f"GET {check.path} is answered {after.told} there, and {before.told} by {source.name}"
        if why:
            told = f"; {rule_gate(move.hostname, rule).says}" if rule.index is not None else ""
            return Finding(True, f"{target.name} ({node.name}): {why}{told}", evidence)
    statuses = {answer.status for answer in answers.values()}
    if len(statuses) != 1:
        return Finding(False, "", evidence)  # its nodes aren't of one mind, and it can't be said what is right
    # it is watched for what it answers now, which need not be the source's answer
    check = replace(check, status=statuses.pop())
    plan = Plan(from_tunnel=source.id, to_tunnel=target.id, hostnames=(move.hostname,), check=check)
    return Finding(False, "", evidence, request_gate(plan, move.hostname, answers, before), check)


def _usable(nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if node.connections and not node.wrong and node.serves]


def _by_rule(move: Move, target: Tunnel, rule: RuleSeen, evidence: dict[str, Any]) -> Finding:
    gate = rule_gate(move.hostname, rule)
    evidence["rule"] = gate.says
    return Finding(gate.passed is False, f"{target.name}: {gate.says}", evidence)


def _serves(answer: Answer) -> bool:
    return answer.is_answered and answer.status < 500


def _as_good(after: Answer, before: Answer) -> bool:
    return after.is_answered and (after.status < 400 or after.status == before.status)
