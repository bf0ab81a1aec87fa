"""What the API works on: the store, the key, and the running edge through a small port."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Request

from qanat.auth import Principal
from qanat.store import Store
from qanat.store.sealing import Sealer


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


MAX_MISSES = 1000


@dataclass(slots=True, kw_only=True)
class Context:
    """Shared by all requests. `misses` counts the endpoints that were asked for and that qanat doesn't have."""

    store: Store
    sealer: Sealer
    live: Live
    location: str
    version: str
    misses: Counter[str] = field(default_factory=Counter)

    def miss(self, endpoint: str) -> None:
        """Counts; a flood of different paths falls together under `…`."""
        self.misses[endpoint if endpoint in self.misses or len(self.misses) < MAX_MISSES else "…"] += 1


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


Ctx = Annotated[Context, Depends(_context)]
Who = Annotated[Principal, Depends(_principal)]
