"""`access ssh-config` and `ssh-gen`."""

import os
import shutil
import sys
from pathlib import Path

from qanat.cli.stock.session import Session


def config(session: Session) -> None:
    """Prints the lines of ~/.ssh/config, as stock does."""
    asked = session.asked
    hostname = asked.text("hostname") or "[your hostname]"
    program = _program(asked.called)
    print(f"\nAdd to your {os.environ.get('HOME', '')}/.ssh/config:")
    if asked.yes("short-lived-cert"):
        print(f'Match host {hostname} exec "{program} access ssh-gen --hostname %h"')
        print(f"  ProxyCommand {program} access ssh --hostname %h")
        print("  IdentityFile ~/.cloudflared/%h-cf_key")
        print("  CertificateFile ~/.cloudflared/%h-cf_key-cert.pub")
    else:
        print(f"Host {hostname}")
        print(f"  ProxyCommand {program} access ssh --hostname %h\n")


def gen(session: Session) -> None:
    """Leaves a key, and a certificate of a few minutes for it, where `ssh-config --short-lived-cert` says."""
    from qanat.cli.stock.access import token_for  # what `ssh-config` prints needs none of them
    from qanat.cli.stock.access_tokens import application, short_lived_certificate
    from qanat.cli.stock.application import application_url

    url = application_url(session.asked.text("hostname"), where="--hostname")
    short_lived_certificate(url, token_for(url, application(url), session.log))


def _program(called: str) -> str:
    """The program's whole path: ssh runs it without a shell's."""
    here = Path(sys.argv[0])
    if here.name == called and here.is_file():
        return str(here.resolve())
    return shutil.which(called) or called
