"""`qanat status`."""

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import print_json, say

app = typer.Typer()


@over_api(app, "status")
def status(at: Access) -> None:
    """Show an edge's version, addresses and counters, and how many rows it leaves out because something of them can't be
    used (`GET /qanat/skipped` names them)."""
    with at.connect() as client:
        answer = client.status()
    if at.as_json:
        print_json(answer)
        return
    say(f"qanat {answer.get('version')} at {answer.get('location')}")
    for part in ("addresses", "counters", "health", "certificates", "skipped", "unknown_endpoints"):
        for key, value in sorted(answer.get(part, {}).items()):
            if value is not None:
                say(f"  {key:<24} {value}")
