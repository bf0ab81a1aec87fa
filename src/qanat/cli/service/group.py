"""`qanat service …`: the connector as a service of this host."""

from typing import ClassVar

import typer

from qanat.cli.lazy import LazyGroup


class Commands(LazyGroup):
    """Each in a module of its own, loaded when it is asked for."""

    places: ClassVar = {
        "install": "service.install:app",
        "uninstall": "service.uninstall:app",
        "shim": "service.shim:app",
        "update": "service.update:app",
        "upgrade": "service.upgrade:app",
    }


app = typer.Typer(cls=Commands, no_args_is_help=True, help="The connector as a service of this host.")


@app.callback()
def _group() -> None:
    """Typer wants something of its own in a group."""
