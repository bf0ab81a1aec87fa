"""Hostname → tunnel routes for the edge, compiled from proxied records."""

import re
from collections.abc import Collection, Iterable, Iterator

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.ids import Hostname, TunnelId
from qanat.store.models import Record, Tunnel, Zone

NAMES_A_QUERY = 500
_ROUTABLE = re.compile(r"(\*\.)?([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
"""What the engine takes for a hostname: no request can name another, and one odd name must not keep the others away."""

Target = tuple[Hostname, TunnelId]


def compile_routes(targets: Iterable[Target]) -> dict[Hostname, TunnelId]:
    """One route a hostname, whatever the order; exact before wildcard is the router's business.

    Raises:
        QanatError: `route_conflict`, one hostname points to two tunnels; `where` is the hostname.
    """
    routes: dict[Hostname, TunnelId] = {}
    for hostname, tunnel in targets:
        if routes.setdefault(hostname, tunnel) != tunnel:
            raise QanatError(
                "route_conflict", f"{hostname} points to two tunnels", where=hostname, hint="delete one record"
            )
    return routes


def read_routes(session: Session, hostnames: Collection[str] | None = None) -> list[Target]:
    """What the proxied CNAMEs (of these hostnames; None: all) say: the tunnel is of the zone's account, and the zone isn't
    paused. Of a name that two zones have, one inside the other, the inner zone's counts, as in DNS. A deleted tunnel's
    hostnames stay, so that its visitors get the tunnel's error and not an unknown hostname's."""
    query = (
        select(Record.name, Record.tunnel_id, Zone.name)
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
    for name, tunnel_id, zone in _rows(session, query, hostnames):
        if tunnel_id is None or _ROUTABLE.fullmatch(name) is None:
            continue
        before = innermost.setdefault(name, zone)
        if len(zone) > len(before):
            innermost[name] = zone
            targets.pop(name)
        elif zone != before:
            continue
        targets.setdefault(name, []).append((Hostname(name), TunnelId(tunnel_id)))
    return [target for each in targets.values() for target in each]


def read_zone_hostnames(session: Session, zone_id: str) -> set[str]:
    """The names in a zone that may be routes."""
    routed = select(Record.name).where(Record.zone_id == zone_id, Record.type == "CNAME", Record.proxied.is_(True))
    return set(session.scalars(routed))


def _rows(
    session: Session, query: Select[str, str | None, str], hostnames: Collection[str] | None
) -> Iterator[Row[str, str | None, str]]:
    if hostnames is None:
        yield from session.execute(query)
        return
    names = sorted(hostnames)
    for start in range(0, len(names), NAMES_A_QUERY):
        some = names[start : start + NAMES_A_QUERY]
        # by the zones that may hold them: records are found by zone and name
        zones = {zone for name in some for zone in _at_and_above(name)}
        yield from session.execute(query.where(Zone.name.in_(zones), Record.name.in_(some)))


def _at_and_above(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.partition(".")[2]
