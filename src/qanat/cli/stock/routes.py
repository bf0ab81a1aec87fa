"""`tunnel route dns`, `lb` and `ip …`."""

import re
from ipaddress import ip_address, ip_interface
from urllib.parse import quote

from qanat.cli.stock.command_line import Invocation, no_uuid, parse_uuid
from qanat.cli.stock.networks import vnet_id
from qanat.cli.stock.output import Row, Time, is_table, render, say, shown_time, table, whole_seconds
from qanat.cli.stock.session import Session, wrapped
from qanat.errors import QanatError
from qanat.ids import parse_hostname

_NAME = re.compile(r"[_a-zA-Z0-9][-_.a-zA-Z0-9]*", re.ASCII)
_HOSTNAME = re.compile(r"[*_a-zA-Z0-9][-_.a-zA-Z0-9]*", re.ASCII)
LATER = "Private networks are stored and listed; an edge of qanat does not carry their traffic yet."

_ROUTE_FILTERS = (
    ("filter-network-is-subset-of", "network_subset"),
    ("filter-network-is-superset-of", "network_superset"),
)


def dns(session: Session) -> None:
    """Sends a public hostname to a tunnel."""
    asked = session.asked
    if len(asked.words) != 2:
        raise asked.usage(
            f'This command expects the format "{asked.called} tunnel route dns <tunnel name/id> <hostname>"'
        )
    word, hostname = asked.words
    tunnel_id = session.tunnel_id(word)
    summary = route_dns(session, tunnel_id, hostname, overwrite=asked.yes("overwrite-dns"))
    session.log.info(summary, tunnelID=tunnel_id)


def route_dns(session: Session, tunnel_id: str, hostname: str, *, overwrite: bool) -> str:
    """What was done, in stock's words."""
    _check_name(hostname, _HOSTNAME, "hostname")
    body = {"type": "dns", "user_hostname": hostname, "overwrite_existing": overwrite}
    done: Row = session.one(
        "PUT", f"/zones/{session.zone_id(hostname)}/tunnels/{tunnel_id}/routes", "add route", body=body
    )
    name = str(done.get("name") or hostname)
    match done.get("cname"):
        case "new":
            return f"Added CNAME {name} which will route to this tunnel"
        case "updated":
            return f"{name} updated to route to your tunnel"
        case "unchanged":
            return f"{name} is already configured to route to your tunnel"
        case _:
            return f"{name} is set"


def lb(session: Session) -> None:
    """Makes a tunnel an origin of a load balancer's pool."""
    asked = session.asked
    if len(asked.words) != 3:
        raise asked.usage(
            f'This command expects the format "{asked.called} tunnel route lb <tunnel name/id> <hostname> '
            '<load balancer pool>"'
        )
    word, name, pool = asked.words
    tunnel_id = session.tunnel_id(word)
    session.log.info(route_lb(session, tunnel_id, name, pool), tunnelID=tunnel_id)


def route_lb(session: Session, tunnel_id: str, name: str, pool: str) -> str:
    """What was done, in stock's words."""
    _check_name(name, _HOSTNAME, "load balancer name")
    _check_name(pool, _NAME, "pool name")
    body = {"type": "lb", "lb_name": name, "lb_pool": pool}
    done: Row = session.one("PUT", f"/zones/{session.zone_id(name)}/tunnels/{tunnel_id}/routes", "add route", body=body)
    match (done.get("load_balancer"), done.get("pool")):
        case ("new", "new"):
            return f"Created load balancer {name} and added a new pool {pool} with this tunnel as an origin"
        case ("new", "updated"):
            return f"Created load balancer {name} with an existing pool {pool} which was updated to use this tunnel as an origin"
        case ("new", "unchanged"):
            return (
                f"Created load balancer {name} with an existing pool {pool} which already has this tunnel as an origin"
            )
        case ("updated", "new"):
            return f"Added new pool {pool} with this tunnel as an origin to load balancer {name}"
        case ("updated", "updated"):
            return f"Updated pool {pool} to use this tunnel as an origin and added it to load balancer {name}"
        case ("updated", "unchanged"):
            return f"Added pool {pool}, which already has this tunnel as an origin, to load balancer {name}"
        case ("unchanged", "updated"):
            return f"Added this tunnel as an origin in pool {pool} which is already used by load balancer {name}"
        case ("unchanged", "unchanged"):
            return f"Load balancer {name} already uses pool {pool} which has this tunnel as an origin"
        case _:
            return (
                f"Something went wrong: failed to modify load balancer {name} with pool {pool}; please check traffic manager "
                "configuration in the dashboard"
            )


