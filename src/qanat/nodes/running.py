"""The running edge, as far as those who show it and act on it ask: API and dashboard. Light: the edge has these before it loads
either. The edge process gives it, tests give their own."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from qanat.control.explain import Route
from qanat.health.engine import Traffic
from qanat.health.health import Health
from qanat.health.lines import Line
from qanat.health.probing import Probes
from qanat.health.request_lists import RequestLists
from qanat.nodes.readiness import Facts


class FailedRequest(Protocol):
    """A request that the edge answered itself or cut; every text of it may be a stranger's."""

    @property
    def request_id(self) -> str: ...
    @property
    def hostname(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def tunnel_id(self) -> str | None: ...
    @property
    def status(self) -> int: ...
    @property
    def cause(self) -> str: ...
    @property
    def fault(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def started_at(self) -> float: ...
    @property
    def duration_s(self) -> float: ...
    @property
    def client_ip(self) -> str: ...
    @property
    def hops(self) -> Sequence[tuple[str, float, float, str]]: ...


class Running(Protocol):
    """What both ask."""

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

    def node(self, tunnel_id: str, token_id: str) -> Facts:
        """How a tunnel's node is now."""

    def cut(self, tunnel_id: str, token_id: str) -> int:
        """Ends what is open on a node; how many."""
