"""The running edge, as far as the API shows it. Light: the edge has these before it loads the API."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from qanat.api.engine import RequestFailed, Route
from qanat.health.engine import Traffic
from qanat.health.health import Health
from qanat.health.probing import Probes
from qanat.nodes.readiness import Facts


class Live(Protocol):
    """The running edge, as far as the API shows it."""

    @property
    def health(self) -> Health:
        """How nodes are."""

    @property
    def probes(self) -> Probes:
        """Who asks origins."""

    def traffic(self) -> Sequence[Traffic]:
        """What has passed, by hostname, tunnel and node."""

    def counters(self) -> Mapping[str, int]:
        """Totals since start."""

    def addresses(self) -> Mapping[str, str | None]:
        """Where it listens: `https`, `http`, `tunnel`."""

    def route(self, hostname: str) -> Route | None:
        """What its table says of a hostname: the route that decides; one without a tunnel serves nobody."""

    def failed_request(self, request_id: str) -> RequestFailed | None:
        """One of the recent failures."""

    def node(self, tunnel_id: str, token_id: str) -> Facts:
        """How a tunnel's node is now."""

    def cut(self, tunnel_id: str, token_id: str) -> int:
        """Ends what is open on a node; how many."""
