"""`tail` and the diagnostics of a connector through our edge: stock's and ours in either place.

Without a stock cloudflared the rows of ours alone are run.
"""

import json
import signal
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import Json, Tunnel
from tests.support.connector import STOCK, Connector, Kind, Protocol
from tests.support.edge import Edge
from tests.support.fixtures import NO_STOCK
from tests.support.processes import QANAT, Process
from tests.support.waiting import wait_until

pytestmark = pytest.mark.requirement("S43")

NEEDS_STOCK = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]

HOSTNAME = "app.tail.example"


class Watched:
    """A tunnel with one connector that answers its visitors 418. What it logs of a request, it logs for viewers only."""

    def __init__(self, folder: Path, kind: Kind, protocol: Protocol) -> None:
        self.folder = folder
        self.kind = kind
        # a name that resolves everywhere
        self.edge = Edge(folder / "edge", public_management_hostname="localhost")
        self.zone = self.edge.api.create_zone("tail.example")
        self.certificate = folder / "cert.pem"
        made = self.edge.api.call("POST", f"/qanat/zones/{self.zone}/origin-certificate", {})
        self.certificate.write_text(made["certificate"])
        self.tunnel = self.edge.api.create_tunnel("watched")
        self.edge.api.publish(self.zone, HOSTNAME, self.tunnel.id)
        self.edge.api.put_configuration(self.tunnel.id, [{"service": "http_status:418"}])
        self.connector = Connector(
            folder / "connector",
            self.edge,
            self.tunnel.token,
            kind=kind,
            protocol=protocol,
            connections=1,
            flags=("--label", "blue", "--loglevel", "info"),
        )
        wait_until(lambda: self.visit() == 418, "the connector to serve")
        self.hostname = f"localhost:{self.edge.https.rpartition(':')[2]}"

    def listed(self) -> Json:
        """Its connector in the API, which lists it a moment after it has registered."""
        wait_until(lambda: self.edge.api.connectors(self.tunnel.id), "the connector in the API")
        (connector,) = self.edge.api.connectors(self.tunnel.id)
        return connector

    def visit(self, query: str = "x=1", *, at: str = HOSTNAME) -> int | None:
        try:
            with self.edge.h1(at) as client:
                return client.get(f"/visited?{query}").status
        except (ssl.SSLError, OSError):
            return None

    def token(self, resource: str, tunnel: Tunnel | None = None) -> str:
        tunnel_id = (tunnel or self.tunnel).id
        path = f"/accounts/{self.edge.api.account}/cfd_tunnel/{tunnel_id}/management/{resource}"
        return str(self.edge.api.call("POST", path))

    def tail(self, viewer: Kind, token: str, *more: str) -> Process:
        return self.run(viewer, "tail", "--token", token, *more)

    def run(self, viewer: Kind, *arguments: str) -> Process:
        program = [STOCK] if viewer == "cloudflared" and STOCK else QANAT
        argv = [*program, "--api-url", self.edge.ready["api"], *arguments]
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


@pytest.fixture(
    scope="module",
    params=[
        ("qanat", "quic"),
        ("qanat", "http2"),
        pytest.param(("cloudflared", "quic"), marks=NEEDS_STOCK),
        pytest.param(("cloudflared", "http2"), marks=NEEDS_STOCK),
    ],
    ids=" ".join,
)
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    watched = Watched(tmp_path_factory.mktemp("tail"), *request.param)
    yield watched
    watched.close()


