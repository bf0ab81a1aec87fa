"""`qanat service install`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.output import note, say
from qanat.cli.service.options import InitOption, RootOption
from qanat.errors import QanatError

app = typer.Typer()

LONGEST_STDIN = 64 * 1024
FITS_IN_A_PIPE = 16 * 1024


@app.command("install", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def install(
    context: typer.Context,
    root: RootOption = Path("/"),
    init: InitOption = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the first connection is waited for; it comes later, too.")
    ] = 20.0,
    no_update_service: Annotated[
        bool, typer.Option("--no-update-service", help="Accepted: qanat installs no service that updates it by itself.")
    ] = False,
) -> None:
    """Install the connector as a service: `service install [TOKEN] [flags of tunnel run]`.

    The token goes into a file of root's alone. `-` reads it from standard input, --token-file from a file; so it need not stand
    in this command's line, where every user sees it while the command runs. Without any, the configuration file is taken that
    --config names, or that cloudflared has. The same call again changes nothing; another token takes the old one's place.
    """
    _leave_the_process_list(context.args)
    from qanat.called import called
    from qanat.host.machine import Machine
    from qanat.host.service.install import install as install_service
    from qanat.host.service.manager import manager_of
    from qanat.host.service.wanted import program_of, read_wanted

    folder = root.absolute()
    machine = Machine(folder)
    manager = manager_of(machine, init)
    given = _standard_input() if "-" in context.args else None
    home = os.environ.get("HOME", "/nonexistent")
    wanted = read_wanted(context.args, program=program_of(folder), home=home, given=given)
    done = install_service(machine, manager, wanted, wait_s=wait, called=called())
    for line in done.told:
        note(f"warning: {line}")
    what = f"the service of tunnel {done.tunnel_id} ({manager.title})"
    say(f"{'installed' if done.changed else 'nothing to change:'} {what}")
    if done.state is None:
        return
    if done.state.ready:
        say("it is connected")
    elif done.state.ready is None:
        say("it runs" if done.state.running else "it doesn't run yet")
    else:
        say(f"not yet connected, and it goes on trying: {done.state.text or 'no answer from an edge so far'}")
        say("`qanat doctor` looks for the reason")


def _standard_input() -> str:
    text = sys.stdin.read(LONGEST_STDIN + 1)
    if len(text) > LONGEST_STDIN:
        raise QanatError("token_invalid", "this is not a connector token: it is far longer than one", where="-")
    return text


def _leave_the_process_list(arguments: list[str]) -> None:
    """A token that was typed as an argument is seen by every user as long as this process is there: it becomes another, which
    reads the token from a pipe (case 18)."""
    typed = next((each for each in arguments if len(each) > 40 and not each.startswith("-") and "/" not in each), None)
    if typed is None or len(typed) > FITS_IN_A_PIPE or typed not in sys.orig_argv or not hasattr(os, "fork"):
        return
    reader, writer = os.pipe()
    os.write(writer, typed.encode())
    os.close(writer)
    os.dup2(reader, 0)
    os.execv(sys.executable, [sys.orig_argv[0], *("-" if each == typed else each for each in sys.orig_argv[1:])])
