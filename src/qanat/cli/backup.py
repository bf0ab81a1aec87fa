"""`qanat backup …`: the whole store as one file."""

from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.files import sha256_of, stream_to
from qanat.cli.output import Output, OutputOption, tell

app = typer.Typer(no_args_is_help=True, help="Backups of the whole store, made while it runs.")


@over_api(app, "create")
def create(
    at: Access, file: Annotated[Path, typer.Argument(help="Where to write it; an existing file is kept.")]
) -> None:
    """Write a backup of the whole store. It holds sealed secrets: keep it, and the key apart from it."""
    with at.connect(timeout_s=600.0) as client, client.backup() as pieces:
        size = stream_to(file, pieces)
    digest = sha256_of(file)
    tell(
        at.output,
        {"file": str(file), "bytes": size, "sha256": digest},
        f"wrote {file}: {size} bytes, sha256 {digest}",
    )


@app.command("verify")
def verify(file: Annotated[Path, typer.Argument(help="A backup.")], output: OutputOption = Output.TEXT) -> None:
    """Check that a file is a whole backup. Nothing is asked of a control plane."""
    from qanat.edge.backup import check_backup

    found = check_backup(file)
    tell(output, found, f"{file} is a whole backup of {found.get('tunnels')} tunnels")
