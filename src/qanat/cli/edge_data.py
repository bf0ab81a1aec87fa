"""`qanat edge restore`, `new-token` and `rotate-key`: an edge's database, the way back into it, and its secrets' key."""

from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import Output, OutputOption, tell

app = typer.Typer()


@app.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="A backup, as `qanat backup create` wrote it.")],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", envvar="QANAT_DATA_DIR", help="Directory of the edge's database.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Put a backup in place of the database, on the edge's host and while it is stopped.

    The backup is checked before anything is changed, and the database before is kept beside it.
    """
    from qanat.defaults import default_data_dir
    from qanat.edge.backup import restore_backup

    done = restore_backup(file, data_dir if data_dir is not None else default_data_dir())
    lines = [f"restored {done['tunnels']} tunnels, {done['zones']} zones and {done['records']} records from {file}"]
    if done["kept"] is not None:
        lines.append(f"the database before is kept as {done['kept']}")
    if not done["has_key"]:
        lines.append("secret.key is not here: put the one that belongs to this backup into the data directory")
    tell(output, done, "\n".join(lines))


@app.command("new-token")
def new_token(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", envvar="QANAT_DATA_DIR", help="Directory of the edge's database.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", envvar="QANAT_CONFIG", help="The edge's TOML file with settings.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make an API token that may do everything, on the edge's host and while it is stopped.

    For when the last token that may make others was lost or deleted. It is written to DATA_DIR/first-token, readable by
    its owner only, and not shown; every other token stays as it is.
    """
    from qanat.edge.data_dir import DataDir
    from qanat.settings import load_edge_settings

    settings = load_edge_settings(file=config, flags={"data_dir": data_dir})
    directory = DataDir(settings.data_dir).lock()
    try:
        directory.new_token(settings.store, account=settings.control.account)
    finally:
        directory.unlock()
    file = str(directory.token_file)
    tell(output, {"token_file": file}, f"a token that may do everything is in {file}; delete it when it isn't needed")


@over_api(app, "rotate-key")
def rotate_key(at: Access) -> None:
    """Seal every secret of a running edge anew under a new key."""
    with at.connect(timeout_s=600.0) as client:
        done = client.rotate_key()
    told = f"sealed {done['secrets']} secrets under the new key {done['key_id']}\n{done['next']}"
    tell(at.output, done, told)
