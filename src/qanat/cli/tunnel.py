"""`qanat tunnel …`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.access import AccountOption, ApiOption, TokenFileOption, connect
from qanat.cli.output import Output, OutputOption, print_json, print_rows, say
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="Tunnels: make them, configure them, run their connectors.")
config = typer.Typer(no_args_is_help=True, help="A tunnel's remote configuration (its ingress rules).")
app.add_typer(config, name="config")

TunnelArgument = Annotated[str, typer.Argument(metavar="TUNNEL", help="Name or id of the tunnel.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="A name, unique in the account.")],
    config_src: Annotated[
        str, typer.Option(help="`cloudflare`: ingress rules come from this API; `local`: from the connector's file.")
    ] = "cloudflare",
    account: AccountOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a tunnel."""
    with connect(api, token_file) as client:
        tunnel = client.create_tunnel(client.account_id(account), name, config_src=config_src)
    if output is Output.JSON:
        print_json({"id": tunnel.id, "name": tunnel.name, "config_src": tunnel.config_src, "token": tunnel.token})
        return
    say(f"made tunnel {tunnel.name} with id {tunnel.id}")
    say(f"its connector token: qanat tunnel token {tunnel.name}")


@app.command("list")
def list_(
    deleted: Annotated[bool, typer.Option("--deleted", help="The deleted ones instead.")] = False,
    name: Annotated[str | None, typer.Option(help="Only the one of this name.")] = None,
    account: AccountOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List tunnels."""
    with connect(api, token_file) as client:
        tunnels = client.tunnels(client.account_id(account), name=name, deleted=deleted)
    if output is Output.JSON:
        print_json(tunnels)
        return
    print_rows(
        ("ID", "NAME", "STATUS", "CONNECTIONS", "CREATED"),
        ((each.id, each.name, each.status, len(each.connections), each.created_at) for each in tunnels),
        empty="there are no tunnels",
    )


@app.command("get")
def get(
    tunnel: TunnelArgument,
    account: AccountOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show a tunnel, its status since when and why, and its connectors."""
    with connect(api, token_file) as client:
        found = client.find_tunnel(client.account_id(account), tunnel)
        detail = client.tunnel_detail(found.id)
    if output is Output.JSON:
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


@app.command("delete")
def delete(
    tunnel: TunnelArgument,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Also when connectors are connected: they are dropped.")
    ] = False,
    account: AccountOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Delete a tunnel."""
    with connect(api, token_file) as client:
        account_id = client.account_id(account)
        found = client.find_tunnel(account_id, tunnel)
        client.delete_tunnel(account_id, found.id, cascade=force)
    say(f"deleted tunnel {found.name} ({found.id})")


@app.command("token")
def token(
    tunnel: TunnelArgument,
    account: AccountOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print the token that `qanat tunnel run` (or a stock cloudflared) takes."""
    with connect(api, token_file) as client:
        account_id = client.account_id(account)
        text = client.connector_token(account_id, client.find_tunnel(account_id, tunnel).id)
    if output is Output.JSON:
        print_json({"token": text})
    else:
        print(text)


@app.command("disconnect")
def disconnect(
    tunnel: TunnelArgument,
    connector: Annotated[str | None, typer.Option(help="Only this connector's connections.")] = None,
    account: AccountOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Drop a tunnel's connections; connectors that still run come back."""
    with connect(api, token_file) as client:
        account_id = client.account_id(account)
        found = client.find_tunnel(account_id, tunnel)
        client.disconnect(account_id, found.id, connector_id=connector)
    say(f"dropped the connections of {found.name}")


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


@config.command("get")
def config_get(
    tunnel: TunnelArgument,
    account: AccountOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Print the configuration in force as JSON."""
    with connect(api, token_file) as client:
        account_id = client.account_id(account)
        found = client.configuration(account_id, client.find_tunnel(account_id, tunnel).id)
    print_json({"version": found.version, "source": found.source, "config": found.config})


@config.command("put")
def config_put(
    tunnel: TunnelArgument,
    file: Annotated[Path, typer.Argument(help='JSON file: {"ingress": […]}; `-` for standard input.')],
    account: AccountOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Put a whole configuration; connected connectors apply it at once."""
    document = _read_document(file)
    with connect(api, token_file) as client:
        account_id = client.account_id(account)
        found = client.find_tunnel(account_id, tunnel)
        stored = client.put_configuration(account_id, found.id, document)
    if output is Output.JSON:
        print_json({"version": stored.version})
    else:
        say(f"{found.name} is at configuration version {stored.version}")


def _read_document(file: Path) -> dict[str, object]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as error:
        raise QanatError("configuration_malformed", f"{file}: {error.strerror}", where="FILE") from error
    except (ValueError, RecursionError) as error:
        raise QanatError("configuration_malformed", f"{file} is not JSON: {error}", where="FILE") from error
    if isinstance(document, dict) and isinstance(document.get("config"), dict) and "ingress" not in document:
        document = document["config"]
    if not isinstance(document, dict):
        raise QanatError("configuration_malformed", f"{file} is not a JSON object", where="FILE")
    return document
