"""The running edge, as far as the API shows it. Light: the edge has these before it loads the API."""

from collections.abc import Mapping
from typing import Protocol

from qanat.nodes.running import FailedRequest, Running


class Live(Running, Protocol):
    """The running edge."""

    def failures(self) -> Mapping[str, int]:
        """Failed requests since start, by cause."""

    def failed_request(self, request_id: str) -> FailedRequest | None:
        """One of the recent failures."""
