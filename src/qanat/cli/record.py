"""`qanat record …`."""

from typing import Annotated

import typer

from qanat.cli.access import AccountOption, ApiOption, TokenFileOption, connect
from qanat.cli.output import Output, OutputOption, print_json, print_rows, say
from qanat.client.api import TUNNEL_SUFFIX
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="DNS records; a proxied CNAME to a tunnel is a public hostname.")

ZoneOption = Annotated[
    str | None, typer.Option("--zone", help="Name or id of the zone. By default the closest one above the name.")
]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="The hostname, such as app.example.com or *.example.com.")],
    tunnel: Annotated[str | None, typer.Option(help="Name or id: a proxied CNAME to this tunnel.")] = None,
    type_: Annotated[str, typer.Option("--type", help="The type, when it isn't for a tunnel.")] = "CNAME",
    content: Annotated[str | None, typer.Option(help="The content, when it isn't for a tunnel.")] = None,
    proxied: Annotated[bool, typer.Option(help="Whether the edge answers for the hostname.")] = False,
    ttl: Annotated[int, typer.Option(help="Seconds; 1 is automatic.")] = 1,
    zone: ZoneOption = None,
    account: AccountOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a record."""
    if (tunnel is None) == (content is None):
        raise QanatError("usage", "give either --tunnel, or --type and --content", where="--tunnel")
    with connect(api, token_file) as client:
        found = client.find_zone(zone or name)
        if tunnel is not None:
            target = client.find_tunnel(client.account_id(account), tunnel)
            content, type_, proxied, ttl = target.id + TUNNEL_SUFFIX, "CNAME", True, 1
        record = client.create_record(
            found.id, name=name, type=type_.upper(), content=content or "", proxied=proxied, ttl=ttl
        )
    if output is Output.JSON:
        print_json(record)
    else:
        say(f"made {record.type} {record.name} → {record.content}{' (proxied)' if record.proxied else ''}")


@app.command("list")
def list_(
    zone: Annotated[str, typer.Argument(help="Name or id of the zone.")],
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List a zone's records."""
    with connect(api, token_file) as client:
        records = client.records(client.find_zone(zone).id)
    if output is Output.JSON:
        print_json(records)
        return
    print_rows(
        ("ID", "TYPE", "NAME", "CONTENT", "PROXIED", "TTL"),
        ((each.id, each.type, each.name, each.content, "yes" if each.proxied else "no", each.ttl) for each in records),
        empty="the zone has no records",
    )


@app.command("delete")
def delete(
    record: Annotated[str, typer.Argument(help="Id of the record, or its name when only one has it.")],
    zone: ZoneOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Delete a record."""
    with connect(api, token_file) as client:
        found = client.find_zone(zone or record)
        wanted = record.lower().removesuffix(".")
        matching = [each for each in client.records(found.id) if wanted in (each.id, each.name)]
        if len(matching) != 1:
            count = "no record" if not matching else f"{len(matching)} records"
            raise QanatError(
                "record_unknown", f"{count} of {found.name} match {record!r}", hint="see `qanat record list`"
            )
        client.delete_record(found.id, matching[0].id)
    say(f"deleted {matching[0].type} {matching[0].name}")
