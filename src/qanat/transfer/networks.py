"""Virtual networks and private routes of a document."""

from ipaddress import ip_network
from typing import Any

from sqlalchemy import select

from qanat.control.private_routes import MAX_COMMENT as MAX_ROUTE_COMMENT
from qanat.control.virtual_networks import MAX_COMMENT, MAX_NAME
from qanat.errors import QanatError
from qanat.ids import parse_tunnel_id
from qanat.store.models import TeamnetRoute, Tunnel, VirtualNetwork
from qanat.transfer.document import RoutePart, VirtualNetworkPart
from qanat.transfer.run import Run, put


def write(run: Run) -> None:
    """All of them; the account's default network stands for the document's."""
    networks = _networks(run)
    run.write.session.flush()
    _routes(run, networks)


def _networks(run: Run) -> dict[str, str]:
    """The document's ids → ours."""
    session = run.write.session
    live = select(VirtualNetwork).where(
        VirtualNetwork.account_id == run.account_id, VirtualNetwork.deleted_at.is_(None)
    )
    here = list(session.scalars(live))
    names = {row.name: row.id for row in here}
    default = next((row for row in here if row.is_default), None)
    default_id = default.id if default is not None else None
    rows = run.rows(VirtualNetwork, (part.id for part in run.document.virtual_networks))
    ids: dict[str, str] = {}
    for part in run.document.virtual_networks:
        row = rows.get(part.id)
        if part.id in ids or not _is_id(part.id) or (row is not None and row.account_id != run.account_id):
            run.conflict("virtual network", part.id, part.name, "the id is taken, or is not a UUID")
        elif not (part.name.strip() and len(part.name) <= MAX_NAME and part.name.isprintable()):
            run.conflict("virtual network", part.id, part.name, f"a name has 1 to {MAX_NAME} printable characters")
        elif len(part.comment) > MAX_COMMENT:
            run.conflict("virtual network", part.id, part.name, f"a comment has at most {MAX_COMMENT} characters")
        elif row is None and part.is_default and default is not None:
            ids[part.id] = default.id
            run.step("virtual network", default.id, default.name, "same", "the account's default stands for it")
        elif names.get(part.name, part.id) != part.id:
            run.conflict("virtual network", part.id, part.name, f"{names[part.name]} has this name")
        else:
            ids[part.id] = part.id
            names[part.name] = part.id
            is_default = part.id == default_id or (part.is_default and default_id is None)
            default_id = part.id if is_default else default_id
            _network(run, part, row, is_default=is_default)
    return ids


def _network(run: Run, part: VirtualNetworkPart, row: VirtualNetwork | None, *, is_default: bool) -> None:
    """An account has one default network: the one that it has stays it."""
    values = {
        "name": part.name,
        "comment": part.comment,
        "is_default": is_default,
        "created_at": part.created_at,
        "deleted_at": None,
    }
    _keep(run, VirtualNetwork, row, values, part.id, "virtual network", part.name)


def _routes(run: Run, networks: dict[str, str]) -> None:
    session = run.write.session
    live = select(TeamnetRoute).where(TeamnetRoute.account_id == run.account_id, TeamnetRoute.deleted_at.is_(None))
    taken = {(row.virtual_network_id, row.network): row.id for row in session.scalars(live)}
    rows = run.rows(TeamnetRoute, (part.id for part in run.document.routes))
    own = select(Tunnel.id).where(Tunnel.account_id == run.account_id, Tunnel.deleted_at.is_(None))
    tunnels = set(session.scalars(own))
    for part in run.document.routes:
        row = rows.get(part.id)
        network_id = networks.get(part.virtual_network_id)
        if not _is_id(part.id) or (row is not None and row.account_id != run.account_id):
            run.conflict("private route", part.id, part.network, "the id is taken, or is not a UUID")
        elif network_id is None or part.tunnel_id not in tunnels:
            run.conflict("private route", part.id, part.network, "its tunnel or virtual network is not in the file")
        elif len(part.comment) > MAX_ROUTE_COMMENT:
            run.conflict(
                "private route", part.id, part.network, f"a comment has at most {MAX_ROUTE_COMMENT} characters"
            )
        elif not _is_canonical(part.network):
            run.conflict("private route", part.id, part.network, "it is not a valid network, such as 10.0.0.0/8")
        elif taken.get((network_id, part.network), part.id) != part.id:
            run.conflict("private route", part.id, part.network, "another route has this network")
        else:
            taken[network_id, part.network] = part.id
            _route(run, part, row, network_id)


def _route(run: Run, part: RoutePart, row: TeamnetRoute | None, network_id: str) -> None:
    values = {
        "network": part.network,
        "tunnel_id": part.tunnel_id,
        "virtual_network_id": network_id,
        "comment": part.comment,
        "created_at": part.created_at,
        "deleted_at": None,
    }
    _keep(run, TeamnetRoute, row, values, part.id, "private route", part.network)


def _keep(
    run: Run,
    model: type[VirtualNetwork | TeamnetRoute],
    row: VirtualNetwork | TeamnetRoute | None,
    values: dict[str, Any],
    part_id: str,
    kind: str,
    name: str,
) -> None:
    """A new row, or the one that is here with the document's values."""
    if row is None:
        run.write.session.add(model(id=part_id, account_id=run.account_id, **values))
        run.write.grow("virtual_networks" if model is VirtualNetwork else "private_routes", run.account_id)
        run.step(kind, part_id, name, "create")
    else:
        run.step(kind, part_id, name, "change" if put(row, values) else "same")


def _is_id(text: str) -> bool:
    try:
        return parse_tunnel_id(text) == text
    except QanatError:
        return False


def _is_canonical(network: str) -> bool:
    try:
        return str(ip_network(network)) == network
    except ValueError:
        return False
