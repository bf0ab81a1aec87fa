"""The running edge, as far as the API shows it. Light: the edge has these before it loads the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRequest:
    """A request that the edge answered itself or cut, and whose fault that was."""

    request_id: str
    hostname: str
    method: str
    path: str
    tunnel_id: str | None
    connection_id: str | None
    status: int
    cause: str
    fault: str
    detail: str
    started_at: float
    duration_s: float
    client_ip: str


class Live(Protocol):
    """The running edge, as far as the API shows it."""

    def counters(self) -> Mapping[str, int]:
        """Totals since start."""

    def addresses(self) -> Mapping[str, str | None]:
        """Where it listens: `https`, `http`, `tunnel`."""

    def failed_request(self, request_id: str) -> FailedRequest | None:
        """One of the recent failures."""
