"""Ends that nobody notices: graceful stops, take-overs and changes under load, without a failed request."""

import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.support.connector import Connector
from tests.support.edge import Edge
from tests.support.fixtures import every_connector
from tests.support.http1 import Http1Client
from tests.support.http2 import Http2Client, Reset
from tests.support.origin import Exchange, Held, Origin
from tests.support.sites import Fakes, Link, Site
from tests.support.waiting import wait_until

CATCH_ALL = {"service": "http_status:404"}


class Load:
    """Clients that send one request after the other until they are stopped, and remember every failure."""

    def __init__(self, edge: Edge, hostname: str, clients: int = 4) -> None:
        self.edge = edge
        self.hostname = hostname
        self.good = 0
        self.bad: list[str] = []
        self.bodies: list[bytes] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        client: Http1Client | Http2Client | None = None
        while not self._end.is_set():
            try:
                if client is None:
                    client = self.edge.h1(self.hostname) if number % 2 else self.edge.h2(self.hostname)
                body = b"order" if self.good % 3 == 0 else None
                answer = client.request("POST" if body else "GET", "/", body=body)
                if answer.status == 200:
                    self.good += 1
                    self.bodies.append(answer.body)
                else:
                    self.bad.append(f"{answer.status} {answer.text[:200]}")
            except (OSError, Reset, AssertionError) as error:
                self.bad.append(repr(error))
                if client is not None:
                    client.close()
                client = None
        if client is not None:
            client.close()

    def wait_more(self, count: int = 50) -> None:
        goal = self.good + count
        wait_until(lambda: self.good >= goal, f"{count} more answers (failures: {self.bad[:3]})")

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(15.0)


@pytest.fixture
def origin() -> "object":
    origin = Origin()
    yield origin
    origin.close()


@pytest.mark.case(12)
@every_connector
def test_replica_takes_over_without_a_failed_request(fakes: Fakes, folder: Path, origin: Origin, link: Link) -> None:
    """A POST that was under way at the old one ends there, whole; what comes meanwhile goes to the new one."""
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"hostname": hostname, "service": origin.service}, CATCH_ALL])

    def replica(name: str) -> Connector:
        return Connector(
            folder / name,
            fakes.edge,
            tunnel.token,
            kind=link.kind,
            protocol=link.protocol,
            connections=2,
            grace_period="60s",
        )

    connectors = [replica("one")]
    wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
    load = Load(fakes.edge, hostname)
    try:
        load.wait_more()
        for n in range(3 if link.kind == "qanat" else 1):
            held = Held()
            origin.on("/order", held)
            with fakes.edge.h1(hostname) as client:
                client.start("POST", "/order", [("Content-Length", "0")])
                pieces = client.body_of(client.head())
                assert next(pieces) == b"first"
                connectors.append(replica(f"next{n}"))
                load.wait_more()
                connectors[0].process.signal(signal.SIGTERM)
                connectors[0].process.wait_for("Initiating graceful shutdown")
                load.wait_more()
                held.let_go()
                assert b"".join(pieces) == b"later"
            connectors[0].process.wait()
            connectors.pop(0)
            load.wait_more()
    finally:
        load.stop()
        for connector in connectors:
            connector.stop()
    assert load.bad == []


@every_connector
def test_open_request_outlives_a_graceful_stop(fakes: Fakes, folder: Path, origin: Origin, link: Link) -> None:
    held = Held()
    origin.on("/slow", held)
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"hostname": hostname, "service": origin.service}, CATCH_ALL])
    connector = Connector(
        folder / "one", fakes.edge, tunnel.token, kind=link.kind, protocol=link.protocol, grace_period="10s"
    )
    wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
    with fakes.edge.h1(hostname) as client:
        client.start("GET", "/slow")
        pieces = client.body_of(client.head())
        assert next(pieces) == b"first"
        connector.process.signal(signal.SIGTERM)
        wait_until(lambda: fakes.lab.status(hostname) == 530, "no new requests for a draining connector")
        held.let_go()
        assert b"".join(pieces) == b"later"
    assert connector.process.wait() == 0