@pytest.fixture(params=["qanat", pytest.param("cloudflared", marks=NEEDS_STOCK)])
def viewer(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


def test_tail_prints_a_connectors_log(watched: Watched, viewer: Kind) -> None:
    tail = watched.tail(viewer, watched.token("logs"), "--event", "http", "--output", "json")

    def has_line() -> bool:
        assert tail.running, tail.log()
        watched.visit("secret=hidden")
        return any("/visited" in line for line in tail.out)

    try:
        wait_until(has_line, "a line of the connector's log")
        line = next(json.loads(line) for line in tail.out if "/visited" in line)
        assert line["event"] == "http"
        assert line["fields"]["path"] == "/visited"
        if watched.kind == "qanat":
            assert "hidden" not in "".join(tail.out)
            assert "visited" not in watched.connector.process.log()
    finally:
        tail.stop()
    assert tail.exit_code == 0


def test_tail_asks_for_its_token_itself(watched: Watched, viewer: Kind) -> None:
    tail = watched.run(viewer, "tail", "--origincert", str(watched.certificate), watched.tunnel.id)
    try:
        wait_until(lambda: tail.running and watched.visit() and tail.out, "a line of the connector's log")
    finally:
        tail.stop()


def test_tail_by_connector_id(watched: Watched, viewer: Kind) -> None:
    connector = watched.listed()
    tail = watched.tail(viewer, watched.token("logs"), "--connector-id", connector["id"])
    try:
        wait_until(lambda: watched.visit() and tail.out, "a line of the connector's log")
    finally:
        tail.stop()
    gone = watched.tail(viewer, watched.token("logs"), "--connector-id", watched.tunnel.id)
    gone.wait_for("no cloudflared connector available or reachable")
    assert gone.wait() == 0


def test_tail_with_a_token_of_another_tunnel_or_resource_is_refused(watched: Watched, viewer: Kind) -> None:
    other = watched.edge.api.create_tunnel(f"other {watched.kind} {viewer}")
    tail = watched.tail(viewer, watched.token("logs", other))
    tail.wait_for("no cloudflared connector available or reachable")
    assert tail.wait() == 0
    tail = watched.tail(viewer, watched.token("admin"))
    tail.wait_for(r"management request failed validation: \(403\) The management token is not good for this")
    assert tail.wait() == 0


def test_several_may_follow_a_connector_of_ours(watched: Watched) -> None:
    if watched.kind != "qanat":
        pytest.skip("a stock connector streams to one actor at a time")
    tails = [watched.tail("qanat", watched.token("logs"), "--level", level) for level in ("debug", "debug", "info")]
    try:
        wait_until(lambda: watched.visit() and tails[0].out and tails[1].out, "a line of the connector's log")
        assert tails[2].out == []
    finally:
        for tail in tails:
            tail.stop()


def test_a_connector_that_stops_does_not_wait_for_its_viewers(watched: Watched) -> None:
    if watched.kind != "qanat":
        pytest.skip("of a stock connector")
    tunnel = watched.edge.api.create_tunnel("stopping")
    watched.edge.api.publish(watched.zone, "stopping.tail.example", tunnel.id)
    watched.edge.api.put_configuration(tunnel.id, [{"service": "http_status:418"}])
    connector = Connector(
        watched.folder / "stopping",
        watched.edge,
        tunnel.token,
        protocol=watched.connector.protocol,
        grace_period="300s",
    )
    tail = watched.tail("qanat", watched.token("logs", tunnel))
    try:
        wait_until(lambda: watched.visit(at="stopping.tail.example") and tail.out, "a line of the connector's log")
        connector.process.signal(signal.SIGTERM)
        assert connector.process.wait(timeout_s=60.0) == 0
        assert tail.wait() == 0
        assert any("Initiating graceful shutdown" in line for line in tail.out)
    finally:
        connector.stop()
        tail.stop()


def test_diagnostics(watched: Watched) -> None:
    status, body = watched.ask("/host_details", "host_details")
    connector = watched.listed()
    details = json.loads(body)
    assert (status, details["connector_id"], details["hostname"]) == (200, connector["id"], "custom:blue")
    assert watched.ask("/ping", "logs")[0] == 200
    status, body = watched.ask("/metrics", "admin")
    assert (status, b"cloudflared_tunnel_total_requests" in body) == (200, True)
    assert b"# HELP build_info Build and version information" in body
    for profile in ("heap", "goroutine"):
        assert watched.ask(f"/debug/pprof/{profile}", "admin")[0] == 200
    assert watched.ask("/debug/pprof/cmdline", "admin")[0] == 404
    assert watched.ask("/metrics", "logs")[0] == 403
    assert watched.ask("/config", "admin")[0] == 404
