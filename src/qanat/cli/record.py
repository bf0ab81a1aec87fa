"""`qanat record …`."""

import json
from pathlib import Path
from typing import Annotated, Any, TypedDict, Unpack

import typer

from qanat.cli import complete
from qanat.cli.access import Access
from qanat.cli.command import FileArgument, ZoneArgument, over_api
from qanat.cli.output import print_file, print_json, print_rows, read_object, read_text, say, tell
from qanat.cli.weights import weights
from qanat.client import Client, Record
from qanat.client.profiles import write_secret
from qanat.client.zones import TUNNEL_SUFFIX
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="DNS records; a proxied CNAME to a tunnel is a public hostname.")

ZoneOption = Annotated[
    str | None,
    typer.Option(
        "--zone",
        help="Name or id of the zone. By default the closest one above the name.",
        autocompletion=complete.zones,
    ),
]
TunnelOption = Annotated[
    str | None,
    typer.Option(help="Name or id: a proxied CNAME to this tunnel.", autocompletion=complete.tunnels),
]
RecordArgument = Annotated[
    str, typer.Argument(metavar="RECORD", help="Id of the record, or its name when only one has it.")
]
TypeOption = Annotated[str | None, typer.Option("--type", help="Which one, when several have the name.")]


class Options(TypedDict):
    """What `create` and `change` take alike; None where it wasn't given."""

    content: Annotated[str | None, typer.Option(help="The content, such as 192.0.2.1 or mail.example.com.")]
    data: Annotated[
        str | None, typer.Option(help='The structured form of types such as SRV and CAA, as JSON: {"flags":0,…}.')
    ]
    proxied: Annotated[bool | None, typer.Option(help="Whether the edge answers for the hostname.")]
    ttl: Annotated[int | None, typer.Option(help="Seconds; 1 is automatic.")]
    priority: Annotated[int | None, typer.Option(help="Of MX and URI records.")]
    comment: Annotated[str | None, typer.Option(help="A remark.")]
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag, name:value; may be repeated.")]
    zone: ZoneOption


@over_api(app, "create", account=True)
def create(
    at: Access,
    name: Annotated[str, typer.Argument(help="The hostname, such as app.example.com or *.example.com.")],
    tunnel: TunnelOption = None,
    type_: Annotated[str, typer.Option("--type", help="The type, when it isn't for a tunnel.")] = "CNAME",
    **options: Unpack[Options],
) -> None:
    """Make a record."""
    if sum(each is not None for each in (tunnel, options["content"], options["data"])) != 1:
        raise QanatError("usage", "give one of --tunnel, --content and --data", where="--tunnel")
    with at.connect() as client:
        found = client.find_zone(options["zone"] or name)
        fields = _fields(options)
        fields |= {"name": name, "type": type_.upper()}
        if tunnel is not None:
            fields |= _to_tunnel(at, client, tunnel)
        record = client.put_record(found.id, fields)
    tell(at.output, record, f"made {_line(record)}")


@over_api(app, "change", account=True)
def change(
    at: Access,
    record: RecordArgument,
    tunnel: TunnelOption = None,
    type_: TypeOption = None,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    cutover_policy: Annotated[
        str | None,
        typer.Option(
            help="enforce, warn or off: whether it may go to a tunnel that doesn't serve. By default as its zone says."
        ),
    ] = None,
    **options: Unpack[Options],
) -> None:
    """Change a record; what isn't given stays."""
    with at.connect() as client:
        found = client.find_zone(options["zone"] or record)
        fields = _fields(options)
        if tunnel is not None:
            fields |= _to_tunnel(at, client, tunnel)
        if name is not None:
            fields["name"] = name
        if not fields:
            raise QanatError("usage", "nothing to change was given", where="--content")
        old = client.find_record(found, record, type=type_.upper() if type_ else None)
        changed = client.put_record(found.id, fields, record_id=old.id, cutover_policy=cutover_policy)
    tell(at.output, changed, f"changed {_line(changed)}")


