"""What is drawn on the map, read for some tunnels of an account."""

from collections.abc import Sequence

from qanat.control import public_hostnames, tunnel_overview, tunnels
from qanat.control.explain import FLAGS, rules_of
from qanat.dashboard.desk import Desk
from qanat.dashboard.drawing.map import MOST, Drawing, Group, Holder, Mark, Thing, lay_out
from qanat.dashboard.links import hostname_url, tunnel_url
from qanat.dashboard.overview import TunnelLine
from qanat.errors import QanatError
from qanat.health.verdicts import Verdict
from qanat.ingress.rules import Configuration, parse_configuration
from qanat.ingress.verdicts import Asked, verdicts

MARKS: dict[str, Mark] = {"healthy": "well", "unhealthy": "ill", "unknown": "weak"}
OF_STATES: dict[str, Mark] = {"healthy": "well", "degraded": "weak", "down": "ill", "inactive": "off"}


def draw(desk: Desk, account_id: str, lines: Sequence[TunnelLine], reading: int) -> Drawing:
    """These tunnels, with all that hangs on them; `reading`: which one of the store they are of. Read again are only those that
    something has changed about."""
    _, changed = desk.live.health.changes()
    stamps = {line.id: (reading, changed.get(line.id, 0), line) for line in lines}
    found = {each: group for each, stamp in stamps.items() if (group := desk.groups.kept(each, stamp)) is not None}
    missing = [line for line in lines if line.id not in found]
    for line, group in zip(missing, _groups(desk, account_id, missing), strict=True):
        found[line.id] = desk.groups.keep(line.id, stamps[line.id], group)
    return lay_out([found[line.id] for line in lines])


def _groups(desk: Desk, account_id: str, lines: Sequence[TunnelLine]) -> list[Group]:
    if not lines:
        return []
    ids = [line.id for line in lines]
    with desk.store.reading() as session:
        names = public_hostnames.of_tunnels(session, account_id, ids)
        held = tunnel_overview.held(session, ids)
        active = tunnel_overview.active_nodes(session, ids)
        rules = {}
        for tunnel_id in ids:
            try:
                rules[tunnel_id] = _rules(rules_of(session, tunnels.get(session, account_id, tunnel_id)))
            except QanatError:
                continue
    return [
        _group(
            line,
            names[line.id],
            held[line.id],
            active.get(line.id),
            rules.get(line.id),
            desk.live.health.spots_of(line.id),
        )
        for line in lines
    ]


def _rules(told: object) -> Configuration | None:
    document = getattr(told, "document", None)
    if document is None:
        return None
    return parse_configuration(document, also_known=FLAGS, misspelt_keys="told", patterns=False)


def _group(
    line: TunnelLine,
    names: Sequence[str],
    held: Sequence[tunnel_overview.Held],
    active: str | None,
    rules: Configuration | None,
    found: dict[tuple[str, str, str], Verdict],
) -> Group:
    ill = set(line.ill)
    by_name: dict[str, list[Verdict]] = {}
    for (name, _, _), verdict in found.items():
        by_name.setdefault(name, []).append(verdict)
    first = sorted(names, key=lambda name: (name not in ill, name))[: MOST + 1]
    shown = [
        Thing(text=name, mark=_mark_of(name, by_name, ill), title=_why(by_name.get(name, [])), url=hostname_url(name))
        for name in first
    ]
    holders = [
        Holder(
            node=Thing(
                text=each.node,
                mark=_node_mark(each, active, found),
                title=f"{each.version}{_role(each.token_id, active)}",
                url=tunnel_url(line.id),
            ),
            held=each.connections,
            wanted=max(each.wanted, each.connections),
            protocol=" ".join(sorted(set(each.protocols))),
        )
        for each in held
    ]
    if not holders and line.state == "down":
        gone = Thing(text="nobody", mark="ill", title=line.why, url=tunnel_url(line.id))
        holders = [Holder(node=gone, held=0, wanted=4, protocol="")]
    return Group(
        tunnel=Thing(text=line.name, mark=OF_STATES[line.state], title=line.why, url=tunnel_url(line.id)),
        names=shown[:MOST],
        hostnames=len(names),
        holders=holders,
        origins=_origins(line, names, rules, by_name, ill) if held else [],
    )


def _origins(
    line: TunnelLine,
    names: Sequence[str],
    rules: Configuration | None,
    by_name: dict[str, list[Verdict]],
    ill: set[str],
) -> list[Thing]:
    """The services behind its hostnames, the ill first; of a tunnel with very many hostnames those of the first ones."""
    if rules is None or not rules.rules:
        return []
    services: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda each: (each not in ill, each))[:50]:
        try:
            passed = verdicts(rules, Asked(name.replace("*", "a", 1), "/"))
        except QanatError:
            continue
        if passed and passed[-1].missed is None:
            services.setdefault(passed[-1].rule.service.text, []).append(name)
    if not names:
        services = {rule.service.text: [] for rule in rules.rules}
    return [
        Thing(
            text=service,
            mark=max(
                (_mark_of(name, by_name, ill) for name in own), key=("well", "off", "weak", "ill").index, default="off"
            ),
            title=_why([each for name in own for each in by_name.get(name, [])]),
            url=tunnel_url(line.id),
        )
        for service, own in services.items()
    ]


def _mark_of(name: str, by_name: dict[str, list[Verdict]], ill: set[str]) -> Mark:
    if name in ill:
        return "ill"
    states = {verdict.state for verdict in by_name.get(name, [])}
    return "well" if states == {"healthy"} else "weak" if "healthy" in states else "off"


def _node_mark(each: tunnel_overview.Held, active: str | None, found: dict[tuple[str, str, str], Verdict]) -> Mark:
    if active is not None and each.token_id != active:
        return "off"
    states = {verdict.state for spot, verdict in found.items() if spot[2] == each.token_id}
    return "ill" if states == {"unhealthy"} else "weak" if "unhealthy" in states else "well"


def _role(token_id: str, active: str | None) -> str:
    return "" if active is None else ", active" if token_id == active else ", standby"


def _why(found: Sequence[Verdict]) -> str:
    worst = min(found, key=lambda each: ("unhealthy", "unknown", "healthy").index(each.state), default=None)
    return worst.why if worst is not None else ""
