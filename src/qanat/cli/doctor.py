"""`qanat doctor`."""

import os
from typing import Annotated

import typer

from qanat.cli.output import print_json, say

app = typer.Typer()

MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "failure": "FAILURE"}


@app.command("doctor", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def doctor(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
) -> None:
    """Look for what keeps a connector from working here: `doctor [flags of tunnel run]`, else of the installed service.

    DNS, TCP and UDP to each edge, clock, MTU, UDP buffers, token, each rule's origin, and the service. Exit status 0: nothing to
    do, 1: warnings, 2: failures.
    """
    from qanat.host.doctor.doctor import examine
    from qanat.host.doctor.findings import exit_status
    from qanat.host.machine import Machine

    findings = examine(Machine(), context.args, os.environ)
    status = exit_status(findings)
    if json:
        print_json({"status": status, "findings": findings})
    else:
        for finding in findings:
            say(f"{MARKS[finding.level]}  {finding.check}: {finding.message}")
            if finding.fix:
                say(f"         fix: {finding.fix}")
    raise typer.Exit(status)
