"""What happens to a request for a hostname, stage by stage, and how each stage is."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from qanat.control.explain import Ending, Explanation, Sees, Way, find_way, follow, skipped_on
from qanat.cutover.gates import CertificateSeen
from qanat.dashboard.desk import Desk
from qanat.dashboard.drawing.map import Mark
from qanat.dashboard.links import tunnel_url, zone_url
from qanat.dashboard.overview import TunnelLine
from qanat.ingress.verdicts import Asked

SOON = timedelta(days=14)
OF_STATES: dict[str, Mark] = {
    "healthy": "well",
    "degraded": "weak",
    "down": "ill",
    "inactive": "off",
    "unhealthy": "ill",
    "unknown": "weak",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its kind, what it is here, how that is and why."""

    kind: str
    text: str
    mark: Mark
    why: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """The way of a request: its stages, how it ends (`served`, or where it stops), and the rules before the one that takes it."""

    stages: tuple[Stage, ...]
    outcome: str
    reason: str
    tunnel_id: str
    tunnel: str
    explanation: Explanation | None

    @property
    def broken(self) -> Stage | None:
        """Where it breaks first."""
        return next((stage for stage in self.stages if stage.mark == "ill"), None)


def course(desk: Desk, sees: Sees, account_id: str, asked: Asked) -> Course:
    """`sees`: which zones' ways are drawn. QanatError `explain_bad_url`, `busy`."""
    with desk.store.reading() as session:
        way = find_way(session, sees, asked, route_of=desk.live.route)
    explanation = None
    if not isinstance(way.end, Ending):
        with desk.explaining(way.end.tunnel.id):  # no session meanwhile: patterns may take a second
            explanation = follow(way.end, asked)
    ending = way.end if isinstance(way.end, Ending) else explanation.ending if explanation is not None else None
    assert ending is not None
    tunnel = way.met.tunnel
    line = desk.overviews.of(account_id).line(tunnel.id) if tunnel is not None else None
    stages = (
        _dns(way, ending),
        _certificate(desk.certificate(way.met.hostname.replace("*", "any", 1)), desk.store.clock()),
        _edge(desk, way, ending),
        _tunnel(way, line),
        _rule(explanation, ending),
        _origin(desk, way, explanation),
    )
    return Course(
        stages,
        ending.outcome,
        ending.reason,
        tunnel.id if tunnel is not None else "",
        tunnel.name if tunnel is not None else "",
        explanation,
    )


def _dns(way: Way, ending: Ending) -> Stage:
    record = way.met.record
    if record is None:
        return Stage("DNS", "no record", "ill", ending.reason)
    url = zone_url(record.zone_id, f"records/{record.id}")
    if ending.outcome in ("not_proxied", "not_a_tunnel"):
        return Stage("DNS", f"{record.type} {record.name}", "ill", ending.reason, url)
    return Stage("DNS", record.name, "well", f"{record.type} to {record.content}, proxied", url)


def _certificate(seen: CertificateSeen | None, now: datetime) -> Stage:
    if seen is None:
        return Stage("Certificate", "none", "off", "there is no HTTPS listener")
    if seen.why or seen.not_after is None:
        return Stage("Certificate", "none", "ill", seen.why or "clients are shown none")
    ends = f"ends {seen.not_after:%Y-%m-%d}"
    names = ", ".join(seen.names[:3])
    if seen.not_after <= now:
        return Stage("Certificate", names, "ill", f"it ended {seen.not_after:%Y-%m-%d}")
    return Stage("Certificate", names, "weak" if seen.not_after - now < SOON else "well", ends)


def _edge(desk: Desk, way: Way, ending: Ending) -> Stage:
    skipped = skipped_on(way.met, desk.skipped)
    if skipped:
        return Stage("Edge", "left out", "ill", f"{skipped[0].kind} {skipped[0].name}: {skipped[0].reason}")
    if ending.outcome == "zone_paused":
        return Stage("Edge", "paused", "ill", ending.reason)
    route = way.met.route
    if route is None:
        return Stage("Edge", "no route", "off")
    split = f"split over {len(route.targets)} tunnels" if len(route.targets) > 1 else "to one tunnel"
    return Stage("Edge", route.hostname, "well", split)


def _tunnel(way: Way, line: TunnelLine | None) -> Stage:
    tunnel = way.met.tunnel
    if tunnel is None:
        return Stage("Tunnel", "not reached", "off")
    if tunnel.deleted_at is not None:
        return Stage("Tunnel", tunnel.name, "ill", "it is deleted: point the record to another one")
    if line is None:
        return Stage("Tunnel", tunnel.name, "off")
    # what its origins say stands at their own stage
    mark: Mark = (
        "well" if line.connections and line.state in ("degraded", "down") and line.ill else OF_STATES[line.state]
    )
    why = f"connections: {line.connections}, replicas: {line.connectors}" if line.connections else line.why
    return Stage("Tunnel", tunnel.name, mark, why, tunnel_url(tunnel.id))


def _rule(explanation: Explanation | None, ending: Ending) -> Stage:
    if explanation is None:
        return Stage("Rule", "not reached", "off")
    if explanation.rule is None:
        return Stage("Rule", "none", "ill" if ending.outcome != "no_connectors" else "off", ending.reason)
    verdict = explanation.rule.verdict
    matched = " ".join(each for each in (verdict.rule.hostname, verdict.rule.path) if each) or "every request"
    return Stage("Rule", f"{verdict.index}: {matched}", "well", explanation.rule.reason)


def _origin(desk: Desk, way: Way, explanation: Explanation | None) -> Stage:
    tunnel = way.met.tunnel
    if explanation is None or explanation.rule is None or tunnel is None:
        return Stage("Origin", "not reached", "off")
    service = explanation.rule.verdict.rule.service.text
    found = desk.live.health.of(tunnel.id, None, way.met.hostname)
    if not found.connections:
        return Stage("Origin", service, "off", found.why)
    return Stage("Origin", service, OF_STATES[found.state], found.why)
