"""The command tree, and how errors end it."""

import sys
from collections.abc import Sequence

import typer

from qanat.cli import (
    account,
    audit,
    backup,
    cloudflare,
    edge,
    profile,
    record,
    token,
    tunnel,
    zone,
)
from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.explain import explain
from qanat.cli.output import print_json, say
from qanat.client import ApiRefusedError
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

app = typer.Typer(
    name="qanat",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A self-hosted tunnel system: an edge you own, and connectors that dial out to it.",
    epilog="Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no such thing, 4 the API doesn't answer.",
)
app.add_typer(edge.app, name="edge")
app.add_typer(tunnel.app, name="tunnel")
app.add_typer(zone.app, name="zone")
app.add_typer(record.app, name="record")
app.add_typer(token.app, name="token")
app.add_typer(account.app, name="account")
app.add_typer(audit.app, name="audit")
app.add_typer(backup.app, name="backup")
app.add_typer(cloudflare.app, name="import")
app.add_typer(profile.app, name="profile")
app.command("login")(profile.login)
over_api(app, "explain")(explain)


@app.command("version")
def version() -> None:
    """Print the version."""
    from qanat import __version__

    say(f"qanat {__version__}")


@over_api(app, "status")
def status(at: Access) -> None:
    """Show an edge's version, addresses and counters."""
    with at.connect() as client:
        answer = client.status()
    if at.as_json:
        print_json(answer)
        return
    say(f"qanat {answer.get('version')} at {answer.get('location')}")
    for part in ("addresses", "counters", "unknown_endpoints"):
        for key, value in sorted(answer.get(part, {}).items()):
            say(f"  {key:<24} {value}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; its exit status, one of `EXIT_STATUSES`."""
    try:
        app(args=list(argv) if argv is not None else None, prog_name="qanat")
    except QanatError as error:
        print(render(error), file=sys.stderr)
        return exit_status(error)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0 if ending.code is None else FAILED
    return 0


def exit_status(error: QanatError) -> int:
    """By what went wrong."""
    if error.code == "usage":
        return USAGE
    if error.code == "api_unreachable":
        return UNREACHABLE
    code = (error.qanat_code or "") if isinstance(error, ApiRefusedError) else error.code
    if code in ("endpoint_unknown", "credentials_unknown"):
        return FAILED
    if code.endswith("_unknown") or (isinstance(error, ApiRefusedError) and error.status == 404):
        return NOT_FOUND
    return FAILED
