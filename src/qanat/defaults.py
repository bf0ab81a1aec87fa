"""Where an edge on this machine is found when nobody says so: what the edge's settings and those who look for it share."""

import os
from pathlib import Path

API_ADDRESS = "127.0.0.1:7880"
"""The control API's."""
API_PATH = "/client/v4"
"""Below it everything of the API is."""


def default_data_dir() -> Path:
    """`/var/lib/qanat` for root, else `$XDG_STATE_HOME/qanat` (`~/.local/state/qanat`)."""
    if os.geteuid() == 0:
        return Path("/var/lib/qanat")
    return Path(os.environ.get("XDG_STATE_HOME") or home() / ".local" / "state") / "qanat"


def home() -> Path:
    """This user's home directory; `/` for one that the system doesn't know, as container engines have it."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")
