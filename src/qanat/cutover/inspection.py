"""Asks the gates of a plan on the running edge: what the store knows, then real requests, without a session meanwhile."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from qanat.control.explain import Target
from qanat.cutover import facts
from qanat.cutover.answers import Answer
from qanat.cutover.edge import CutoverEdge
from qanat.cutover.gates import (
    Gate,
    Node,
    certificate_gate,
    connections_gate,
    dns_gate,
    health_gate,
    request_gate,
    rule_gate,
)
from qanat.cutover.plan import Check, Plan, representative
from qanat.cutover.records import Place
from qanat.store import Store
from qanat.store.models import Tunnel

AT_ONCE = 8
LONGEST_ANSWER_S = 10.0


def inspect(store: Store, edge: CutoverEdge, plan: Plan, target: Tunnel, places: Sequence[Place]) -> list[Gate]:
    """Every gate with its evidence. It takes as long as the slowest answer, ten seconds at most for each lot of eight."""
    with store.reading() as session:
        nodes = facts.nodes(session, target, store.clock())
        way = facts.target_of(session, target)
        active = facts.active_node(session, plan.from_tunnel)
    gates = [connections_gate(plan, nodes)]
    asked = [node for node in nodes if node.connections and not node.wrong and node.serves]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="qanat-gates") as pool:
        each = [pool.submit(_of_hostname, store, edge, plan, target, asked, way, active, place) for place in places]
        for found in each:
            gates.extend(found.result())
    return gates


def _of_hostname(
    store: Store,
    edge: CutoverEdge,
    plan: Plan,
    target: Tunnel,
    nodes: Sequence[Node],
    way: Target,
    active: str | None,
    place: Place,
) -> list[Gate]:
    hostname, check = place.hostname, plan.check_of(place.hostname)
    asked = representative(hostname)
    rule = rule_gate(hostname, facts.rule_of(way, hostname, check.path))
    source = _ask(edge, plan.from_tunnel, active, asked, check)
    answers = {node.name: _ask(edge, target.id, node.token_id, asked, check) for node in nodes}
    illnesses = {
        node.name: edge.illness(tunnel_id=target.id, token_id=node.token_id, hostname=hostname) for node in nodes
    }
    record = {"type": place.record.type, "content": place.record.content, "proxied": place.record.proxied}
    found = [
        rule,
        request_gate(plan, hostname, answers, source),
        health_gate(hostname, illnesses),
        certificate_gate(hostname, edge.certificate(asked), store.clock()),
        dns_gate(hostname, record, edge.resolve(asked)),
    ]
    return [gate for gate in found if gate is not None]


def _ask(edge: CutoverEdge, tunnel_id: str, token_id: str | None, hostname: str, check: Check) -> Answer:
    timeout_s = check.within_s + 1.0 if check.within_s is not None else LONGEST_ANSWER_S
    return edge.ask(tunnel_id=tunnel_id, token_id=token_id, hostname=hostname, check=check, timeout_s=timeout_s)