def _check_name(text: str, pattern: re.Pattern[str], what: str) -> None:
    if not text:
        raise QanatError("usage", f"The argument should be the {what}")
    plain = text
    if not text.isascii():
        try:
            plain = parse_hostname(text)
        except QanatError:
            plain = ""
    labels = plain.removesuffix(".").split(".")
    if not pattern.fullmatch(plain) or len(plain) > 253 or not all(0 < len(label) <= 63 for label in labels):
        raise QanatError("usage", f"{text} is not a valid {what}")


# ---------------------------------------------------------------- private networks


def add(session: Session) -> None:
    """Stores a route to a private network."""
    asked = session.asked
    if len(asked.words) < 2:
        raise QanatError(
            "usage",
            "You must supply at least 2 arguments, first the network you wish to route (in CIDR form e.g. 1.2.3.4/32) and then "
            "the tunnel ID to proxy with",
        )
    network = _network(asked.words[0])
    if network is None:
        raise QanatError("usage", f"Invalid network CIDR: invalid CIDR address: {asked.words[0]}")
    try:
        tunnel_id = session.tunnel_id(asked.words[1])
    except QanatError as error:
        raise wrapped("Invalid tunnel", error) from error
    comment = asked.words[2] if len(asked.words) > 2 else asked.text("comment")
    body = {"network": network, "tunnel_id": tunnel_id, "comment": comment}
    if asked.is_set("vnet"):
        body["virtual_network_id"] = vnet_id(session, asked.text("vnet"))
    try:
        session.one("POST", f"/accounts/{session.account_id}/teamnet/routes", "add route", body=body)
    except QanatError as error:
        raise wrapped("API error", error) from error
    say(f"Successfully added route for {network} over tunnel {tunnel_id}")


def show(session: Session) -> None:
    """Lists routes to private networks."""
    asked = session.asked
    query: dict[str, str | int] = {
        "tun_types": "cfd_tunnel",
        "is_deleted": "true" if asked.yes("filter-is-deleted") else "false",
    }
    for flag, key in _ROUTE_FILTERS:
        if asked.is_set(flag):
            network = _network(asked.text(flag))
            if network is None:
                message = f"invalid config for routing filters: invalid CIDR address: {asked.text(flag)}"
                raise QanatError("usage", message, where=asked.place(flag))
            query[key] = network
    if asked.text("filter-comment-is"):
        query["comment"] = asked.text("filter-comment-is")
    for flag, key in (("filter-tunnel-id", "tunnel_id"), ("filter-vnet-id", "virtual_network_id")):
        if asked.text(flag):
            query[key] = _id(asked, flag)
    routes = session.listed(f"/accounts/{session.account_id}/teamnet/routes", query)
    form = asked.text("output")
    if not is_table(form):
        render(form, [_shown(row, form) for row in routes])
    elif routes:
        _print(routes)
    else:
        say(
            "No routes were found for the given filter flags. You can use "
            f"'{asked.called} tunnel route ip add' to add a route."
        )


def delete(session: Session) -> None:
    """Deletes a route, by its id or its network."""
    asked = session.asked
    refused = QanatError(
        "usage", "You must supply exactly one argument, the ID or CIDR of the route you want to delete"
    )
    if len(asked.words) != 1:
        raise refused
    route_id = parse_uuid(asked.words[0])
    if route_id is None:
        network = _network(asked.words[0])
        if network is None:
            raise refused
        route_id = _route_of(session, network, vnet_id(session, asked.text("vnet")) if asked.is_set("vnet") else None)
    try:
        session.one("DELETE", f"/accounts/{session.account_id}/teamnet/routes/{route_id}", "delete route")
    except QanatError as error:
        raise wrapped("API error", error) from error
    say(f"Successfully deleted route with ID {route_id}")


