"""`qanat audit …`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.files import stream_to
from qanat.cli.output import print_json, print_json_lines, print_rows, tell
from qanat.client import AuditRow, Client

app = typer.Typer(no_args_is_help=True, help="The audit log: who wrote what, and whether it is whole.")

ActionOption = Annotated[
    str | None, typer.Option(help="Only this action, such as record.create, or all of a kind: record.")
]
ActorOption = Annotated[str | None, typer.Option(help="Only what this token (or user) wrote: its id.")]
ObjectOption = Annotated[str | None, typer.Option("--object", help="Only about the tunnel, zone, … of this id.")]
SinceOption = Annotated[str | None, typer.Option(help="From this time on, such as 2026-11-25T00:00:00Z.")]
UntilOption = Annotated[str | None, typer.Option(help="Before this time.")]


@over_api(app, "list", account=True)
def list_(
    at: Access,
    action: ActionOption = None,
    actor: ActorOption = None,
    object_id: ObjectOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
) -> None:
    """List the newest writes."""
    with at.connect() as client:
        rows = client.audit(_filters(at, client, action, actor, object_id, since, until), limit=limit)
    if at.as_json:
        print_json(rows)
        return
    print_rows(
        ("SEQ", "AT", "ACTOR", "FROM", "ACTION", "OBJECT", "DETAIL"),
        (
            (row.seq, row.at, _actor(row), row.actor.address, row.action, row.object_id, json.dumps(row.detail))
            for row in rows
        ),
        empty="no write matches",
    )


@over_api(app, "verify")
def verify(at: Access) -> None:
    """Check the chain of hashes: exit status 1 and the first broken row when one was changed or removed."""
    with at.connect(timeout_s=600.0) as client:
        verdict = client.verify_audit()
    if verdict.ok:
        text = f"the audit log is whole: {verdict.count} rows, the last is {verdict.last_seq} with hash {verdict.last_hash}"
    else:
        text = f"the audit log is broken at row {verdict.first_broken}: {verdict.reason}"
    tell(at.output, verdict, text)
    if not verdict.ok:
        raise typer.Exit(1)


@over_api(app, "export", account=True)
def export(
    at: Access,
    file: Annotated[Path | None, typer.Argument(help="Where to write it; by default standard output.")] = None,
    action: ActionOption = None,
    actor: ActorOption = None,
    object_id: ObjectOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
) -> None:
    """Write the log as JSON lines, oldest first."""
    with (
        at.connect(timeout_s=600.0) as client,
        client.export_audit(_filters(at, client, action, actor, object_id, since, until)) as pieces,
    ):
        if file is None:
            print_json_lines(pieces)
            return
        size = stream_to(file, pieces)
    tell(at.output, {"file": str(file), "bytes": size}, f"wrote {file} ({size} bytes)")


def _filters(
    at: Access,
    client: Client,
    action: str | None,
    actor: str | None,
    object_id: str | None,
    since: str | None,
    until: str | None,
) -> dict[str, str]:
    """Rows of every account, unless one is named."""
    name = at.account_name()
    given = {
        "action": action,
        "actor": actor,
        "object_id": object_id,
        "since": since,
        "until": until,
        "account": client.account_id(name) if name else None,
    }
    return {key: value for key, value in given.items() if value}


def _actor(row: AuditRow) -> str:
    return f"{row.actor.kind} {row.actor.id}"
