"""The gates in front of a cutover: each a statement with its evidence as data. Pure: what was seen goes in, verdicts come out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from qanat.cutover.answers import Answer, judge
from qanat.cutover.plan import Plan


class Gate(Struct, frozen=True, kw_only=True):
    """One gate. `passed` None: it can't be asked here, or only informs; it keeps nothing shut. `says`: the verdict in a line.
    `evidence`: what was seen, as data."""

    name: str
    passed: bool | None
    says: str
    hostname: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


class Node(Struct, frozen=True, kw_only=True):
    """A host of a tunnel: its connector token ("" is the tunnel's own), how many usable connections it has, and what is wrong
    with the token ("" when nothing is)."""

    token_id: str
    name: str
    connections: int
    wrong: str = ""
    serves: bool = True


class RuleSeen(Struct, frozen=True, kw_only=True):
    """The rule that takes a hostname's requests at the tunnel; `index` None: none does, for `why`, or nobody told the rules
    (`is_known` is false)."""

    index: int | None
    hostname: str = ""
    service: str = ""
    why: str = ""
    is_known: bool = True


class CertificateSeen(Struct, frozen=True, kw_only=True):
    """What the edge shows for a hostname. `names`: those of the certificate."""

    names: list[str]
    not_after: datetime | None
    why: str = ""


def is_open(gates: Sequence[Gate]) -> bool:
    """Whether none keeps the cutover shut."""
    return all(gate.passed is not False for gate in gates)


def shut(gates: Sequence[Gate]) -> str:
    """What keeps it shut, in a line."""
    told = [f"{gate.name} of {gate.hostname or 'the target'}: {gate.says}" for gate in gates if gate.passed is False]
    return "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")


def connections_gate(plan: Plan, nodes: Sequence[Node]) -> Gate:
    """At least N connections from M nodes, of tokens that are good."""
    good = [node for node in nodes if node.connections and not node.wrong and node.serves]
    connections = sum(node.connections for node in good)
    passed = connections >= plan.least_connections and len(good) >= plan.least_nodes
    wrong = [f"{node.name} {node.wrong}" for node in nodes if node.wrong]
    says = f"{connections} connections from {len(good)} nodes"
    if not passed:
        says += f"; {plan.least_connections} from {plan.least_nodes} are needed"
    if wrong:
        says += f"; the token of {', '.join(wrong[:3])}"
    evidence = {
        "connections": connections,
        "nodes": [
            {
                "token_id": node.token_id,
                "name": node.name,
                "connections": node.connections,
                "wrong": node.wrong,
                "serves": node.serves,
            }
            for node in nodes
        ],
        "needed": {"connections": plan.least_connections, "nodes": plan.least_nodes},
    }
    return Gate(name="connections", passed=passed, says=says, evidence=evidence)


def rule_gate(hostname: str, seen: RuleSeen) -> Gate:
    """A rule for the hostname other than the catch-all."""
    evidence = {"index": seen.index, "hostname": seen.hostname, "service": seen.service}
    if seen.index is None:
        passed = False if seen.is_known else None
        return Gate(name="rule", hostname=hostname, passed=passed, says=seen.why, evidence=evidence)
    if not seen.hostname or seen.hostname == "*":
        says = f"only the catch-all (rule {seen.index}, {seen.service}) takes it: the target has no rule for it"
        return Gate(name="rule", hostname=hostname, passed=False, says=says, evidence=evidence)
    says = f"rule {seen.index} ({seen.hostname}) takes it to {seen.service}"
    return Gate(name="rule", hostname=hostname, passed=True, says=says, evidence=evidence)


def health_gate(hostname: str, illnesses: Mapping[str, str]) -> Gate | None:
    """What the hostname's own probe says of the target's nodes; None: none of them is known to be ill."""
    ill = {name: why for name, why in illnesses.items() if why}
    if not ill:
        return None
    says = "; ".join(f"{name}: {why}" for name, why in list(ill.items())[:3])
    return Gate(name="health", hostname=hostname, passed=False, says=says, evidence={"nodes": ill})


def request_gate(plan: Plan, hostname: str, answers: Mapping[str, Answer], source: Answer | None) -> Gate:
    """A real request through each node of the target. `answers`: by the node's name."""
    check = plan.check_of(hostname)
    judged = {name: judge(check, answer, source) for name, answer in answers.items()}
    failed = [f"{name or 'the tunnel'}: {each.why}" for name, each in judged.items() if not each.passed]
    evidence: dict[str, Any] = {
        "path": check.path,
        "learnt": any(each.learnt for each in judged.values()),
        "source": _told(source),
        "nodes": {name: {**_told(answer), "passed": judged[name].passed} for name, answer in answers.items()},
    }
    if not answers:
        return Gate(name="request", hostname=hostname, passed=False, says="nothing is connected", evidence=evidence)
    says = "; ".join(failed[:3]) if failed else "; ".join(each.why for each in list(judged.values())[:3])
    return Gate(name="request", hostname=hostname, passed=not failed, says=says, evidence=evidence)


def certificate_gate(hostname: str, seen: CertificateSeen | None, now: datetime) -> Gate:
    """What the edge shows to clients of this name: the move changes nothing of it, but nobody should find out after it."""
    if seen is None:
        return Gate(name="certificate", hostname=hostname, passed=None, says="there is no HTTPS listener to ask")
    evidence = {"names": seen.names, "not_after": seen.not_after.isoformat() if seen.not_after else None}
    if seen.why:
        return Gate(name="certificate", hostname=hostname, passed=False, says=seen.why, evidence=evidence)
    parent = hostname.partition(".")[2]
    if hostname not in seen.names and f"*.{parent}" not in seen.names:
        says = f"the certificate is for {', '.join(seen.names[:3])}"
        return Gate(name="certificate", hostname=hostname, passed=False, says=says, evidence=evidence)
    if seen.not_after is not None and seen.not_after <= now:
        says = f"the certificate ended at {seen.not_after.isoformat()}"
        return Gate(name="certificate", hostname=hostname, passed=False, says=says, evidence=evidence)
    until = f", until {seen.not_after.date().isoformat()}" if seen.not_after is not None else ""
    says = f"{', '.join(seen.names[:3])}{until}"
    return Gate(name="certificate", hostname=hostname, passed=True, says=says, evidence=evidence)


def dns_gate(hostname: str, record: Mapping[str, Any], resolved: Sequence[str] | None) -> Gate:
    """What DNS says: the record here, and what a resolver answers. It only informs: a proxied name's addresses are the edge's
    before and after."""
    told = f"{record['type']} {record['content']}{', proxied' if record['proxied'] else ''}"
    answered = "no resolver was asked" if resolved is None else f"resolves to {', '.join(resolved[:4]) or 'nothing'}"
    evidence = {"record": dict(record), "resolved": list(resolved) if resolved is not None else None}
    return Gate(name="dns", hostname=hostname, passed=None, says=f"{told}; {answered}", evidence=evidence)


def _told(answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return {"status": 0, "duration_s": 0.0, "cause": "not_asked", "detail": ""}
    return {
        "status": answer.status,
        "duration_s": round(answer.duration_s, 6),
        "cause": answer.cause,
        "detail": answer.detail,
        "content_type": answer.headers.get("content-type", ""),
    }


def learnt(gates: Sequence[Mapping[str, Any]]) -> dict[str, Answer]:
    """The source's answers by hostname, from gates as they are kept: what the target is held to while it is watched."""
    found = {}
    for gate in gates:
        source = gate.get("evidence", {}).get("source")
        if gate.get("name") == "request" and gate.get("hostname") and source and source["status"]:
            found[gate["hostname"]] = Answer(
                status=source["status"],
                duration_s=source["duration_s"],
                cause=source["cause"],
                detail=source["detail"],
                headers={"content-type": source["content_type"]},
            )
    return found
