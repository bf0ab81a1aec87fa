"""`qanat tunnel …`."""

import sys
from typing import Annotated

import typer

from qanat.cli import configuration, connector_token, tunnel_mode
from qanat.cli.access import Access
from qanat.cli.command import TunnelArgument, over_api
from qanat.cli.output import note, print_json, print_rows, say, tell
from qanat.cli.stock_listing import add_stock_commands

app = typer.Typer(no_args_is_help=True, help="Tunnels: make them, configure them, run their connectors.")
app.add_typer(configuration.app, name="config")
app.add_typer(connector_token.app, name="connector-token")
add_stock_commands(app, "tunnel")


def show(at: Access, tunnel: TunnelArgument) -> None:
    """Show a tunnel, its status since when and why, and its connectors."""
    from qanat.client.http import StandardOnlyError  # not for every start

    with at.connect() as client:
        found = client.find_tunnel(at.account_id(client), tunnel)
        try:
            detail = client.tunnel_detail(found.id)
        except StandardOnlyError:
            detail = client.told_detail(at.account_id(client), found)
            note(
                "this control plane has only the standard endpoints: it can't say why a status is so, or by which protocol"
            )
    if at.as_json:
        print_json(detail)
        return
    say(f"{detail.name}  {detail.id}")
    reason = f": {detail.status_reason}" if detail.status_reason else ""
    say(f"{detail.status} since {detail.status_since}{reason}")
    say(f"configuration version {detail.configuration_version}")
    if detail.active_node is not None:
        say(f"mode {detail.mode}: the node {detail.active_node} is active, epoch {detail.epoch}")
    print_rows(
        ("CONNECTOR", "VERSION", "INDEX", "PROTOCOL", "KEY EXCHANGE", "RTT", "LOCATION", "FROM", "CONFIG", "SINCE"),
        (
            (
                connector.id,
                connector.version,
                connection.index,
                connection.protocol,
                connection.key_exchange or "unknown",
                f"{connection.rtt_s * 1000:.1f} ms" if connection.rtt_s is not None else None,
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


over_api(app, "mode", account=True)(tunnel_mode.mode)


@over_api(app, "rename", account=True)
def rename(at: Access, tunnel: TunnelArgument, name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Rename a tunnel; its id and its tokens stay."""
    with at.connect() as client:
        account_id = at.account_id(client)
        renamed = client.rename_tunnel(account_id, client.find_tunnel(account_id, tunnel).id, name)
    tell(at.output, renamed, f"tunnel {renamed.id} is named {renamed.name}")


@app.command(
    "run",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
def run(context: typer.Context) -> None:
    """Run a connector of a tunnel here. `qanat tunnel run --help` lists its flags."""
    # `python -m qanat` starts the connector without Typer; this is for whoever comes through the command tree.
    from qanat.connector.command import main

    sys.exit(main(["tunnel", "run", *context.args]))
