"""`qanat service update`."""

from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.output import say
from qanat.cli.service.options import InitOption

app = typer.Typer()


@app.command("update")
def update(
    package: Annotated[
        Path | None,
        typer.Argument(metavar="[PACKAGE]", help="A .deb to install first, which then does the rest itself."),
    ] = None,
    init: InitOption = None,
    limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the new version may take until its /ready is 200.")
    ] = 60.0,
) -> None:
    """Let the service go over to the version that is installed now; if that isn't ready in time, back to the one before."""
    from qanat.host.machine import Machine
    from qanat.host.service.manager import manager_of
    from qanat.host.service.update import Update, install_package

    machine = Machine()
    if package is not None:
        install_package(machine, package)
        say(f"installed {package.name}")
        return
    done = Update(machine, manager_of(machine, init), limit).run()
    how = "handed over" if done.handed_over else "started anew"
    if done.connections:
        say(f"{how}: the new version is connected ({done.connections} connections)")
    else:
        say(f"{how}: not connected, as before the update")
