"""What the local endpoints answer, and of that what management tokens may ask for."""

from collections.abc import Callable

import msgspec

from qanat.connector import metrics
from qanat.connector.configuration import CurrentConfiguration
from qanat.connector.connections import Connections
from qanat.connector.diagnostic_endpoints import diagnostic_endpoints
from qanat.connector.endpoints import Answer, Endpoints, json, text
from qanat.connector.engine import Connector, __version__
from qanat.connector.options import Options
from qanat.connector.reload import Reload
from qanat.exposition import CONTENT_TYPE
from qanat.ids import ConnectorId

MANAGED = ("/metrics", "/debug/pprof/heap", "/debug/pprof/goroutine")
"""Diagnostics that management tokens may ask for, as with stock."""


class LocalAnswers:
    """Of one connector. `configuration` and `reload` are there before anybody asks, and not yet when this is made."""

    configuration: CurrentConfiguration
    reload: Reload

    def __init__(
        self,
        options: Options,
        connector: Connector,
        connector_id: ConnectorId,
        connections: Connections,
        *,
        quick_hostname: str,
    ) -> None:
        self._options = options
        self._connector = connector
        self._connector_id = connector_id
        self._connections = connections
        self._quick_hostname = quick_hostname
        self._scrapes = 0

    def of_endpoints(self) -> Endpoints:
        """All of them, by path."""
        return {
            **self._diagnostics(),
            "/ready": self._ready,
            "/healthcheck": lambda: text("OK\n"),
            "/metrics": self._metrics,
            "/config": lambda: json(self.configuration.as_json()),
            "/quicktunnel": lambda: json(msgspec.json.encode({"hostname": self._quick_hostname})),
        }

    def of_management(self) -> dict[str, Callable[[], Answer]]:
        """Those that the management service has; none where the options say so."""
        if not self._options.management.diagnostics:
            return {}
        every = {"/metrics": self._metrics, **self._diagnostics()}
        return {path: every[path] for path in MANAGED if path in every}

    def _diagnostics(self) -> Endpoints:
        return diagnostic_endpoints(
            settings=self._options.settings,
            version=__version__,
            tunnel_id=self._options.credentials.tunnel_id,
            connector_id=self._connector_id,
            connections=self._connections.edges,
            counters=self._connector.counters,
        )

    def _ready(self) -> Answer:
        up = self._connector.ready_connections()
        status = 200 if up else 503
        body = {"status": status, "readyConnections": up, "connectorId": self._connector_id}
        return json(msgspec.json.encode(body), status)

    def _metrics(self) -> Answer:
        numbers = metrics.Numbers(
            version=__version__,
            configuration_version=self.configuration.version,
            tunnel_id=self._options.credentials.tunnel_id,
            locations=self._connections.visited(),
            connected=self._connections.up,
            quick_hostname=self._quick_hostname,
            scrapes=self._scrapes,
            configuration_file=self.reload.counters(),
        )
        body = metrics.render(self._connector.snapshot(), numbers)
        self._scrapes += 1
        return Answer(200, CONTENT_TYPE, body.encode())