@over_api(app, "list")
def list_(
    at: Access,
    zone: ZoneArgument,
    name: Annotated[str | None, typer.Option(help="Only those of this name.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only those of this type.")] = None,
    search: Annotated[str | None, typer.Option(help="Only those that have this text somewhere.")] = None,
) -> None:
    """List a zone's records."""
    with at.connect() as client:
        found = client.zone_itself(zone)
        records = client.records(found.id, name=name, type=type_.upper() if type_ else None, search=search)
    if at.as_json:
        print_json(records)
        return
    print_rows(
        ("ID", "TYPE", "NAME", "CONTENT", "PROXIED", "TTL"),
        ((each.id, each.type, each.name, each.content, "yes" if each.proxied else "no", each.ttl) for each in records),
        empty="the zone has no records",
    )


@over_api(app, "quarantined", account=True)
def quarantined(at: Access) -> None:
    """List the records whose tunnel is deleted: they serve nobody, and keep their names until they are changed or deleted."""
    with at.connect() as client:
        found = client.quarantined_records(at.account_id(client))
    if at.as_json:
        print_json(found)
        return
    print_rows(
        ("ID", "NAME", "TUNNEL", "DELETED"),
        ((each["id"], each["name"], f"{each['tunnel_name']} ({each['tunnel_id']})", each["since"]) for each in found),
        empty="no record's tunnel is deleted",
    )


@over_api(app, "delete")
def delete(
    at: Access,
    record: RecordArgument,
    type_: TypeOption = None,
    zone: ZoneOption = None,
) -> None:
    """Delete a record."""
    with at.connect() as client:
        found = client.find_zone(zone or record)
        old = client.find_record(found, record, type=type_.upper() if type_ else None)
        client.delete_record(found.id, old.id)
    tell(at.output, {"id": old.id}, f"deleted {old.type} {old.name}")


@over_api(app, "export")
def export(
    at: Access,
    zone: ZoneArgument,
    file: Annotated[Path | None, typer.Argument(help="Where to write it; by default standard output.")] = None,
) -> None:
    """Write a zone's records as a BIND zone file."""
    with at.connect() as client:
        found = client.zone_itself(zone)
        text = client.export_records(found.id)
    if file is None:
        print_file(text)
        return
    write_secret(file, text, replace=False)
    tell(at.output, {"file": str(file), "zone_id": found.id}, f"wrote {file}")


@over_api(app, "import")
def import_(
    at: Access,
    zone: ZoneArgument,
    file: FileArgument,
    proxied: Annotated[bool, typer.Option(help="Whether the records that can be are proxied.")] = False,
) -> None:
    """Make records from a BIND zone file: all of them, or none."""
    text = read_text(file)
    with at.connect() as client:
        done = client.import_records(client.zone_itself(zone).id, text, proxied=proxied)
    tell(at.output, done, f"made {done.recs_added} records of the {done.total_records_parsed} in the file")


@over_api(app, "batch")
def batch(at: Access, zone: ZoneArgument, file: FileArgument) -> None:
    """Change many records in one transaction, by a JSON file {"deletes":[],"patches":[],"puts":[],"posts":[]}."""
    document = read_object(file)
    with at.connect() as client:
        done = client.batch_records(client.zone_itself(zone).id, document)
    if at.as_json:
        print_json(done)
        return
    for key, records in done.items():
        for record in records:
            say(f"{key.removesuffix('s'):<6} {_line(record)}")


def _fields(options: Options) -> dict[str, Any]:
    given = {
        "content": options["content"],
        "data": _parsed(options["data"]),
        "proxied": options["proxied"],
        "ttl": options["ttl"],
        "priority": options["priority"],
        "comment": options["comment"],
        "tags": options["tag"] or None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _parsed(data: str | None) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise QanatError("usage", f"it is not JSON: {error}", where="--data") from error
    if not isinstance(parsed, dict):
        raise QanatError("usage", "it is not a JSON object", where="--data")
    return parsed


def _to_tunnel(at: Access, client: Client, tunnel: str) -> dict[str, Any]:
    found = client.find_tunnel(at.account_id(client), tunnel)
    return {"type": "CNAME", "content": found.id + TUNNEL_SUFFIX, "proxied": True, "ttl": 1}


def _line(record: Record) -> str:
    return f"{record.type} {record.name} → {record.content}{' (proxied)' if record.proxied else ''}"


over_api(app, "weights", account=True)(weights)
