"""`qanat version`."""

import typer

from qanat.cli.output import say

app = typer.Typer()


@app.command("version")
def version() -> None:
    """Print the version."""
    from qanat import __version__

    say(f"qanat {__version__}")
