"""`qanat service shim`."""

from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.output import say

app = typer.Typer()


@app.command("shim")
def shim(
    to: Annotated[Path, typer.Option(metavar="DIR", help="The folder that gets it.")] = Path("/usr/local/bin"),
    undo: Annotated[bool, typer.Option("--undo", help="Remove it again.")] = False,
) -> None:
    """Install a second entry point named `cloudflared`, for scripts that say that name."""
    from qanat.host import shim as shims

    if undo:
        removed = shims.undo(to)
        say(f"removed {removed}" if removed else f"there is no {shims.NAME} in {to}")
        return
    path, changed = shims.make(to, shims.program())
    say(f"{path} is qanat now" if changed else f"{path} was qanat already")
    if (other := shims.hidden_by(path)) is not None:
        say(f"note: `{shims.NAME}` still means {other}, which $PATH finds first")
