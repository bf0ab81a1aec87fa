"""`qanat tunnel config …`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qanat.cli.access import Access
from qanat.cli.command import TunnelArgument, over_api
from qanat.cli.output import print_json, print_rows, read_object, say, tell
from qanat.client import Client
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="A tunnel's remote configuration (its ingress rules) and its history.")

VersionArgument = Annotated[int, typer.Argument(min=1, help="A version; see `qanat tunnel config versions`.")]


def show(
    at: Access,
    tunnel: TunnelArgument,
    version: Annotated[int | None, typer.Option(min=1, help="An earlier version instead of the one in force.")] = None,
) -> None:
    """Print a configuration as JSON."""
    with at.connect() as client:
        account_id, tunnel_id = _found(at, client, tunnel)
        found = (
            client.configuration(account_id, tunnel_id)
            if version is None
            else client.configuration_version(tunnel_id, version)
        )
    print_json({"version": found.version, "source": found.source, "config": found.config})


over_api(app, "show", account=True)(show)
over_api(app, "get", account=True, hidden=True)(show)  # its name in the first version


@over_api(app, "put", account=True)
def put(
    at: Access,
    tunnel: TunnelArgument,
    file: Annotated[Path, typer.Argument(help='JSON file: {"ingress": […]}; `-` for standard input.')],
) -> None:
    """Put a whole configuration; connected connectors apply it at once."""
    document = _read_document(file)
    with at.connect() as client:
        account_id, tunnel_id = _found(at, client, tunnel)
        stored = client.put_configuration(account_id, tunnel_id, document)
    tell(at.output, {"version": stored.version}, f"{tunnel} is at configuration version {stored.version}")


@over_api(app, "versions", account=True)
def versions(at: Access, tunnel: TunnelArgument) -> None:
    """List the configurations that a tunnel had, newest first, with their authors."""
    with at.connect() as client:
        _, tunnel_id = _found(at, client, tunnel)
        found = client.configuration_versions(tunnel_id)
    if at.as_json:
        print_json(found)
        return
    print_rows(
        ("VERSION", "CREATED", "AUTHOR", "SOURCE", "RULES"),
        (
            (each.version, each.created_at, each.author, each.source, len(each.config.get("ingress") or ()))
            for each in found
        ),
        empty="the tunnel never had a configuration",
    )


@over_api(app, "diff", account=True)
def diff(
    at: Access,
    tunnel: TunnelArgument,
    before: VersionArgument,
    after: Annotated[int | None, typer.Argument(min=1, help="The later one; by default the one in force.")] = None,
) -> None:
    """Show what changed between two versions."""
    with at.connect() as client:
        account_id, tunnel_id = _found(at, client, tunnel)
        newest = after if after is not None else client.configuration(account_id, tunnel_id).version
        found = client.configuration_diff(tunnel_id, before, newest)
    if at.as_json:
        print_json(found)
        return
    for line in diff_lines(found):
        say(line)


@over_api(app, "rollback", account=True)
def rollback(at: Access, tunnel: TunnelArgument, version: VersionArgument) -> None:
    """Put an earlier version in force again, as the newest one."""
    with at.connect() as client:
        _, tunnel_id = _found(at, client, tunnel)
        stored = client.roll_back(tunnel_id, version)
    tell(
        at.output,
        {"version": stored.version},
        f"{tunnel} is at configuration version {stored.version}, which is version {version} again",
    )


def diff_lines(found: dict[str, Any]) -> list[str]:
    """A diff as the API answers it, as lines."""
    changes = found.get("changes")
    if not isinstance(changes, list):
        return [f"{key}: {value}" for key, value in found.items()]
    if not changes:
        return ["the two are the same"]
    return [f"{each.get('path', '')}: {each.get('before')!r} → {each.get('after')!r}" for each in changes]


def _found(at: Access, client: Client, tunnel: str) -> tuple[str, str]:
    account_id = at.account_id(client)
    return account_id, client.find_tunnel(account_id, tunnel).id


def _read_document(file: Path) -> dict[str, Any]:
    try:
        document = read_object(file)
    except QanatError as error:
        raise QanatError("configuration_malformed", error.message, where="FILE") from error
    if isinstance(document.get("config"), dict) and "ingress" not in document:
        return dict(document["config"])
    return document
