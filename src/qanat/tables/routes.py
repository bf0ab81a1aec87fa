"""Hostname → tunnel routes for the edge, compiled from what proxied records say."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from qanat.ids import LONGEST_NAME, Hostname, TunnelId
from qanat.store.skipped import Failure, LeftOut

_ROUTABLE = re.compile(r"(\*\.)?([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
"""What the engine takes for a hostname."""


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


def is_routable(name: str) -> bool:
    """Whether a request can name it: one odd name must not keep the others away."""
    return _ROUTABLE.fullmatch(name) is not None and len(name.removeprefix("*.")) <= LONGEST_NAME
