"""Which hostnames are probed, through which tunnels, and how."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from qanat.health import checks
from qanat.health.questions import Check
from qanat.health.services import Services
from qanat.tables.reading import read_routes, read_shares
from qanat.tables.routes import compile_destinations, compile_routes

CONNECT_EVERY_S = 30.0
"""Services that aren't HTTP note each connection in their logs; for those that nobody has set anything for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A hostname, a tunnel that it leads to, and how it is asked: by HTTP, or by connecting. `not_probed`: why it can't be."""

    hostname: str
    tunnel_id: str
    check: Check
    connects: bool = False
    not_probed: str = ""


def read_asked(
    session: Session, services: Services, *, connected: Iterable[str], route_of: Callable[[str], str | None]
) -> list[Asked]:
    """All of them. Every tunnel of a hostname with weights is asked, those without a part too: they may get one.

    Args:
        services: reads the rules of these tunnels, and of those that are `connected`.
        route_of: which tunnel a hostname leads to now, for those that a wildcard covers.
    """
    targets = read_routes(session)
    accounts = {target.hostname: target.account_id or "" for target in targets}
    destinations = compile_destinations(compile_routes(targets), read_shares(session))
    rules = checks.read(session)
    owners = {str(target.tunnel_id): target.account_id for target in targets}
    found: dict[tuple[str, str], str] = {
        (str(hostname), str(tunnel_id)): accounts[hostname]
        for hostname, destination in destinations.items()
        if not hostname.startswith("*.")
        for tunnel_id, _ in destination.targets
    }
    routed = {hostname for hostname, _ in found}
    for account_id, hostname in rules.rows:
        if hostname in routed or "." not in hostname:
            continue
        wild = route_of(hostname)
        if wild is not None and owners.get(wild) == account_id:
            found[hostname, wild] = account_id
    services.read(session, {*connected, *(tunnel_id for _, tunnel_id in found)})
    return [
        _asked(hostname, tunnel_id, rules.of(account_id=account_id, hostname=hostname, tunnel_id=tunnel_id), services)
        for (hostname, tunnel_id), account_id in found.items()
    ]


def _asked(hostname: str, tunnel_id: str, check: Check, services: Services) -> Asked:
    access = services.of(tunnel_id, hostname, check.path)
    if access.kind == "http":
        return Asked(hostname, tunnel_id, check)
    if access.kind == "none":
        return Asked(hostname, tunnel_id, check, not_probed=f"not probed: its service is {access.service}")
    if check is checks.DEFAULT:
        check = replace(check, interval_s=CONNECT_EVERY_S)
    return Asked(hostname, tunnel_id, check, connects=True)
