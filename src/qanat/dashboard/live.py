"""The running edge, as far as the dashboard shows it."""

from collections.abc import Sequence
from socket import socket
from typing import Protocol

from qanat.nodes.running import FailedRequest, Running


class Live(Running, Protocol):
    """The running edge."""

    def recent_failures(
        self, *, hostname: str | None = None, tunnel_id: str | None = None, most: int
    ) -> Sequence[FailedRequest]:
        """The newest failed requests, newest first."""

    def management(self) -> socket:
        """A new socket, to be closed, on which connectors' management is asked with tokens."""
