"""The management hostname (security.md S55): a connector's logs and diagnostics, by tokens that the edge has verified itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qanat.auth.management import ManagementKey
from tests.support.api import Tunnel
from tests.support.connectors import Http2Connector, QuicConnector
from tests.support.edge import Edge
from tests.support.http1 import Answer
from tests.support.sites import Fakes
from tests.support.waiting import wait_until

pytestmark = pytest.mark.requirement("S55")

NAME = "management.argotunnel.com"
FEATURES = ("allow_remote_config", "serialized_headers", "management_logs")


class Managed:
    """A tunnel whose connector has a management service, as far as its edge can tell."""

    def __init__(self, fakes: Fakes, protocol: Any) -> None:
        self.edge: Edge = fakes.edge
        self.tunnel, self.hostname = fakes.tunnel()
        self.connector: QuicConnector | Http2Connector = fakes.connector(protocol, self.tunnel, features=FEATURES)

    def token(self, resource: str, tunnel: Tunnel | None = None) -> str:
        tunnel_id = (tunnel or self.tunnel).id
        path = f"/accounts/{self.edge.api.account}/cfd_tunnel/{tunnel_id}/management/{resource}"
        return str(self.edge.api.call("POST", path))

    def get(self, target: str, version: str = "h1", host: str = NAME) -> Answer:
        client = self.edge.h1(host) if version == "h1" else self.edge.h2(host)
        with client:
            return client.get(target)

    def ready(self) -> "Managed":
        """Registered, and its first configuration is answered."""
        wait_until(lambda: self.get("/", host=self.hostname).status == 200, "the connector to serve")
        self.connector.streams.clear()
        return self


@pytest.fixture(params=["quic", "http2"])
def managed(request: pytest.FixtureRequest, fakes: Fakes) -> Managed:
    return Managed(fakes, request.param).ready()


def test_a_token_reaches_the_connector_under_the_name_that_it_knows(managed: Managed, version: str) -> None:
    token = managed.token("host_details")
    answer = managed.get(f"/host_details?access_token={token}&connector_id={managed.connector.connector_id}", version)
    assert answer.status == 200
    assert len(managed.connector.heads) == 1
    seen = managed.connector.received
    assert NAME.encode() in seen
    assert f"/host_details?access_token={token}".encode() in seen
    assert token not in managed.edge.process.log()


def test_nobody_elses_token_does(managed: Managed, fakes: Fakes, version: str) -> None:
    key = ManagementKey.open(managed.edge.data_dir / "management.key")
    other, _ = fakes.tunnel()

    def issued(by: ManagementKey, at: datetime) -> str:
        account = managed.edge.api.account
        grant = {"tunnel_id": managed.tunnel.id, "account_id": account, "actor": "someone", "resources": ["admin"]}
        return by.issue(**grant, at=at)[0]  # type: ignore[arg-type]

    now = datetime.now(UTC)
    assert managed.get(f"/metrics?access_token={issued(key, now)}", version).status == 200
    managed.connector.streams.clear()
    for token, status in [
        (issued(key, now - timedelta(hours=1)), 403),
        (issued(ManagementKey.make(), now), 403),
        ("e30.e30.AAAA", 403),
        (managed.token("logs"), 403),
        (managed.token("admin", other), 530),
    ]:
        answer = managed.get(f"/metrics?access_token={token}", version)
        assert answer.status == status
        assert managed.edge.cause(answer.request_id) == ("management_denied" if status == 403 else "no_connection")
        assert token not in managed.edge.process.log()
    for host in (NAME, managed.hostname):
        with managed.edge.h1(host) as client:
            answer = client.get("/metrics", [("Host", NAME)])
            assert answer.status == 421
            assert managed.edge.cause(answer.request_id) == "management_host"
    with managed.edge.plain(NAME) as client:
        assert client.get(f"/metrics?access_token={issued(key, now)}").status == 421
    assert managed.connector.heads == []
