"""`qanat service uninstall`."""

from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.output import say
from qanat.cli.service.options import InitOption, RootOption

app = typer.Typer()


@app.command("uninstall")
def uninstall(
    root: RootOption = Path("/"),
    init: InitOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Also when this session comes through the tunnel.")] = False,
) -> None:
    """Stop the service and remove all that `install` made, the token with it."""
    from qanat.host.machine import Machine
    from qanat.host.service.install import uninstall as uninstall_service

    removed = uninstall_service(Machine(root.absolute()), init, cut_session=yes)
    for path in removed:
        say(f"removed {path}")
    if not removed:
        say("there is no service to remove")
