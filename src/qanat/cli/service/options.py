"""Options that the commands of `qanat service` share."""

from pathlib import Path
from typing import Annotated

import typer

RootOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR", help="A folder that stands for the machine: files alone are changed, nothing is started."
    ),
]
InitOption = Annotated[
    str | None,
    typer.Option("--init", metavar="NAME", help="systemd, openrc, sysv or launchd; else what the machine has."),
]
