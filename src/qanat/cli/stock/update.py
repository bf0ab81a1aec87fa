"""`update`: qanat doesn't replace itself. What installed it brings the next version too, and this says how."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from qanat.cli.stock.output import say
from qanat.cli.stock.session import Session
from qanat.errors import QanatError

CURRENT = 0
UPDATED = 11
FAILED = 10
"""Stock's exit codes. Nothing is updated here, so that 11 never comes."""

_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*([abrc.+-][0-9A-Za-z.+-]*)?", re.ASCII)


def update(session: Session) -> int:
    """Exit code 0, as a stock cloudflared that a package manager installed: 11 tells scripts that they have to restart it."""
    from qanat import __version__

    asked = session.asked
    wanted = asked.text("version")
    if asked.words or (wanted and not _VERSION.fullmatch(wanted)):
        what = f"'{asked.words[0][:40]}'" if asked.words else f"'{wanted[:40]}' is not a version"
        error = QanatError("usage", f"failed to update {asked.called}: {what}", where="update", hint="--version 1.2.3")
        session.log.error(str(error))
        return FAILED
    manager, command = _installed_by(wanted, beta=asked.yes("beta"))
    session.log.error(f"{asked.called} was installed by {manager}. Please update using the same method.")
    say(f"This is version {__version__}. To update: {command}")
    say("Then `qanat service update` lets a running service go over to it, and back when it isn't ready in time.")
    return CURRENT


def _installed_by(wanted: str, *, beta: bool) -> tuple[str, str]:
    """What brought this program, and what brings another version of it."""
    program = Path(sys.argv[0]).resolve()
    package = _debian_package(program) or _debian_package(Path(__file__))
    if package:
        return "apt", f"apt-get update && apt-get install {package}{f'={wanted}' if wanted else ''}"
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return "a container image", f"pull the image{f' of version {wanted}' if wanted else ''} and start it anew"
    upgrade = f"qanat=={wanted}" if wanted else "--upgrade qanat"
    return "pip", f"{sys.executable} -m pip install {'--pre ' if beta else ''}{upgrade}"


def _debian_package(file: Path) -> str | None:
    query = shutil.which("dpkg-query")
    if query is None:
        return None
    done = subprocess.run([query, "-S", str(file)], capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.partition(":")[0] if done.returncode == 0 else None
