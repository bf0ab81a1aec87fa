"""`qanat tunnel …`."""

import sys
from typing import Annotated

import typer

from qanat.cli import configuration, connector_token, private_route
from qanat.cli.access import Access
from qanat.cli.command import TunnelArgument, over_api
from qanat.cli.output import print_json, print_rows, say, tell
from qanat.client.zones import TUNNEL_SUFFIX

app = typer.Typer(no_args_is_help=True, help="Tunnels: make them, configure them, run their connectors.")
app.add_typer(configuration.app, name="config")
app.add_typer(connector_token.app, name="connector-token")
route = typer.Typer(no_args_is_help=True, help="Public hostnames and private networks of a tunnel.")
app.add_typer(route, name="route")
route.add_typer(private_route.app, name="ip")


@over_api(app, "create", account=True)
def create(
    at: Access,
    name: Annotated[str, typer.Argument(help="A name, unique in the account.")],
    config_src: Annotated[
        str, typer.Option(help="`cloudflare`: ingress rules come from this API; `local`: from the connector's file.")
    ] = "cloudflare",
) -> None:
    """Make a tunnel."""
    with at.connect() as client:
        tunnel = client.create_tunnel(at.account_id(client), name, config_src=config_src)
    if at.as_json:
        print_json({"id": tunnel.id, "name": tunnel.name, "config_src": tunnel.config_src, "token": tunnel.token})
        return
    say(f"made tunnel {tunnel.name} with id {tunnel.id}")
    say(f"its connector token: qanat tunnel token {tunnel.name}")


@over_api(app, "list", account=True)
def list_(
    at: Access,
    deleted: Annotated[bool, typer.Option("--deleted", help="The deleted ones instead.")] = False,
    name: Annotated[str | None, typer.Option(help="Only the one of this name.")] = None,
) -> None:
    """List tunnels."""
    with at.connect() as client:
        tunnels = client.tunnels(at.account_id(client), name=name, deleted=deleted)
    if at.as_json:
        print_json(tunnels)
        return
    print_rows(
        ("ID", "NAME", "STATUS", "CONNECTIONS", "CREATED"),
        ((each.id, each.name, each.status, len(each.connections), each.created_at) for each in tunnels),
        empty="there are no tunnels",
    )


def show(at: Access, tunnel: TunnelArgument) -> None:
    """Show a tunnel, its status since when and why, and its connectors."""
    with at.connect() as client:
        found = client.find_tunnel(at.account_id(client), tunnel)
        detail = client.tunnel_detail(found.id)
    if at.as_json:
        print_json(detail)
        return
    say(f"{detail.name}  {detail.id}")
    reason = f": {detail.status_reason}" if detail.status_reason else ""
    say(f"{detail.status} since {detail.status_since}{reason}")
    say(f"configuration version {detail.configuration_version}")
    print_rows(
        ("CONNECTOR", "VERSION", "INDEX", "PROTOCOL", "LOCATION", "FROM", "CONFIG", "SINCE"),
        (
            (
                connector.id,
                connector.version,
                connection.index,
                connection.protocol,
                connection.location,
                connection.origin_ip,
                connection.config_error or connection.applied_version,
                connection.opened_at,
            )
            for connector in detail.connectors
            for connection in connector.connections
        ),
        empty="no connector is connected",
    )


over_api(app, "show", account=True)(show)
over_api(app, "get", account=True, hidden=True)(show)  # its name in the first version


@over_api(app, "rename", account=True)
def rename(at: Access, tunnel: TunnelArgument, name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Rename a tunnel; its id and its tokens stay."""
    with at.connect() as client:
        account_id = at.account_id(client)
        renamed = client.rename_tunnel(account_id, client.find_tunnel(account_id, tunnel).id, name)
    tell(at.output, renamed, f"tunnel {renamed.id} is named {renamed.name}")


@over_api(app, "delete", account=True)
def delete(
    at: Access,
    tunnel: TunnelArgument,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Also when connectors are connected: they are dropped.")
    ] = False,
) -> None:
    """Delete a tunnel."""
    with at.connect() as client:
        account_id = at.account_id(client)
        found = client.find_tunnel(account_id, tunnel)
        client.delete_tunnel(account_id, found.id, cascade=force)
    tell(at.output, {"id": found.id, "name": found.name}, f"deleted tunnel {found.name} ({found.id})")


@over_api(app, "token", account=True)
def token(at: Access, tunnel: TunnelArgument) -> None:
    """Print the token that `qanat tunnel run` (or a stock cloudflared) takes."""
    with at.connect() as client:
        account_id = at.account_id(client)
        text = client.connector_token(account_id, client.find_tunnel(account_id, tunnel).id)
    if at.as_json:
        print_json({"token": text})
    else:
        say(text)


@over_api(app, "cleanup", account=True)
def cleanup(
    at: Access,
    tunnel: TunnelArgument,
    connector: Annotated[str | None, typer.Option(help="Only this connector's connections.")] = None,
) -> None:
    """Drop a tunnel's connections; connectors that still run come back."""
    with at.connect() as client:
        account_id = at.account_id(client)
        found = client.find_tunnel(account_id, tunnel)
        client.disconnect(account_id, found.id, connector_id=connector)
    tell(at.output, {"id": found.id}, f"dropped the connections of {found.name}")


@over_api(route, "dns", account=True)
def route_dns(
    at: Access,
    tunnel: TunnelArgument,
    hostname: Annotated[str, typer.Argument(help="The public hostname, such as app.example.com.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the name points to now.")] = False,
) -> None:
    """Send a public hostname to a tunnel: a proxied CNAME in its zone."""
    with at.connect() as client:
        account_id = at.account_id(client)
        found = client.find_tunnel(account_id, tunnel)
        done = client.route_dns(client.find_zone(hostname).id, hostname, found.id, overwrite=overwrite)
    tell(at.output, done, f"{done.get('cname')}: {done.get('name')} → {found.id}{TUNNEL_SUFFIX}")


@app.command(
    "run",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
def run(context: typer.Context) -> None:
    """Run a connector of a tunnel here. `qanat tunnel run --help` lists its flags."""
    # `python -m qanat` starts the connector without Typer; this is for whoever comes through the command tree.
    from qanat.connector.process import main

    sys.exit(main(["tunnel", "run", *context.args]))
