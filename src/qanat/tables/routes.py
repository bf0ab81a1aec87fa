"""Hostname → tunnel routes for the edge, compiled from proxied records."""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from qanat.ids import Hostname, TunnelId
from qanat.store.models import Record, Tunnel, Zone
from qanat.store.skipped import Failure, LeftOut
from qanat.tables.rows import read_rows

NAMES_A_QUERY = 500
LONGEST_NAME = 253
_ROUTABLE = re.compile(r"(\*\.)?([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
"""What the engine takes for a hostname: no request can name another, and one odd name must not keep the others away."""


class Target(NamedTuple):
    """What one record says. `account_id`: its zone's."""

    hostname: Hostname
    tunnel_id: TunnelId
    account_id: str | None = None


def compile_routes(targets: Iterable[Target], left_out: LeftOut | None = None) -> dict[Hostname, TunnelId]:
    """One route a hostname, whatever the order; exact before wildcard is the router's business. Of a hostname that points to
    two tunnels one route counts, always the same, and `left_out` gets the conflict (`route_conflict`)."""
    routes: dict[Hostname, TunnelId] = {}
    for target in targets:
        before = routes.setdefault(target.hostname, target.tunnel_id)
        if before == target.tunnel_id:
            continue
        routes[target.hostname] = min(before, target.tunnel_id)
        if left_out is not None:
            ignored = max(before, target.tunnel_id)
            reason = f"it points to two tunnels; {ignored} is not used: delete one record"
            failure = Failure(code="route_conflict", reason=reason, account_id=target.account_id)
            left_out.add("hostname", target.hostname, failure)
    return routes


def read_routes(
    session: Session, hostnames: Collection[str] | None = None, left_out: LeftOut | None = None
) -> list[Target]:
    """What the proxied CNAMEs (of these hostnames; None: all) say: the tunnel is of the zone's account, and the zone isn't
    paused. Of a name that two zones have, one inside the other, the inner zone's counts, as in DNS. A deleted tunnel's
    hostnames stay, so that its visitors get the tunnel's error and not an unknown hostname's. What can't be read or
    routed goes to `left_out`."""
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
    innermost: dict[str, str] = {}
    targets: dict[str, list[Target]] = {}
    for name, tunnel_id, zone, account_id in _rows(session, query, hostnames, left_out):
        if not _is_routable(name):
            reason = "no request can name this host"
            left_out.add("hostname", name, Failure(code="hostname_unroutable", reason=reason, account_id=account_id))
            continue
        before = innermost.setdefault(name, zone)
        if len(zone) > len(before):
            innermost[name] = zone
            targets.pop(name, None)
        elif zone != before:
            continue
        targets.setdefault(name, []).append(Target(Hostname(name), TunnelId(tunnel_id), account_id))
    return [target for each in targets.values() for target in each]


def read_zone_hostnames(session: Session, zone_id: str) -> set[str]:
    """The names in a zone that may be routes."""
    routed = select(Record.name).where(Record.zone_id == zone_id, Record.type == "CNAME", Record.proxied.is_(True))
    return set(session.scalars(routed))


def _rows(
    session: Session, query: Select[*tuple[Any, ...]], hostnames: Collection[str] | None, left_out: LeftOut
) -> Iterator[Any]:
    if hostnames is None:
        yield from read_rows(session, query, Record.id, "record", left_out)
        return
    names = sorted(hostnames)
    for start in range(0, len(names), NAMES_A_QUERY):
        some = names[start : start + NAMES_A_QUERY]
        # by the zones that may hold them: records are found by zone and name
        zones = {zone for name in some for zone in _at_and_above(name)}
        asked = query.where(Zone.name.in_(zones), Record.name.in_(some))
        yield from read_rows(session, asked, Record.id, "record", left_out)


def _is_routable(name: str) -> bool:
    return _ROUTABLE.fullmatch(name) is not None and len(name.removeprefix("*.")) <= LONGEST_NAME


def _at_and_above(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.partition(".")[2]
