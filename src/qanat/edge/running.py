"""The running edge as the API sees it (api.context.Live)."""

from collections.abc import Mapping, Sequence
from socket import socket
from typing import TYPE_CHECKING

from qanat.datagrams import dropped_at
from qanat.edge import engine
from qanat.edge.alerter import AlertCounters
from qanat.edge.failures import Failures, KeptFailure
from qanat.edge.presence import Presence
from qanat.health.engine import Traffic
from qanat.health.health import Health
from qanat.health.lines import Line, Lines
from qanat.health.probing import Probes
from qanat.health.request_lists import RequestLists
from qanat.nodes.readiness import Facts

if TYPE_CHECKING:
    from qanat.edge.access_log import AccessLog


class RunningEdge:
    """Counters, routes and nodes, as they are now."""

    def __init__(
        self,
        running: engine.Edge,
        failures: Failures,
        health: Health,
        probes: Probes,
        presence: Presence,
        request_lists: RequestLists,
    ) -> None:
        self._engine = running
        self._failures = failures
        self.health = health
        self.probes = probes
        self.request_lists = request_lists
        self._presence = presence
        self._lines = Lines(running)
        self.access_log: AccessLog | None = None
        self.alerts = AlertCounters()

    def counters(self) -> Mapping[str, int]:
        """The engine's, the access log's, the system's of the UDP sockets, and those of alerts."""
        addresses = self._engine.addresses()
        ours = {
            "access_lines_lost": self.access_log.lost if self.access_log is not None else 0,
            "datagrams_dropped": dropped_at(each for each in (addresses.https, addresses.tunnel) if each is not None),
        }
        return {**self._engine.counters(), **ours, **self.alerts.read()}

    def failures(self) -> Mapping[str, int]:
        """The engine's."""
        return self._engine.failures()

    def addresses(self) -> Mapping[str, str | None]:
        """After ports were chosen."""
        addresses = self._engine.addresses()
        return {"https": addresses.https, "http": addresses.http, "tunnel": addresses.tunnel}

    def route(self, hostname: str) -> engine.Route | None:
        """From the table in force."""
        return self._engine.route(hostname=hostname)

    def tunnel_of(self, hostname: str) -> str | None:
        """Where requests for a hostname go now; of several tunnels the one that most go to."""
        route = self._engine.route(hostname=hostname)
        return max(route.targets, key=lambda target: target[1])[0] if route is not None and route.targets else None

    def traffic(self) -> Sequence[Traffic]:
        """The engine's."""
        return self._engine.traffic()

    def lines(self) -> Mapping[str, Line]:
        """How connectors' connections are, as of a moment ago."""
        return self._lines.now()

    def failed_request(self, request_id: str) -> engine.RequestFailed | KeptFailure | None:
        """From the ring of the newest."""
        return self._failures.get(request_id)

    def recent_failures(
        self, *, hostname: str | None = None, tunnel_id: str | None = None, most: int
    ) -> Sequence[engine.RequestFailed | KeptFailure]:
        """From the same ring, newest first."""
        return self._failures.recent(hostname=hostname, tunnel_id=tunnel_id, most=most)

    def node(self, tunnel_id: str, token_id: str) -> Facts:
        """Connections as the events told them, what is open on them now, and how its origin is."""
        connections, suspect = self._presence.connections(tunnel_id, token_id)
        found = self.health.of(tunnel_id, token_id)
        return Facts(
            connections=connections,
            suspect=suspect,
            open_requests=self._engine.open_requests(tunnel_id=tunnel_id, token_id=token_id),
            health=found.state,
            why=found.why,
            since=found.since,
        )

    def management(self) -> socket:
        """The engine's."""
        with engine.engine_errors():
            return socket(fileno=self._engine.management())

    def cut(self, tunnel_id: str, token_id: str) -> int:
        """WebSockets too; the connections stay."""
        return self._engine.cut(tunnel_id=tunnel_id, token_id=token_id, only_websockets=False)
