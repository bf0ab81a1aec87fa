"""What holds now, of all that rules can be about: read from the store and from the running edge's health."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.alerts import kinds
from qanat.auth.failed_logins import ACTION
from qanat.certificates import stored
from qanat.certificates.stored import Entry
from qanat.certificates.wanted import covers
from qanat.control import public_hostnames, tunnel_overview
from qanat.control.tunnel_overview import TunnelRow
from qanat.health.health import Health
from qanat.health.standing import SWITCHED_OFF, Standing, standing
from qanat.health.verdicts import Verdict
from qanat.series.reading import passed
from qanat.series.scopes import key
from qanat.store.models import (
    AlertRule,
    Audit,
    Connection,
    ConnectorToken,
    Cutover,
    HostnameTarget,
    Promotion,
    Record,
    Tunnel,
    Zone,
)
from qanat.store.reach import EVERYTHING, Reach

EVENTS_WITHIN = timedelta(days=1)
NEWEST_AUDIT = 5000
"""So many rows of the audit log are searched for refused credentials."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that holds. `subject` tells it from others of the same kind; `label` names it for people."""

    label: str
    why: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """By subject. `is_unclear`: of which subjects nothing can be said now: what is open of them stays so."""

    holds: Mapping[str, Fact]
    is_unclear: Callable[[str], bool] = lambda _subject: False


