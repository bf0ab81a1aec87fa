"""`cloudflared tail` and the diagnostics of a stock connector, through our edge."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import Tunnel
from tests.support.connector import STOCK, Connector, Protocol
from tests.support.edge import Edge
from tests.support.fixtures import NO_STOCK
from tests.support.processes import Process
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]

HOSTNAME = "app.tail.example"


class Watched:
    """A tunnel with one stock connector that answers its visitors 418."""

    def __init__(self, folder: Path, protocol: Protocol) -> None:
        self.folder = folder
        # a name that resolves everywhere
        self.edge = Edge(folder / "edge", public_management_hostname="localhost")
        zone = self.edge.api.create_zone("tail.example")
        self.certificate = folder / "cert.pem"
        made = self.edge.api.call("POST", f"/qanat/zones/{zone}/origin-certificate", {})
        self.certificate.write_text(made["certificate"])
        self.tunnel = self.edge.api.create_tunnel("watched")
        self.edge.api.publish(zone, HOSTNAME, self.tunnel.id)
        self.edge.api.put_configuration(self.tunnel.id, [{"service": "http_status:418"}])
        self.connector = Connector(
            folder / "connector", self.edge, self.tunnel.token, kind="cloudflared", protocol=protocol, connections=1
        )
        wait_until(lambda: self.visit() == 418, "the connector to serve")
        self.hostname = f"localhost:{self.edge.https.rpartition(':')[2]}"

    def visit(self) -> int | None:
        try:
            with self.edge.h1(HOSTNAME) as client:
                return client.get("/visited").status
        except (ssl.SSLError, OSError):
            return None

    def token(self, resource: str, tunnel: Tunnel | None = None) -> str:
        tunnel_id = (tunnel or self.tunnel).id
        path = f"/accounts/{self.edge.api.account}/cfd_tunnel/{tunnel_id}/management/{resource}"
        return str(self.edge.api.call("POST", path))

    def tail(self, token: str, *more: str) -> Process:
        return self.cloudflared("tail", "--token", token, *more)

    def cloudflared(self, *arguments: str) -> Process:
        assert STOCK
        argv = [STOCK, "--api-url", self.edge.ready["api"], *arguments]
        argv[argv.index("tail") + 1 : argv.index("tail") + 1] = ["--management-hostname", self.hostname]
        return Process("tail", argv, {"SSL_CERT_FILE": str(self.edge.ca_file), "HOME": str(self.folder)})

    def ask(self, path: str, resource: str) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=self.edge.ca_file)
        url = f"https://{self.hostname}{path}?access_token={self.token(resource)}"
        try:
            with urllib.request.urlopen(url, context=context, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def close(self) -> None:
        self.connector.stop()
        self.edge.stop()


@pytest.fixture(scope="module", params=["quic", "http2"])
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    watched = Watched(tmp_path_factory.mktemp("tail"), request.param)
    yield watched
    watched.close()


def test_tail_prints_a_connectors_log(watched: Watched) -> None:
    tail = watched.tail(watched.token("logs"), "--event", "http", "--output", "json")

    def has_line() -> bool:
        assert tail.running, tail.log()
        watched.visit()
        return any("/visited" in line for line in tail.out)

    try:
        wait_until(has_line, "a line of the connector's log")
        assert json.loads(tail.out[0])["event"] == "http"
    finally:
        tail.stop()


def test_tail_asks_for_its_token_itself(watched: Watched) -> None:
    tail = watched.cloudflared("tail", "--origincert", str(watched.certificate), watched.tunnel.id)
    try:
        wait_until(lambda: tail.running and watched.visit() and tail.out, "a line of the connector's log")
    finally:
        tail.stop()


def test_tail_by_connector_id(watched: Watched) -> None:
    (connector,) = watched.edge.api.connectors(watched.tunnel.id)
    tail = watched.tail(watched.token("logs"), "--connector-id", connector["id"])
    try:
        wait_until(lambda: watched.visit() and tail.out, "a line of the connector's log")
    finally:
        tail.stop()
    gone = watched.tail(watched.token("logs"), "--connector-id", watched.tunnel.id)
    gone.wait_for("no cloudflared connector available or reachable")
    gone.stop()


def test_tail_with_a_token_of_another_tunnel_or_resource_is_refused(watched: Watched) -> None:
    other = watched.edge.api.create_tunnel("other")
    tail = watched.tail(watched.token("logs", other))
    tail.wait_for("no cloudflared connector available or reachable")
    tail.stop()
    tail = watched.tail(watched.token("admin"))
    tail.wait_for(r"management request failed validation: \(403\) The management token is not good for this")
    tail.stop()


def test_diagnostics(watched: Watched) -> None:
    status, body = watched.ask("/host_details", "host_details")
    (connector,) = watched.edge.api.connectors(watched.tunnel.id)
    assert (status, json.loads(body)["connector_id"]) == (200, connector["id"])
    assert watched.ask("/ping", "logs")[0] == 200
    status, body = watched.ask("/metrics", "admin")
    assert (status, b"cloudflared_tunnel_total_requests" in body) == (200, True)
    assert watched.ask("/debug/pprof/heap", "admin")[0] == 200
    assert watched.ask("/metrics", "logs")[0] == 403