@pytest.mark.case(13)
def test_second_signal_ends_at_once(fakes: Fakes, folder: Path, origin: Origin, link: Link) -> None:
    def slow(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "10")])
        exchange.wait_gone(within_s=100)

    origin.on("/slow", slow)
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"hostname": hostname, "service": origin.service}, CATCH_ALL])
    connector = Connector(folder / "one", fakes.edge, tunnel.token, protocol=link.protocol, grace_period="120s")
    wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
    with fakes.edge.h1(hostname) as client:
        client.start("GET", "/slow")
        client.head()
        connector.process.signal(signal.SIGTERM)
        connector.process.wait_for("Initiating graceful shutdown")
        assert connector.process.running
        connector.process.signal(signal.SIGTERM)
        connector.process.wait()  # half of its grace period


def test_killed_connector_costs_only_what_was_in_its_hands(
    fakes: Fakes, folder: Path, origin: Origin, link: Link
) -> None:
    """Two replicas, one dies: GETs that were not answered move to the other one."""
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"hostname": hostname, "service": origin.service}, CATCH_ALL])
    doomed = Connector(folder / "doomed", fakes.edge, tunnel.token, protocol=link.protocol)
    other = Connector(folder / "other", fakes.edge, tunnel.token, protocol=link.protocol)
    wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
    try:
        doomed.process.kill()
        with fakes.edge.h1(hostname, timeout_s=20.0) as client:
            for n in range(20):
                assert client.get(f"/{n}").status == 200
        wait_until(lambda: len(fakes.edge.api.connections(tunnel.id)) == 1, "one connection")
    finally:
        other.stop()


def test_configuration_changes_under_load(fakes: Fakes, folder: Path, link: Link) -> None:
    origins = [Origin(script=lambda e, n=n: e.answer(200, b"%d" % n)) for n in range(2)]  # type: ignore[misc]
    tunnel, hostname = fakes.tunnel()
    api = fakes.edge.api

    def point(n: int) -> int:
        return api.put_configuration(tunnel.id, [{"hostname": hostname, "service": origins[n].service}, CATCH_ALL])

    version = point(0)
    connector = Connector(folder / "c", fakes.edge, tunnel.token, protocol=link.protocol, connections=2)
    connector.wait_version(version)
    wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
    load = Load(fakes.edge, hostname)
    try:
        for n in range(1, 9):
            version = point(n % 2)
            connector.wait_version(version)
            load.wait_more(20)
        assert {b"0", b"1"} <= set(load.bodies)
        wait_until(lambda: api.connectors(tunnel.id)[0]["config_version"] == version, "the version in the API")
    finally:
        load.stop()
        connector.stop()
        for origin in origins:
            origin.close()
    assert load.bad == []


def test_two_tunnels_never_mix(fakes: Fakes, folder: Path, link: Link) -> None:
    sites = []
    for n in range(2):
        origin = Origin(script=lambda e, n=n: e.answer(200, b"tunnel %d" % n))  # type: ignore[misc]
        tunnel, hostname = fakes.tunnel()
        fakes.edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
        sites.append((origin, hostname, Connector(folder / f"c{n}", fakes.edge, tunnel.token, protocol=link.protocol)))
    loads = [Load(fakes.edge, hostname, clients=2) for _, hostname, _ in sites]
    try:
        for n, load in enumerate(loads):
            load.wait_more(30)
            assert set(load.bodies) == {b"tunnel %d" % n}
    finally:
        for load in loads:
            load.stop()
        for origin, _, connector in sites:
            connector.stop()
            origin.close()


# ------------------------------------------------------------------------------------------------ the edge's end
def refuses(edge: Edge) -> bool:
    host, _, port = edge.https.rpartition(":")
    with socket.socket() as sock:
        sock.settimeout(1.0)
        return sock.connect_ex((host, int(port))) != 0


