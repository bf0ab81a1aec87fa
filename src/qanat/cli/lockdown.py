"""`qanat lockdown …`."""

from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.output import Output, OutputOption, note, print_file, print_json, say, tell

app = typer.Typer(help="No public way to this host's web ports: they are reached through the tunnel.")

RootOption = Annotated[Path, typer.Option(metavar="DIR", help="A folder that stands for the machine.")]
BackendOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="nftables or iptables; else nftables where it is installed.")
]


@app.callback(invoke_without_command=True)
def lockdown(
    context: typer.Context,
    apply: Annotated[bool, typer.Option("--apply", help="Do it, now and at each boot; else it is only shown.")] = False,
    port: Annotated[
        list[int] | None, typer.Option(metavar="PORT", help="A port to close, TCP and UDP; repeatable. [80 and 443]")
    ] = None,
    keep_interface: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="An interface whose traffic still comes in; repeatable. [tailscale0]"),
    ] = None,
    keep_source: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="A network that still comes in; repeatable.")
    ] = None,
    backend: BackendOption = None,
    root: RootOption = Path("/"),
) -> None:
    """Drop what comes to ports 80 and 443 from outside, for programs of this host and ports that Docker publishes, IPv4 and IPv6.

    Loopback, the tailnet, containers of this host and established connections are kept. Without --apply the rules are printed.
    """
    if context.invoked_subcommand is not None:
        return
    from qanat.host.lockdown.lockdown import apply as apply_lockdown
    from qanat.host.lockdown.lockdown import backend_of
    from qanat.host.lockdown.wanted import TAILNET, read_lockdown
    from qanat.host.machine import Machine

    machine = Machine(root.absolute())
    wanted = read_lockdown(port or (), keep_interface if keep_interface is not None else TAILNET, keep_source or ())
    chosen = backend_of(machine, backend)
    if not apply:
        print_file(chosen.text(wanted))
        note(f"nothing was changed: `qanat lockdown --apply` applies these rules by {chosen.name}")
        return
    done = apply_lockdown(machine, chosen, wanted)
    say(f"closed to the public: ports {', '.join(map(str, wanted.ports))} ({done.backend})")
    if done.at_boot:
        say(f"kept over a reboot by {done.at_boot}")
    else:
        note(f"warning: nothing applies it at boot on this machine; let something run: {' '.join(chosen.at_boot())}")


@app.command("status")
def status(backend: BackendOption = None, root: RootOption = Path("/"), output: OutputOption = Output.TEXT) -> None:
    """Whether it is in force, and at boot. Exit status 0: both; 1: not both."""
    from qanat.host.lockdown.lockdown import backend_of
    from qanat.host.lockdown.lockdown import status as read_status
    from qanat.host.machine import Machine

    machine = Machine(root.absolute())
    found = read_status(machine, backend_of(machine, backend))
    if output is Output.JSON:
        print_json(found)
    else:
        ports = ", ".join(map(str, found.lockdown.ports)) if found.lockdown else ""
        say(f"in force: {'yes' if found.in_force else 'no'} ({found.backend})")
        say(f"at boot: {found.at_boot or 'no'}")
        if ports:
            say(f"ports: {ports}")
    if not ((found.in_force or not machine.live) and found.at_boot):
        raise typer.Exit(1)


@app.command("undo")
def undo(root: RootOption = Path("/"), output: OutputOption = Output.TEXT) -> None:
    """Open the ports again, now and at each boot."""
    from qanat.host.lockdown.lockdown import undo as undo_lockdown
    from qanat.host.machine import Machine

    removed = undo_lockdown(Machine(root.absolute()))
    text = "\n".join(f"removed {path}" for path in removed) or "there is no lockdown to undo"
    tell(output, {"removed": removed}, text)
