"""How many file descriptors the process may have, and who gets them."""

import sys
from typing import NamedTuple

if sys.platform != "win32":
    import resource

SPARE = 64
"""For the database, files, pipes, and sockets that listen."""
UNLIMITED = 1 << 20


def raise_limit() -> int:
    """Takes all that the process may have without anybody's leave; how many that is."""
    if sys.platform == "win32":
        return UNLIMITED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS names no bound and takes none
            return soft
        soft = hard
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


class Shares(NamedTuple):
    """Most sockets of each kind, so that none of them leaves another without: the sum is below the limit."""

    public: int
    tunnels: int
    unregistered: int
    api: int

    @classmethod
    def of(cls, limit: int) -> "Shares":
        """From the limit: half for the public, a quarter for connectors (by TCP), an eighth for the API."""
        usable = max(limit - SPARE, 64)
        return cls(public=usable // 2, tunnels=usable // 4, unregistered=usable // 8, api=usable // 8)
