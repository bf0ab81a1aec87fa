"""By which name this program was started: as `cloudflared` (see `qanat service shim`) it answers where scripts look for that."""

import os
import sys
import time
from contextlib import suppress
from importlib.util import find_spec

VARIABLE = "QANAT_CALLED"
"""Set by a shim that can't be a link."""


def called() -> str:
    """`qanat` or `cloudflared`."""
    name = os.environ.get(VARIABLE) or os.path.basename(sys.argv[0])  # noqa: PTH119 - pathlib costs more
    return "cloudflared" if name == "cloudflared" else "qanat"


def version_line(name: str) -> str:
    """`cloudflared version 1.2.3 (built 2026-01-02-15:04 UTC)`, as scripts take it apart; the time is the engine's file's."""
    from qanat import __version__

    found = find_spec("qanat._engine")
    built = "unknown"
    with suppress(OSError):
        if found is not None and found.origin is not None:
            built = time.strftime("%Y-%m-%d-%H:%M UTC", time.gmtime(os.stat(found.origin).st_mtime))  # noqa: PTH116
    return f"{name} version {__version__} (built {built})"