def _route_of(session: Session, network: str, vnet: str | None) -> str:
    query: dict[str, str | int] = {
        "tun_types": "cfd_tunnel",
        "is_deleted": "false",
        "network_subset": network,
        "network_superset": network,
        **({"virtual_network_id": vnet} if vnet is not None else {}),
    }
    found = session.listed(f"/accounts/{session.account_id}/teamnet/routes", query)
    if len(found) != 1:
        hint = "name its virtual network by --vnet, or give the route's ID" if found else None
        raise QanatError("teamnet_route_unknown", "unable to find route for provided network and vnet", hint=hint)
    return str(found[0]["id"])


def get(session: Session) -> None:
    """Shows which route an address takes."""
    asked = session.asked
    if len(asked.words) != 1:
        raise QanatError(
            "usage",
            "You must supply exactly one argument, an IP whose route will be queried (e.g. 1.2.3.4 or 2001:0db8:::7334)",
        )
    try:
        address = str(ip_address(asked.words[0]))
    except ValueError:
        raise QanatError("usage", f"Invalid IP {asked.words[0]}") from None
    query = {"virtual_network_id": vnet_id(session, asked.text("vnet"))} if asked.is_set("vnet") else None
    path = f"/accounts/{session.account_id}/teamnet/routes/ip/{quote(address, safe='')}"
    try:
        route: Row = session.one("GET", path, "get route by IP", query=query) or {}
    except QanatError as error:
        raise wrapped("API error", error) from error
    tunnel_id = parse_uuid(str(route.get("tunnel_id") or ""))
    if tunnel_id is None or not set(tunnel_id) - {"0", "-"}:
        say(f"No route matches the IP {address}")
    else:
        _print([route])


def _network(text: str) -> str | None:
    """In its canonical form, as Go's ParseCIDR: host bits are dropped."""
    try:
        return str(ip_interface(text).network) if "/" in text else None
    except ValueError:
        return None


def _id(asked: Invocation, flag: str) -> str:
    found = parse_uuid(asked.text(flag))
    if found is None:
        message = f"invalid config for routing filters: Couldn't parse UUID from {flag}: {no_uuid(asked.text(flag))}"
        raise QanatError("usage", message, where=asked.place(flag))
    return found


def _print(routes: list[Row]) -> None:
    head = ("ID", "NETWORK", "VIRTUAL NET ID", "COMMENT", "TUNNEL ID", "TUNNEL NAME", "CREATED", "DELETED")
    rows = [
        (
            row["id"],
            row["network"],
            row.get("virtual_network_id") or "default",
            row.get("comment") or "",
            row["tunnel_id"],
            row.get("tunnel_name") or "",
            whole_seconds(row.get("created_at")),
            whole_seconds(row["deleted_at"]) if row.get("deleted_at") else "-",
        )
        for row in routes
    ]
    for line in table([head, *rows]):
        print(line)


def _shown(row: Row, form: str) -> Row:
    network = row["network"]
    shown = {
        "id": row["id"],
        "network": _go_network(network) if form == "yaml" else network,
        "tunnel_id": row["tunnel_id"],
        "virtual_network_id": row.get("virtual_network_id"),
        "comment": row.get("comment") or "",
        "created_at": Time(shown_time(row.get("created_at"))),
        "deleted_at": Time(shown_time(row.get("deleted_at"))),
        "tunnel_name": row.get("tunnel_name") or "",
    }
    return shown if shown["virtual_network_id"] or form == "yaml" else {k: v for k, v in shown.items() if v is not None}


def _go_network(text: str) -> Row:
    """Go's YAML has a network as address and mask."""
    network = ip_interface(text).network
    return {"ip": str(network.network_address), "mask": list(network.netmask.packed)}
