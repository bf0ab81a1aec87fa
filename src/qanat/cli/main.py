"""The command tree, and how errors end it."""

import sys
from collections.abc import Sequence
from typing import ClassVar

import typer

from qanat.called import called
from qanat.cli.lazy import LazyGroup
from qanat.cli.stock.main import main as run_stock
from qanat.errors import QanatError, render

FAILED = 1
USAGE = 2
NOT_FOUND = 3
UNREACHABLE = 4

EXIT_STATUSES = {
    0: "done",
    FAILED: "refused or failed; the reason is on standard error",
    USAGE: "wrong usage: an unknown command or flag, or a value of the wrong form",
    NOT_FOUND: "there is no such tunnel, zone, record, token, account or profile (or the token doesn't see it)",
    UNREACHABLE: "the API doesn't answer, or not as a v4 API",
}


class Commands(LazyGroup):
    """Every command, in the order of `qanat --help`."""

    places: ClassVar = {
        "login": "profile:login_app",
        "explain": "explain:app",
        "version": "stock_groups:version",
        "update": "stock_groups:update",
        "status": "status:app",
        "top": "top:app",
        "probe": "probe:app",
        "requests": "requests:app",
        "edge": "edge:app",
        "tunnel": "tunnel:app",
        "node": "node:app",
        "tail": "stock_groups:tail",
        "service": "service.group:app",
        "access": "stock_groups:access",
        "lockdown": "lockdown:app",
        "cloud-init": "cloud_init:app",
        "doctor": "doctor:app",
        "management": "stock_groups:management",
        "cutover": "cutover:app",
        "zone": "zone:app",
        "record": "record:app",
        "certificate": "certificate:app",
        "alert": "alert:app",
        "token": "token:app",
        "user": "user:app",
        "account": "account:app",
        "audit": "audit:app",
        "backup": "backup:app",
        "import": "cloudflare:app",
        "profile": "profile:app",
    }


app = typer.Typer(
    name="qanat",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A self-hosted tunnel system: an edge you own, and connectors that dial out to it.",
    epilog="Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no such thing, 4 the API doesn't answer.",
)


@app.callback()
def _group() -> None:
    """Typer wants something of its own in a group."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; its exit status, one of `EXIT_STATUSES`."""
    if argv is not None and (status := run_stock(argv)) is not None:
        return status
    try:
        app(args=_flags_last(sys.argv[1:] if argv is None else argv), prog_name=called())
    except QanatError as error:
        print(render(error), file=sys.stderr)
        return exit_status(error)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0 if ending.code is None else FAILED
    return 0


def _flags_last(arguments: Sequence[str]) -> list[str]:
    """`qanat --config FILE service install`, as stock's manual has it: what stands before the command is its own. Before
    `uninstall` it means nothing, there as here."""
    given = list(arguments)
    if "service" in given and given[0].startswith("-"):
        from qanat.connector.flags import read_command_line  # hardly ever

        at = given.index("service")
        match read_command_line(given, tolerant=True).words[:2]:
            case ("service", "install"):
                return [*given[at:], *given[:at]]
            case ("service", "uninstall"):
                return given[at:]
    return given


def exit_status(error: QanatError) -> int:
    """By what went wrong."""
    if error.code == "usage":
        return USAGE
    if error.code == "api_unreachable":
        return UNREACHABLE
    code, is_missing = error.code, False
    if code == "api_refused":
        from qanat.client import ApiRefusedError  # the client is not for every start

        if isinstance(error, ApiRefusedError):
            code, is_missing = error.qanat_code or "", error.status == 404
    if code in ("endpoint_unknown", "credentials_unknown"):
        return FAILED
    return NOT_FOUND if is_missing or code.endswith("_unknown") else FAILED
