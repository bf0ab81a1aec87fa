"""Hostname → tunnel routes for the edge, compiled from what proxied records say."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from qanat.ids import LONGEST_NAME, Hostname, TunnelId
from qanat.store.skipped import Failure, LeftOut

_ROUTABLE = re.compile(r"(\*\.)?([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
"""What the engine takes for a hostname."""


Sticky = Literal["none", "address", "cookie"]
"""What a visitor stays with its target by."""


class Share(NamedTuple):
    """One tunnel's part of a hostname's requests."""

    hostname: Hostname
    tunnel_id: TunnelId
    weight: int
    sticky: Sticky


class Destination(NamedTuple):
    """Where a hostname leads: tunnels with their weights."""

    targets: tuple[tuple[TunnelId, int], ...]
    sticky: Sticky = "none"


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


def compile_destinations(routes: Mapping[Hostname, TunnelId], shares: Iterable[Share]) -> dict[Hostname, Destination]:
    """The shares of a hostname count as long as its record's tunnel is one of them: a record that is repointed
    elsewhere, by whatever client, wins."""
    by_hostname: dict[Hostname, list[Share]] = {}
    for share in shares:
        by_hostname.setdefault(share.hostname, []).append(share)
    return {name: _destination(tunnel, by_hostname.get(name, ())) for name, tunnel in routes.items()}


def _destination(declared: TunnelId, shares: Iterable[Share]) -> Destination:
    targets = {share.tunnel_id: share for share in shares}
    if declared not in targets or not any(share.weight for share in targets.values()):
        return Destination(((declared, 1),))
    ordered = tuple(sorted((share.tunnel_id, share.weight) for share in targets.values()))
    return Destination(ordered, targets[declared].sticky)


def is_routable(name: str) -> bool:
    """Whether a request can name it: one odd name must not keep the others away."""
    return _ROUTABLE.fullmatch(name) is not None and len(name.removeprefix("*.")) <= LONGEST_NAME
