"""`qanat zone …`."""

from typing import Annotated

import typer

from qanat.cli.access import AccountOption, ApiOption, TokenFileOption, connect
from qanat.cli.output import Output, OutputOption, print_json, print_rows, say

app = typer.Typer(no_args_is_help=True, help="Zones: the domains whose hostnames are served.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="The domain, such as example.com.")],
    account: AccountOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a zone."""
    with connect(api, token_file) as client:
        zone = client.create_zone(client.account_id(account), name)
    if output is Output.JSON:
        print_json(zone)
    else:
        say(f"made zone {zone.name} with id {zone.id}")


@app.command("list")
def list_(api: ApiOption = None, token_file: TokenFileOption = None, output: OutputOption = Output.TEXT) -> None:
    """List zones."""
    with connect(api, token_file) as client:
        zones = client.zones()
    if output is Output.JSON:
        print_json(zones)
        return
    print_rows(
        ("ID", "NAME", "STATUS", "ACCOUNT"),
        ((zone.id, zone.name, "paused" if zone.paused else zone.status, zone.account.name) for zone in zones),
        empty="there are no zones",
    )


@app.command("delete")
def delete(
    zone: Annotated[str, typer.Argument(help="Name or id of the zone.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Delete a zone and its records."""
    with connect(api, token_file) as client:
        found = client.find_zone(zone)
        if found.id != zone and found.name != zone.lower().removesuffix("."):
            raise typer.BadParameter(f"{zone} is not a zone itself; it is in {found.name}")
        if not yes:
            typer.confirm(f"Delete {found.name} and its {len(client.records(found.id))} records?", abort=True)
        client.delete_zone(found.id)
    say(f"deleted zone {found.name}")
