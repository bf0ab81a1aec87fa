"""The running edge, as far as the API shows it. Light: the edge has these before it loads the API."""

from collections.abc import Mapping
from typing import Protocol

from qanat.api.engine import RequestFailed, Route


class Live(Protocol):
    """The running edge, as far as the API shows it."""

    def counters(self) -> Mapping[str, int]:
        """Totals since start."""

    def addresses(self) -> Mapping[str, str | None]:
        """Where it listens: `https`, `http`, `tunnel`."""

    def route(self, hostname: str) -> Route | None:
        """What its table says of a hostname: the route that decides; one without a tunnel serves nobody."""

    def failed_request(self, request_id: str) -> RequestFailed | None:
        """One of the recent failures."""
