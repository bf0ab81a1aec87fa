"""Where a URL goes, step by step, and where its way ends: zone, record, tunnel, rule. Nothing is sent.

In two parts: what is read of the store (`find_way`), and the rules that the tunnel's connectors go by (`follow`), whose
patterns may take a second and need no open read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from qanat.control import configurations
from qanat.control.principal import Principal
from qanat.control.tunnel_status import TunnelState, state
from qanat.errors import QanatError
from qanat.ids import Hostname, parse_hostname
from qanat.ingress.rules import UNLISTED, parse_configuration
from qanat.ingress.verdicts import Asked, Verdict, verdicts
from qanat.store.models import Record, Tunnel, Zone
from qanat.store.skipped import Kind, Skipped, SkippedRows
from qanat.tables import owner
from qanat.tables.routes import Sticky

FLAGS = frozenset({"__configuration_flags"})
ROUTED = ("A", "AAAA", "CNAME")

Outcome = Literal[
    "served",
    "unknown_hostname",
    "not_proxied",
    "not_a_tunnel",
    "zone_paused",
    "tunnel_deleted",
    "no_connectors",
    "configuration_unknown",
    "configuration_unreadable",
    "no_rules",
]
Managed = Literal["remotely", "locally"]


class Route(Protocol):
    """What the edge's table says of a hostname: the route that decides; one without a tunnel serves nobody."""

    @property
    def hostname(self) -> str:
        """Exact or a wildcard."""

    @property
    def targets(self) -> Sequence[tuple[str, int]]:
        """Tunnel id and weight of whoever answers."""

    @property
    def sticky(self) -> Sticky:
        """What a visitor stays with one of several by."""


RouteOf = Callable[[str], Route | None]
Sees = Callable[[Zone], bool]
"""Whether ways in a zone are shown."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a way ends, and why there."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Whose rules are looked at: the newest that was put, or what a locally managed connector told (version 0)."""

    version: int
    managed: Managed
    document: str


@dataclass(frozen=True, slots=True)
class Target:
    """The tunnel that a way leads to, how it is, and what its connectors go by: None when nobody told it."""

    tunnel: Tunnel
    state: TunnelState
    rules: Rules | None


@dataclass(slots=True, kw_only=True)
class Met:
    """What a way passes; None: it didn't come so far."""

    hostname: str
    zone: Zone | None = None
    record: Record | None = None
    tunnel: Tunnel | None = None
    state: TunnelState | None = None
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """As far as the store leads: into an ending, or to a tunnel."""

    met: Met
    end: Ending | Target


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    """A rule in front of the request, and why it takes it or doesn't."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a way ends. `rules`: those that were read; `rule`: the one that takes the request; `earlier`: those before."""

    ending: Ending
    rules: Rules | None = None
    rule: ExplainedRule | None = None
    earlier: tuple[ExplainedRule, ...] = ()


def seen_by(who: Principal) -> Sees:
    """The zones of somebody who may read their records, and the tunnels of their account."""
    return lambda zone: (
        who.reach("dns.read").has_zone(zone.id, zone.account_id)
        and who.reach("tunnel.read").has_account(zone.account_id)
    )


def find_way(session: Session, sees: Sees, asked: Asked, *, route_of: RouteOf) -> Way:
    """The zone, record and tunnel that a URL meets; `route_of`: the running edge's table, which decides. A hostname of a zone
    that isn't seen is as unknown as any."""
    met = Met(hostname=asked.authority)
    return Way(met, _walk(session, sees, asked, met, route_of))


def follow(target: Target, asked: Asked) -> Explanation:
    """The rule that takes the request, by the engine's own matching; what else stands in its way is told first.

    Raises:
        QanatError: `explain_bad_url`.
    """
    explained: list[ExplainedRule] = []
    rules, unreadable = target.rules, None
    if rules is not None:
        try:
            explained = _explained(rules, asked)
        except QanatError as error:
            # a foreign connector tells what it likes, and what an older version stored may be above today's bounds
            if error.code == "explain_bad_url":
                raise
            rules, unreadable = None, f"the rules can't be read: {error}"
    rule = explained.pop() if explained and explained[-1].verdict.missed is None else None
    return Explanation(_ending(target, unreadable, rule), rules, rule, tuple(explained))


def skipped_on(met: Met, skipped: SkippedRows) -> list[Skipped]:
    """What the edge leaves out of a way: the hostname's route or certificate, its tunnel."""
    if met.zone is None:
        return []
    name = met.record.name if met.record is not None else met.hostname
    wanted: list[tuple[Kind, str]] = [("hostname", name)]
    wanted.extend(("certificate", parent) for parent in dict.fromkeys((name, name.partition(".")[2])))
    if met.tunnel is not None:
        wanted.extend([("tunnel", met.tunnel.id), ("configuration", met.tunnel.id)])
    return skipped.find(wanted)


