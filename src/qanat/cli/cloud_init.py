"""`qanat cloud-init`."""

from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.files import sha256_of
from qanat.cli.output import note, print_file, read_text

app = typer.Typer()


@app.command("cloud-init", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def cloud_init(
    context: typer.Context,
    token_file: Annotated[Path, typer.Option(metavar="FILE", help="The connector's token; `-` for standard input.")],
    package_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the host gets the .deb; without, its image has it.")
    ] = None,
    package: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same package here, for the hash to check it by.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(metavar="HEX", help="The hash itself.")] = None,
    lockdown: Annotated[
        bool, typer.Option("--lockdown/--no-lockdown", help="Close ports 80 and 443 to the public.")
    ] = True,
    keep_interface: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="As of `qanat lockdown`; repeatable. [tailscale0]")
    ] = None,
) -> None:
    """Print the user data that makes a new host a connector: `cloud-init --token-file FILE [flags of tunnel run]`.

    What is printed has the token in it: redirect it into a file of your own (umask 077), and give that to the provider.
    """
    from qanat.host.cloud_init import FirstBoot, render
    from qanat.host.lockdown.wanted import TAILNET, read_lockdown
    from qanat.host.service.wanted import read_wanted

    text = read_text(token_file, where="--token-file")
    wanted = read_wanted(["-", *context.args], program=("/usr/bin/qanat",), home="/nonexistent", given=text)
    kept = read_lockdown((), keep_interface if keep_interface is not None else TAILNET, ()).interfaces
    boot = FirstBoot(
        token=wanted.secret.decode(),
        package_url=package_url,
        package_sha256=sha256_of(package) if package is not None else sha256,
        flags=wanted.flags,
        authority=wanted.authority.decode("ascii", errors="replace") if wanted.authority is not None else None,
        lockdown=lockdown,
        keep_interfaces=kept if kept != TAILNET else (),
    )
    for line in wanted.told:
        note(f"warning: {line}")
    print_file(render(boot))
