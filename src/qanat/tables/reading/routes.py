"""Which hostnames lead to which tunnels, by the proxied records; and the names that no wildcard answers for."""

from collections.abc import Collection
from typing import Any, cast

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from qanat.ids import Hostname, TunnelId
from qanat.store.lots import in_lots
from qanat.store.models import HostnameTarget, Record, Tunnel, Zone
from qanat.store.skipped import Failure, LeftOut
from qanat.tables.closest import up_to, zone_table
from qanat.tables.reading.rows import read_rows
from qanat.tables.routes import Share, Sticky, Target, is_routable

_ROUTED = (Record.type == "CNAME", Record.proxied.is_(True), Record.tunnel_id.is_not(None))


def read_routes(
    session: Session,
    hostnames: Collection[str] | None = None,
    left_out: LeftOut | None = None,
    *,
    own: Collection[str] = (),
) -> list[Target]:
    """What the proxied CNAMEs (of these hostnames; None: all) say: the tunnel is of the zone's account, and the zone isn't
    paused. Only the innermost zone that a name is in answers for it, as in DNS, and nothing that it delegates: what it lacks
    no zone around it serves. A deleted tunnel's hostnames stay, so that its visitors get the tunnel's error and not an unknown
    hostname's. What can't be read or routed goes to `left_out`, and what would lead away a name of the edge's `own`."""
    left_out = left_out if left_out is not None else LeftOut()
    query = (
        select(Record.name, Record.tunnel_id, Zone.name.label("zone"), Zone.account_id)
        .join(Zone, Zone.id == Record.zone_id)
        .join(Tunnel, Tunnel.id == Record.tunnel_id)
        .where(
            Record.type == "CNAME",
            Record.proxied.is_(True),
            Zone.paused.is_(False),
            Tunnel.account_id == Zone.account_id,
        )
    )
    targets: list[Target] = []
    rows = _rows(session, query, hostnames, left_out)
    ends = _ends(session, None if hostnames is None else [row[0] for row in rows], left_out)
    for name, tunnel_id, zone, account_id in rows:
        if not is_routable(name):
            reason = "no request can name this host"
            left_out.add("hostname", name, Failure(code="hostname_unroutable", reason=reason, account_id=account_id))
            continue
        if name in own:
            reason = "the edge serves its control plane under this name (control.hostname)"
            left_out.add("hostname", name, Failure(code="record_of_edge", reason=reason, account_id=account_id))
            continue
        if not any(above in ends for above in up_to(name, zone)):
            targets.append(Target(Hostname(name), TunnelId(tunnel_id), account_id))
    return targets


def read_shares(session: Session, hostnames: Collection[str] | None = None) -> list[Share]:
    """What was set by weights (of these hostnames; None: all): of the innermost zone that has shares of a name, for
    tunnels of its account."""
    query = (
        select(HostnameTarget, Zone.name)
        .join(Zone, Zone.id == HostnameTarget.zone_id)
        .join(Tunnel, Tunnel.id == HostnameTarget.tunnel_id)
        .where(Tunnel.account_id == Zone.account_id)
    )
    lots = [None] if hostnames is None else list(in_lots(sorted(hostnames)))
    found: dict[str, tuple[str, list[Share]]] = {}
    for some in lots:
        for row, zone in session.execute(query if some is None else query.where(HostnameTarget.hostname.in_(some))):
            share = Share(Hostname(row.hostname), TunnelId(row.tunnel_id), row.weight, cast(Sticky, row.sticky))
            known = found.get(row.hostname)
            if known is None or len(zone) > len(known[0]):
                found[row.hostname] = (zone, [share])
            elif zone == known[0]:
                known[1].append(share)
    return [share for _, shares in found.values() for share in shares]


def read_stops(session: Session, zone_names: Collection[str] | None = None) -> dict[str, set[str]]:
    """By zone (of these; None: of all) the names that exist without a route below a wildcard that is one (`zone_table`)."""
    wild = (
        select(Zone.id, Zone.name, Zone.account_id)
        .join(Record, Record.zone_id == Zone.id)
        .where(Record.name.startswith("*.", autoescape=True), *_ROUTED, Zone.paused.is_(False))
        .distinct()
    )
    if zone_names is not None:
        wild = wild.where(Zone.name.in_(sorted(zone_names)))
    zones = {row.name: row for row in session.execute(wild)}
    inner: dict[str, set[str]] = {name: set() for name in zones}
    if zones:
        for name in session.scalars(select(Zone.name)):
            for above in up_to(name.partition(".")[2]):
                if above in inner:
                    inner[above].add(name)
    return {name: _stops(session, zone, inner[name]) for name, zone in zones.items()}


def _stops(session: Session, found: Any, inner: set[str]) -> set[str]:
    zone: str = found.name
    routed = and_(*_ROUTED, Record.tunnel_id.in_(select(Tunnel.id).where(Tunnel.account_id == found.account_id)))
    query = select(Record.name, Record.type == "NS", routed).where(Record.zone_id == found.id).distinct()
    names, cuts, routes = set[str](), set(inner), dict[str, str]()
    for name, is_ns, is_routed in read_rows(session, query, Record.id, "record", LeftOut()):
        names.add(name)
        if is_ns and name != zone:
            cuts.add(name)
        if is_routed:
            routes[name] = ""
    table = zone_table(zone, names, cuts, routes)
    return {name for name, tunnel in table.items() if tunnel is None and is_routable(name)}


def read_zone_hostnames(session: Session, zone_id: str) -> set[str]:
    """The names in a zone that may be routes."""
    routed = select(Record.name).where(Record.zone_id == zone_id, Record.type == "CNAME", Record.proxied.is_(True))
    return set(session.scalars(routed))


def read_hostnames_below(session: Session, zone_name: str) -> set[str]:
    """The names at and below a zone's, in whatever zone, that may be routes."""
    at_or_below = or_(Record.name == zone_name, Record.name.endswith(f".{zone_name}", autoescape=True))
    return set(session.scalars(select(Record.name).where(at_or_below, *_ROUTED)))


def _ends(session: Session, names: Collection[str] | None, left_out: LeftOut) -> set[str]:
    """Where zones end: the apexes of all, and the names that they delegate (at and above these names; None: all)."""
    zones = select(Zone.name)
    delegated = select(Record.name).join(Zone, Zone.id == Record.zone_id).where(Record.type == "NS")
    delegated = delegated.where(Record.name != Zone.name)
    if names is None:
        found = read_rows(session, delegated, Record.id, "record", left_out)
        return {*session.scalars(zones), *(row[0] for row in found)}
    ends: set[str] = set()
    asked = sorted({above for name in names for above in up_to(name)})
    for some in in_lots(asked):
        ends.update(session.scalars(zones.where(Zone.name.in_(some))))
        within = delegated.where(Zone.name.in_(some), Record.name.in_(some))
        ends.update(row[0] for row in read_rows(session, within, Record.id, "record", left_out))
    return ends


def _rows(
    session: Session, query: Select[*tuple[Any, ...]], hostnames: Collection[str] | None, left_out: LeftOut
) -> list[Any]:
    if hostnames is None:
        return list(read_rows(session, query, Record.id, "record", left_out))
    rows: list[Any] = []
    for some in in_lots(sorted(hostnames)):
        # by the zones that may hold them: records are found by zone and name
        zones = {zone for name in some for zone in up_to(name)}
        asked = query.where(Zone.name.in_(zones), Record.name.in_(some))
        rows.extend(read_rows(session, asked, Record.id, "record", left_out))
    return rows
