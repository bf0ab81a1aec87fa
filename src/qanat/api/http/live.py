"""The running edge, as far as the API shows it. Light: the edge has these before it loads the API."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from qanat.api.engine import Route
from qanat.health.engine import Traffic
from qanat.health.health import Health
from qanat.health.lines import Line
from qanat.health.probing import Probes
from qanat.health.request_lists import RequestLists
from qanat.nodes.readiness import Facts


class FailedRequest(Protocol):
    """The engine's event, or what an earlier run kept of it."""

    @property
    def tunnel_id(self) -> str | None: ...
    @property
    def started_at(self) -> float: ...
    @property
    def hops(self) -> Sequence[tuple[str, float, float, str]]: ...


class Live(Protocol):
    """The running edge, as far as the API shows it."""

    @property
    def health(self) -> Health:
        """How nodes are."""

    @property
    def probes(self) -> Probes:
        """Who asks origins."""

    @property
    def request_lists(self) -> RequestLists:
        """What passes, request by request, of hostnames that somebody watches."""

    def traffic(self) -> Sequence[Traffic]:
        """What has passed, by hostname, tunnel and node."""

    def lines(self) -> Mapping[str, Line]:
        """How connectors' connections are, by their ids."""

    def counters(self) -> Mapping[str, int]:
        """Totals since start."""

    def addresses(self) -> Mapping[str, str | None]:
        """Where it listens: `https`, `http`, `tunnel`."""

    def route(self, hostname: str) -> Route | None:
        """What its table says of a hostname: the route that decides; one without a tunnel serves nobody."""

    def failures(self) -> Mapping[str, int]:
        """Failed requests since start, by cause."""

    def failed_request(self, request_id: str) -> FailedRequest | None:
        """One of the recent failures."""

    def node(self, tunnel_id: str, token_id: str) -> Facts:
        """How a tunnel's node is now."""

    def cut(self, tunnel_id: str, token_id: str) -> int:
        """Ends what is open on a node; how many."""