def test_edge_finishes_what_is_open_when_it_is_stopped(folder: Path) -> None:
    edge = Edge(folder / "edge", grace_period_s="10")
    go = threading.Event()
    origin = Origin()

    def slow(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "10")])
        exchange.send(b"first")
        go.wait(10.0)
        exchange.send(b"later")

    origin.on("/slow", slow)
    tunnel = edge.api.create_tunnel("app")
    edge.api.publish(edge.api.create_zone("example.test"), "app.example.test", tunnel.id)
    edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
    connector = Connector(folder / "connector", edge, tunnel.token)
    try:
        client, second = edge.h1("app.example.test"), edge.h2("app.example.test")
        idle = edge.h1("app.example.test")
        with client, second, idle:
            wait_until(lambda: idle.get().status == 200, "traffic")
            client.start("GET", "/slow")
            pieces = client.body_of(client.head())
            assert next(pieces) == b"first"
            number = second.start("GET", "/slow")
            second.head(number)
            edge.process.signal(signal.SIGTERM)
            second.until(lambda: second.goaway is not None, "GOAWAY")
            assert second.goaway == 0
            # Who asks meanwhile is served, and told that the connection closes; who comes anew as well.
            for visitor in (idle, edge.h1("app.example.test")):
                with visitor:
                    answer = visitor.get()
                    assert (answer.status, (answer.value("connection") or "").lower()) == (200, "close")
                    assert visitor.ended()
            assert not refuses(edge)
            go.set()
            assert b"".join(pieces) == b"later"
            assert second.answer(number).body == b"firstlater"
        edge.api.close()
        assert edge.process.wait() == 0
    finally:
        edge.process.kill()
        connector.stop()
        origin.close()


# ------------------------------------------------------------------------------------------ the connector's own doors
def test_local_endpoints(site: Site) -> None:
    connector = site.connector
    ready = connector.local("/ready")
    assert ready.status_code == 200
    assert ready.json()["status"] == 200
    assert ready.json()["readyConnections"] == 2
    assert connector.local("/healthcheck").text == "OK\n"
    config = connector.local("/config").json()
    assert config["version"] >= 1
    assert config["config"]["ingress"][-1]["service"] == "http_status:404"
    before = connector.metric("cloudflared_tunnel_total_requests")
    assert site.get().status == 200
    wait_until(lambda: connector.metric("cloudflared_tunnel_total_requests") == before + 1, "the request to be counted")
    assert connector.metric("cloudflared_tunnel_ha_connections") == 2
    assert connector.metric("cloudflared_orchestration_config_version") == config["version"]


def test_log_lines_that_scripts_match(fakes: Fakes, folder: Path, link: Link) -> None:
    tunnel, _ = fakes.tunnel()
    version = fakes.edge.api.put_configuration(tunnel.id, [CATCH_ALL])
    connector = Connector(folder / "c", fakes.edge, tunnel.token, protocol=link.protocol)
    process = connector.process
    try:
        connector.wait_version(version)
        stamp = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "
        process.wait_for(stamp + r"INF Starting tunnel .*tunnelID=" + tunnel.id)
        process.wait_for(stamp + r"INF Generated Connector ID: [0-9a-f-]{36}")
        process.wait_for(stamp + r"INF Initial protocol " + link.protocol)
        process.wait_for(stamp + r"INF Starting metrics server on 127\.0\.0\.1:\d+/metrics")
        process.wait_for(
            stamp
            + r"INF Registered tunnel connection connIndex=0 connection=[0-9a-f-]{36} event=0 ip=127\.0\.0\.1 "
            + r"location=lab01 protocol="
            + link.protocol
        )
        process.wait_for(stamp + r"INF Updated to new configuration config=.* version=" + str(version))
    finally:
        connector.stop()
    assert "Initiating graceful shutdown due to signal terminated" in process.log()
