"""Private network routes: kept and listed as stock clients do. Their traffic is not carried yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from uuid import uuid4

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from qanat.control import tunnels, virtual_networks
from qanat.control.virtual_networks import ensure_default
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.models import TeamnetRoute, Tunnel, VirtualNetwork

MAX_COMMENT = 100

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class FullRoute:
    """A route with the tunnel and the virtual network that it names."""

    route: TeamnetRoute
    tunnel: Tunnel
    network: VirtualNetwork


def parse_network(text: str, *, where: str = "network") -> Network:
    """A CIDR in its canonical form; an address alone is a network of one.

    Raises:
        QanatError: `teamnet_bad_network`; with bits behind the prefix the hint names the network that was meant.
    """
    try:
        if "%" in text:
            raise ValueError("an address with a scope can't be routed")
        return ip_network(text)
    except ValueError as error:
        raise QanatError(
            "teamnet_bad_network",
            f"Could not parse input: {text[:60]!a} is not a valid network (CIDR): {_reason(text, error)}",
            where=where,
        ) from None


def parse_address(text: str, *, where: str = "ip") -> Address:
    """QanatError `teamnet_bad_network`."""
    try:
        return ip_address(text)
    except ValueError:
        raise QanatError(
            "teamnet_bad_network",
            f"Could not parse input: {text[:60]!a} is not a valid IP address, such as 10.0.0.1",
            where=where,
        ) from None


def create(
    write: Write, *, account_id: str, network: str, tunnel_id: str, network_id: str | None, comment: str
) -> FullRoute:
    """In the account's default virtual network unless one is named.

    Raises:
        QanatError: `teamnet_bad_network`, `teamnet_bad_comment`, `tunnel_unknown`, `virtual_network_unknown`,
            `teamnet_route_taken`, `teamnet_route_too_many`.
    """
    canonical = str(parse_network(network))
    _check_comment(comment)
    if network_id is None:
        network_id = ensure_default(write, account_id).id
    tunnel = tunnels.get(write.session, account_id, tunnel_id)
    virtual = virtual_networks.get(write.session, account_id, network_id)
    _check_free(write.session, virtual, canonical)
    route = TeamnetRoute(
        id=str(uuid4()),
        account_id=account_id,
        network=canonical,
        tunnel_id=tunnel.id,
        virtual_network_id=virtual.id,
        comment=comment,
        created_at=write.at,
        deleted_at=None,
    )
    write.session.add(route)
    write.grow("private_routes", account_id)
    _told(write, route, "teamnet_route.create")
    return FullRoute(route, tunnel, virtual)


def change(
    write: Write,
    *,
    account_id: str,
    route_id: str,
    network: str | None = None,
    tunnel_id: str | None = None,
    network_id: str | None = None,
    comment: str | None = None,
) -> FullRoute:
    """Sets what is given. QanatError as `create`, and `teamnet_route_unknown`."""
    canonical = str(parse_network(network)) if network is not None else None
    if comment is not None:
        _check_comment(comment)
    route = get(write.session, account_id, route_id).route
    before = _shown(route)
    tunnel = tunnels.get(write.session, account_id, tunnel_id if tunnel_id is not None else route.tunnel_id)
    virtual = virtual_networks.get(
        write.session, account_id, network_id if network_id is not None else route.virtual_network_id
    )
    place = (virtual.id, canonical if canonical is not None else route.network)
    if place != (route.virtual_network_id, route.network):
        _check_free(write.session, virtual, place[1])
    route.virtual_network_id, route.network = place
    route.tunnel_id = tunnel.id
    route.comment = comment if comment is not None else route.comment
    _told(write, route, "teamnet_route.change", before=before)
    return FullRoute(route, tunnel, virtual)


def delete(write: Write, *, account_id: str, route_id: str) -> FullRoute:
    """One that is deleted already again is no error: its tunnel may have taken it along (api.md 2.7).

    Raises:
        QanatError: `teamnet_route_unknown`, there never was one.
    """
    full = get(write.session, account_id, route_id, deleted=True)
    if full.route.deleted_at is None:
        full.route.deleted_at = write.at
        _told(write, full.route, "teamnet_route.delete")
    else:
        _told(write, full.route, "teamnet_route.delete_again")
    return full


def get(session: Session, account_id: str, route_id: str, *, deleted: bool = False) -> FullRoute:
    """QanatError `teamnet_route_unknown`; `deleted`: a deleted one is found too."""
    found = session.get(TeamnetRoute, route_id)
    if found is None or found.account_id != account_id or (found.deleted_at is not None and not deleted):
        raise _unknown()
    return _full(session, [found])[0]


def find(
    session: Session, account_id: str, network: str, network_id: str | None, *, deleted: bool = False
) -> FullRoute:
    """The route of exactly this network in a virtual network (the default one). `deleted`: else the newest deleted one.

    Raises:
        QanatError: `teamnet_bad_network`, `virtual_network_unknown`, `teamnet_route_unknown`.
    """
    canonical = str(parse_network(network))
    virtual = (
        virtual_networks.get(session, account_id, network_id)
        if network_id
        else virtual_networks.default(session, account_id)
    )
    if virtual is None:
        raise _unknown()
    query = select(TeamnetRoute).where(
        TeamnetRoute.account_id == account_id,
        TeamnetRoute.virtual_network_id == virtual.id,
        TeamnetRoute.network == canonical,
    )
    rows = list(session.scalars(query.order_by(TeamnetRoute.created_at, TeamnetRoute.id)))
    live = [row for row in rows if row.deleted_at is None] or (rows if deleted else [])
    if not live:
        raise _unknown()
    return _full(session, live[-1:])[0]


def page(
    session: Session,
    account_id: str,
    *,
    filters: Sequence[ColumnElement[bool]],
    within: Network | None,
    containing: Network | None,
    offset: int,
    limit: int,
) -> tuple[list[FullRoute], int]:
    """A page in order of age, and how many match in all. `within`: networks that lie in this one; `containing`: those
    that it lies in; both the same: exactly this one."""
    query = select(TeamnetRoute).where(TeamnetRoute.account_id == account_id, *filters)
    if within is not None and within == containing:
        query = query.where(TeamnetRoute.network == str(within))
    rows = list(session.scalars(query.order_by(TeamnetRoute.created_at, TeamnetRoute.id)))
    if within is not None or containing is not None:
        rows = [row for row in rows if _lies(row, within, containing)]
    return _full(session, rows[offset : offset + limit]), len(rows)


def of_address(session: Session, account_id: str, address: Address, network_id: str | None) -> FullRoute | None:
    """The longest live route that an address lies in; None when there is none.

    Raises:
        QanatError: `virtual_network_unknown`.
    """
    virtual = (
        virtual_networks.get(session, account_id, network_id)
        if network_id
        else virtual_networks.default(session, account_id)
    )
    if virtual is None:
        return None
    query = select(TeamnetRoute).where(TeamnetRoute.virtual_network_id == virtual.id, TeamnetRoute.deleted_at.is_(None))
    best: tuple[int, TeamnetRoute] | None = None
    for row in session.scalars(query):
        network = ip_network(row.network)
        if address in network and (best is None or network.prefixlen > best[0]):
            best = network.prefixlen, row
    return _full(session, [best[1]])[0] if best is not None else None


def _lies(route: TeamnetRoute, within: Network | None, containing: Network | None) -> bool:
    network = ip_network(route.network)
    return (within is None or _is_part(network, within)) and (containing is None or _is_part(containing, network))


def _is_part(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def _full(session: Session, routes: Sequence[TeamnetRoute]) -> list[FullRoute]:
    tunnels = {
        tunnel.id: tunnel
        for tunnel in session.scalars(select(Tunnel).where(Tunnel.id.in_({route.tunnel_id for route in routes})))
    }
    wanted = {route.virtual_network_id for route in routes}
    networks = {row.id: row for row in session.scalars(select(VirtualNetwork).where(VirtualNetwork.id.in_(wanted)))}
    return [FullRoute(route, tunnels[route.tunnel_id], networks[route.virtual_network_id]) for route in routes]


def _check_free(session: Session, network: VirtualNetwork, canonical: str) -> None:
    taken = session.scalar(
        select(TeamnetRoute.id).where(
            TeamnetRoute.virtual_network_id == network.id,
            TeamnetRoute.network == canonical,
            TeamnetRoute.deleted_at.is_(None),
        )
    )
    if taken is not None:
        raise QanatError(
            "teamnet_route_taken",
            f"You already have a route defined for this exact IP subnet: {canonical} in {network.name}",
            where="network",
            hint="change or delete that route, or choose another virtual network",
        )


def _check_comment(comment: str) -> None:
    if len(comment) > MAX_COMMENT:
        raise QanatError("teamnet_bad_comment", f"a comment has at most {MAX_COMMENT} characters", where="comment")


def _reason(text: str, error: ValueError) -> str:
    try:
        return f"it has bits behind its prefix; write {ip_network(text, strict=False)}"
    except ValueError:
        return str(error)[:100]


def _shown(route: TeamnetRoute) -> dict[str, object]:
    return {
        "network": route.network,
        "tunnel_id": route.tunnel_id,
        "virtual_network_id": route.virtual_network_id,
        "comment": route.comment,
    }


def _told(write: Write, route: TeamnetRoute, action: str, *, before: dict[str, object] | None = None) -> None:
    detail = _shown(route) if before is None else {**_shown(route), "before": before}
    write.audit(action, route.id, account_id=route.account_id, detail=detail)


def _unknown() -> QanatError:
    return QanatError("teamnet_route_unknown", "no such route", where="route_id")