def _walk(session: Session, sees: Sees, asked: Asked, met: Met, route_of: RouteOf) -> Ending | Target:
    try:
        hostname = parse_hostname(_without_port(asked.authority), wildcard=False)
    except QanatError as error:
        return Ending("unknown_hostname", error.message)
    met.hostname = hostname
    zone = met.zone = zone_of(session, hostname)
    if zone is not None and not sees(zone):
        zone = met.zone = None
    if zone is None:
        return Ending("unknown_hostname", f"{hostname} is in no zone here")
    route = route_of(hostname)
    is_routed = route is not None and bool(route.targets)
    met.route = route if is_routed else None
    name = route.hostname if route is not None and is_routed else _answering(session, zone, hostname)
    record = met.record = _record(session, zone, name) if name is not None else None
    if record is None:
        return Ending(
            "unknown_hostname", f"the zone {zone.name} has no address or CNAME record that {hostname} matches"
        )
    if not record.proxied:
        return Ending("not_proxied", f"the record of {record.name} is not proxied: it is only answered by DNS")
    tunnel = session.get(Tunnel, record.tunnel_id) if record.tunnel_id is not None else None
    if tunnel is None or record.type != "CNAME" or tunnel.account_id != zone.account_id:
        return Ending("not_a_tunnel", f"the record of {record.name} points to no tunnel of its account")
    found = state(session, tunnel)
    met.tunnel, met.state = tunnel, found
    if zone.paused:
        return Ending("zone_paused", f"the zone {zone.name} is paused")
    if not is_routed:
        return Ending("unknown_hostname", f"the edge leaves the record of {record.name} out: see what it skipped")
    return Target(tunnel, found, rules_of(session, tunnel))


def zone_of(session: Session, hostname: Hostname) -> Zone | None:
    """The longest zone that the hostname is in: names above it may be another account's."""
    labels = hostname.split(".")
    names = [".".join(labels[start:]) for start in range(len(labels))]
    found = session.scalars(select(Zone).where(Zone.name.in_(names)))
    return max(found, key=lambda zone: len(zone.name), default=None)


def _answering(session: Session, zone: Zone, hostname: Hostname) -> str | None:
    """Of a hostname that the edge has no route for, the name that DNS answers it by: its record says why."""
    in_zone = Record.zone_id == zone.id

    def exists(name: str) -> bool:
        at_or_below = or_(Record.name == name, Record.name.endswith(f".{name}", autoescape=True))
        if session.scalar(select(Record.id).where(in_zone, at_or_below).limit(1)) is not None:
            return True
        # a zone below is delegated: its name, and those between, exist here
        zones_below = select(Zone.id).where(Zone.name.endswith(f".{name}", autoescape=True)).limit(1)
        return session.scalar(zones_below) is not None

    def is_cut(name: str) -> bool:
        delegated = select(Record.id).where(in_zone, Record.name == name, Record.type == "NS").limit(1)
        return session.scalar(delegated) is not None

    return owner(hostname, zone.name, exists=exists, is_cut=is_cut)


def _record(session: Session, zone: Zone, name: str) -> Record | None:
    """Of a name's records the one that makes a route, if there is such."""
    has_name = (Record.zone_id == zone.id, Record.name == name)
    query = select(Record).where(*has_name, Record.type.in_(ROUTED))

    def order(record: Record) -> tuple[bool, str]:
        return not (record.proxied and record.tunnel_id is not None), record.id

    return min(session.scalars(query), key=order, default=None)


def rules_of(session: Session, tunnel: Tunnel) -> Rules | None:
    """What the tunnel's connectors go by; None: they are managed locally and told nothing."""
    newest = configurations.newest(session, tunnel.id)
    if newest is not None:
        return Rules(newest.version, "remotely", newest.document)
    if tunnel.config_src == "local":
        told = tunnel.local_configuration
        return Rules(0, "locally", told) if told is not None else None
    return Rules(0, "remotely", "{}")


def _ending(target: Target, unreadable: str | None, rule: ExplainedRule | None) -> Ending:
    tunnel = target.tunnel
    if tunnel.deleted_at is not None:
        return Ending("tunnel_deleted", f"the tunnel {tunnel.name} is deleted: point the record to another one")
    if not target.state.connectors:
        return Ending("no_connectors", f"the tunnel {tunnel.name} has no connected connector")
    if target.rules is None:
        return Ending("configuration_unknown", "the connector is managed locally and did not tell its rules")
    if unreadable is not None:
        return Ending("configuration_unreadable", unreadable)
    if rule is None:
        return Ending("no_rules", "the configuration has no ingress rules: every request is answered 503")
    reason = f"rule {rule.verdict.index} takes it to {rule.verdict.rule.service.text}"
    return Ending("served", f"{reason}, {rule.reason}" if "denies" in rule.reason else reason)


def _explained(rules: Rules, asked: Asked) -> list[ExplainedRule]:
    # whether all of its patterns compile was asked when it was put
    parsed = parse_configuration(rules.document, also_known=FLAGS, misspelt_keys="told", patterns=False)
    return [
        ExplainedRule(verdict, _reason(verdict, asked, is_remote=rules.managed == "remotely"))
        for verdict in verdicts(parsed, asked)
    ]


def _reason(verdict: Verdict, asked: Asked, *, is_remote: bool) -> str:
    rule = verdict.rule
    if verdict.missed == "hostname":
        return f"the host {asked.authority} isn't {rule.hostname}"
    if verdict.missed == "path":
        return f"the path {asked.path} doesn't match {rule.path}"
    if is_remote and rule.service.kind == "http" and (denied := UNLISTED.refusal(target=rule.service.target)):
        return f"which is {denied}: a qanat connector denies it unless its --allow-origins lists it"
    return "it is the first rule that matches"


def _without_port(authority: str) -> str:
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() else authority.removesuffix(":")
