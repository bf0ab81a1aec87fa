"""`qanat tunnel route ip …`: private networks, as `cloudflared tunnel route ip` knows them."""

from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import TunnelArgument, over_api
from qanat.cli.output import note, print_json, print_rows, tell
from qanat.client import Client, PrivateRoute
from qanat.errors import QanatError

LATER = "Private networks are stored and listed; their traffic is not carried yet."

app = typer.Typer(no_args_is_help=True, help=f"Private networks behind a tunnel. {LATER}")

NetworkArgument = Annotated[str, typer.Argument(metavar="CIDR", help="The network, such as 10.20.0.0/16.")]
VirtualNetworkOption = Annotated[
    str | None, typer.Option("--vnet", help="Name or id of the virtual network (the default one).")
]


@over_api(app, "list", account=True)
def list_(at: Access) -> None:
    """List the account's private routes."""
    with at.connect() as client:
        routes = client.private_routes(at.account_id(client))
    if at.as_json:
        print_json(routes)
        return
    print_rows(
        ("ID", "NETWORK", "TUNNEL", "VIRTUAL NETWORK", "COMMENT", "CREATED"),
        (
            (each.id, each.network, each.tunnel_name, each.virtual_network_name, each.comment, each.created_at)
            for each in routes
        ),
        empty="the account has no private routes",
    )


@over_api(app, "add", account=True)
def add(
    at: Access,
    network: NetworkArgument,
    tunnel: TunnelArgument,
    comment: Annotated[str, typer.Option(help="A few words on what it is.")] = "",
    vnet: VirtualNetworkOption = None,
) -> None:
    """Store a route to a private network. No traffic follows it yet."""
    with at.connect() as client:
        account_id = at.account_id(client)
        made = client.add_private_route(
            account_id,
            network,
            client.find_tunnel(account_id, tunnel).id,
            comment=comment,
            virtual_network_id=client.find_virtual_network(account_id, vnet).id if vnet is not None else None,
        )
    note(LATER)
    tell(at.output, {"id": made.id, "network": made.network}, f"stored {made.network} → {made.tunnel_name} ({made.id})")


@over_api(app, "delete", account=True)
def delete(at: Access, network: NetworkArgument, vnet: VirtualNetworkOption = None) -> None:
    """Delete a route to a private network."""
    with at.connect() as client:
        account_id = at.account_id(client)
        gone = client.delete_private_route(account_id, _route(client, account_id, network, vnet).id)
    tell(at.output, {"id": gone.id, "network": gone.network}, f"deleted {gone.network} → {gone.tunnel_name}")


def _route(client: Client, account_id: str, network: str, vnet: str | None) -> PrivateRoute:
    virtual = client.find_virtual_network(account_id, vnet) if vnet is not None else None
    networks = [each for each in client.virtual_networks(account_id) if each.is_default_network]
    wanted = {virtual.id} if virtual is not None else {each.id for each in networks}
    for each in client.private_routes(account_id, network=network):
        if each.virtual_network_id in wanted:
            return each
    raise QanatError(
        "teamnet_route_unknown",
        f"there is no route for {network} in {virtual.name if virtual is not None else 'the default virtual network'}",
        hint="see `qanat tunnel route ip list`",
    )