class Facts:
    """At one moment: what several rules of an account ask for is read once. `files`: the chains that the edge has from files."""

    def __init__(
        self, session: Session, health: Health, now: datetime, *, probing: bool, files: Sequence[bytes] = ()
    ) -> None:
        self._session = session
        self._health = health
        self._now = now
        self._probing = probing
        self._files = files
        self._tunnels: dict[str, list[tuple[TunnelRow, Standing]]] = {}
        self._hostnames: dict[str, dict[tuple[str, str], str]] = {}
        self._verdicts: dict[str, list[tuple[str, Verdict]]] | None = None

    def of(self, rule: AlertRule) -> Found:
        """What holds of a rule."""
        found = _READS[rule.kind](self, rule)
        return found if isinstance(found, Found) else Found(found)

    def _tunnel_down(self, rule: AlertRule) -> Mapping[str, Fact]:
        return self._standing(rule, ("down",))

    def _tunnel_degraded(self, rule: AlertRule) -> Mapping[str, Fact]:
        return self._standing(rule, ("down", "degraded"))

    def _standing(self, rule: AlertRule, states: tuple[str, ...]) -> Mapping[str, Fact]:
        return {
            row.id: Fact(f"tunnel {row.name}", f"{found.state.upper()}: {found.why}", found.since)
            for row, found in self._of_tunnels(rule.account_id)
            if found.state in states and rule.tunnel_id in (None, row.id)
        }

    def _hostname_down(self, rule: AlertRule) -> Found:
        connected = {row.id: row.name for row, _ in self._of_tunnels(rule.account_id) if row.status in _CONNECTED}
        there = self._places(rule)
        spots: dict[tuple[str, str], list[Verdict]] = {}
        for (hostname, tunnel_id, _), verdict in self._health.spots().items():
            if tunnel_id in connected and (hostname, tunnel_id) in there:
                spots.setdefault((hostname, tunnel_id), []).append(verdict)
        holds = {}
        for (hostname, tunnel_id), verdicts in spots.items():
            ill = [verdict for verdict in verdicts if verdict.state == "unhealthy"]
            if ill and not any(verdict.state == "healthy" for verdict in verdicts):
                first = min(ill, key=lambda each: each.since)
                why = f"its origin doesn't answer, by tunnel {connected[tunnel_id]}: {first.why}"
                # Of several nodes the last one that failed: until then visitors were answered.
                holds[f"{hostname} {tunnel_id}"] = Fact(hostname, why, max(each.since for each in ill))
        known = {f"{hostname} {tunnel_id}" for hostname, tunnel_id in spots}

        def is_unclear(subject: str) -> bool:
            hostname, _, tunnel_id = subject.partition(" ")
            return (hostname, tunnel_id) in there and subject not in known

        return Found(holds, is_unclear)

    def _node_gone(self, rule: AlertRule) -> Mapping[str, Fact]:
        lost = (
            select(Connection.token_id, func.max(Connection.lost_at).label("at"))
            .group_by(Connection.token_id)
            .subquery()
        )
        live = select(Connection.token_id).where(Connection.lost_at.is_(None), Connection.draining_at.is_(None))
        query = (
            select(ConnectorToken.id, ConnectorToken.name, ConnectorToken.last_used_at, Tunnel.name, lost.c.at)
            .join(Tunnel, Tunnel.id == ConnectorToken.tunnel_id)
            .outerjoin(lost, lost.c.token_id == ConnectorToken.id)
            .where(
                Tunnel.account_id == rule.account_id,
                Tunnel.deleted_at.is_(None),
                ConnectorToken.revoked_at.is_(None),
                ConnectorToken.last_used_at.is_not(None),
                ConnectorToken.id.not_in(live),
            )
        )
        if rule.tunnel_id is not None:
            query = query.where(Tunnel.id == rule.tunnel_id)
        return {
            row[0]: Fact(f"node {row[1]} of tunnel {row[3]}", "it has no connection", row[4] or row[2])
            for row in self._session.execute(query)
        }

    def _certificate_expiring(self, rule: AlertRule) -> Mapping[str, Fact]:
        entries = self._certificates(rule)
        soon = self._now + timedelta(days=float(rule.settings["days"]))
        holds = {}
        for entry in entries:
            certificate = entry.certificate
            if certificate is None or certificate.not_after > soon or _is_replaced(entry, entries):
                continue
            over = certificate.not_after <= self._now
            why = f"it {'ended' if over else 'ends'} on {certificate.not_after:%Y-%m-%d %H:%M} UTC"
            if entry.order is not None and entry.order.error_reason:
                why += f"; the last order failed: {entry.order.error_reason}"
            began = certificate.not_after - timedelta(days=float(rule.settings["days"]))
            holds[certificate.fingerprint] = Fact(_certified(entry), why, began)
        return holds

    def _certificate_failing(self, rule: AlertRule) -> Mapping[str, Fact]:
        return {
            entry.order.id: Fact(
                _certified(entry),
                f"{entry.order.failures} orders in a row failed: {entry.order.error_reason or entry.order.error_code}",
                entry.order.error_at or self._now,
            )
            for entry in self._certificates(rule)
            if entry.order is not None and entry.order.failures >= float(rule.settings["failures"])
        }

    def _certificates(self, rule: AlertRule) -> list[Entry]:
        entries = stored.entries(
            self._session, reach=Reach(accounts=frozenset({rule.account_id})), zone_id=rule.zone_id
        )
        if rule.of_edge and rule.zone_id is None:
            own = stored.entries(self._session, reach=EVERYTHING)
            entries += [each for each in own if each.zone_name is None] + stored.of_files(self._files)
        wanted = rule.hostname
        return [each for each in entries if wanted is None or wanted in each.names or covers(each.names, wanted)]

    def _error_rate(self, rule: AlertRule) -> Mapping[str, Fact]:
        since = self._now - timedelta(seconds=float(rule.settings["window_s"]))
        places = self._places(rule)
        by_key = {key("hostname", *place): place for place in places}
        counts: dict[str, tuple[int, int]] = {}
        for number, entry in passed(self._session, by_key.keys(), since, self._now).items():
            hostname = by_key[number][0]
            requests, failed = counts.get(hostname, (0, 0))
            ill = entry.statuses[4] + entry.edge_made + entry.cut
            counts[hostname] = (requests + entry.requests, failed + ill)
        return {
            hostname: Fact(
                hostname,
                f"{failed} of {requests} requests failed ({failed / requests:.1%}) within "
                f"{float(rule.settings['window_s']):g} s",
                since,
            )
            for hostname, (requests, failed) in counts.items()
            if requests >= float(rule.settings["requests"]) and failed / requests >= float(rule.settings["share"])
        }

    def _cutover_rolled_back(self, rule: AlertRule) -> Mapping[str, Fact]:
        begin = max(rule.modified_at, self._now - EVENTS_WITHIN)
        query = select(Cutover).where(
            Cutover.account_id == rule.account_id,
            Cutover.state.in_(("rolled_back", "stopped", "broken")),
            Cutover.finished_at >= begin,
        )
        return {
            row.id: Fact(
                f"cutover of {', '.join(row.hostnames[:3])}",
                f"{row.state.replace('_', ' ')}: {row.why}",
                row.finished_at or self._now,
            )
            for row in self._session.scalars(query)
            if rule.tunnel_id in (None, row.from_tunnel_id, row.to_tunnel_id)
            and (rule.hostname is None or rule.hostname in row.hostnames)
        }

    def _promotion(self, rule: AlertRule) -> Mapping[str, Fact]:
        begin = max(rule.modified_at, self._now - EVENTS_WITHIN)
        query = (
            select(Promotion.id, Promotion.reason, Promotion.finished_at, Promotion.epoch, Tunnel.name)
            .join(Tunnel, Tunnel.id == Promotion.tunnel_id)
            .where(
                Tunnel.account_id == rule.account_id,
                Promotion.kind == "automatic",
                Promotion.finished_at >= begin,
            )
        )
        if rule.tunnel_id is not None:
            query = query.where(Tunnel.id == rule.tunnel_id)
        return {
            row[0]: Fact(
                f"tunnel {row[4]}",
                row[1] if row[3] is not None else f"it was tried, and undone: {row[1]}",
                row[2] or self._now,
            )
            for row in self._session.execute(query)
        }

    def _sign_in_failures(self, rule: AlertRule) -> Mapping[str, Fact]:
        since = self._now - timedelta(seconds=float(rule.settings["window_s"]))
        newest = self._session.scalar(select(func.max(Audit.seq))) or 0
        query = select(Audit.at, Audit.actor, Audit.detail).where(
            Audit.seq > newest - NEWEST_AUDIT, Audit.action == ACTION, Audit.at >= since
        )
        rows = [(at, actor, json.loads(detail)) for at, actor, detail in self._session.execute(query)]
        count = sum(int(detail.get("count", 0)) for _, _, detail in rows)
        if count < float(rule.settings["failures"]):
            return {}
        places = list(dict.fromkeys(actor for _, actor, _ in rows))
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        why = f"{count} credentials were refused, from {', '.join(places[:3])}{more}"
        return {"edge": Fact("the edge", why, min(at for at, _, _ in rows))}

    def _of_tunnels(self, account_id: str) -> list[tuple[TunnelRow, Standing]]:
        if account_id not in self._tunnels:
            if self._verdicts is None:
                self._verdicts = {}
                for (name, tunnel_id, _), verdict in self._health.spots().items():
                    self._verdicts.setdefault(tunnel_id, []).append((name, verdict))
            numbers = public_hostnames.numbers(self._session, account_id)
            unprobed = self._health.unprobed()
            self._tunnels[account_id] = [
                (
                    row,
                    standing(
                        row,
                        hostnames=numbers.get(row.id, 0),
                        verdicts=self._verdicts.get(row.id, ()),
                        unprobed=unprobed.get(row.id, "") if self._probing else SWITCHED_OFF,
                    ),
                )
                for row in tunnel_overview.rows(self._session, account_id)
            ]
        return self._tunnels[account_id]

    def _places(self, rule: AlertRule) -> dict[tuple[str, str], str]:
        """The zone's id by hostname and tunnel, as far as the rule reaches."""
        if rule.account_id not in self._hostnames:
            query = select(Record.name, Record.tunnel_id, Zone.id).join(Zone, Zone.id == Record.zone_id)
            routed = query.where(
                Zone.account_id == rule.account_id,
                Record.type == "CNAME",
                Record.proxied.is_(True),
                Record.tunnel_id.is_not(None),
            )
            found = {(str(row[0]), str(row[1])): str(row[2]) for row in self._session.execute(routed)}
            shares = select(HostnameTarget.hostname, HostnameTarget.tunnel_id, Zone.id).join(
                Zone, Zone.id == HostnameTarget.zone_id
            )
            for row in self._session.execute(shares.where(Zone.account_id == rule.account_id)):
                found[str(row[0]), str(row[1])] = str(row[2])
            self._hostnames[rule.account_id] = found
        return {
            place: zone_id
            for place, zone_id in self._hostnames[rule.account_id].items()
            if rule.hostname in (None, place[0])
            and rule.tunnel_id in (None, place[1])
            and rule.zone_id in (None, zone_id)
        }


_CONNECTED = ("healthy", "degraded")
_READS: Mapping[str, Callable[[Facts, AlertRule], Found | Mapping[str, Fact]]] = {
    name: getattr(Facts, f"_{name}") for name in kinds.KINDS
}


def _certified(entry: Entry) -> str:
    names = entry.names
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"certificate of {', '.join(names[:2])}{more}"


def _is_replaced(entry: Entry, others: Sequence[Entry]) -> bool:
    """Whether another that lasts longer is good for all its names."""
    mine = entry.certificate
    return mine is not None and any(
        other.certificate is not None
        and other.certificate.not_after > mine.not_after
        and all(covers(other.names, name) for name in entry.names)
        for other in others
    )
