"""The command tree, and how errors end it."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from qanat.cli import edge, record, tunnel, zone
from qanat.cli.access import ApiOption, TokenFileOption, connect
from qanat.cli.output import Output, OutputOption, print_json, say
from qanat.errors import QanatError, render

app = typer.Typer(
    name="qanat",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A self-hosted tunnel system: an edge you own, and connectors that dial out to it.",
)
app.command("edge")(edge.command())
app.add_typer(tunnel.app, name="tunnel")
app.add_typer(zone.app, name="zone")
app.add_typer(record.app, name="record")


@app.command("version")
def version() -> None:
    """Print the version."""
    from qanat import __version__

    say(f"qanat {__version__}")


@app.command("status")
def status(api: ApiOption = None, token_file: TokenFileOption = None, output: OutputOption = Output.TEXT) -> None:
    """Show an edge's version, addresses and counters."""
    with connect(api, token_file) as client:
        answer = client.status()
    if output is Output.JSON:
        print_json(answer)
        return
    say(f"qanat {answer.get('version')} at {answer.get('location')}")
    for part in ("addresses", "counters", "unknown_endpoints"):
        for key, value in sorted(answer.get(part, {}).items()):
            say(f"  {key:<24} {value}")


@app.command("explain")
def explain(
    request_id: Annotated[str, typer.Argument(help="The request id that an error page shows.")],
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Say why a recent request failed."""
    with connect(api, token_file) as client:
        answer = client.failed_request(request_id)
    if output is Output.JSON:
        print_json(answer)
        return
    for key, value in answer.items():
        say(f"{key:<14} {value}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status. 1: refused or failed, with the reason on standard error; 2: wrong usage."""
    try:
        app(args=list(argv) if argv is not None else None, prog_name="qanat")
    except QanatError as error:
        print(render(error), file=sys.stderr)
        return 2 if error.code == "usage" else 1
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
    return 0
