"""cases.md 26, 39, 51, 54, 56: connections that come, go, come back, and are used again."""

import re
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.connector import Connector, Protocol
from tests.support.connectors import QuicConnector
from tests.support.edge import Edge, lasting_addresses
from tests.support.fixtures import every_connector, stock_only
from tests.support.loopback import needs_ipv6
from tests.support.origin import Exchange, Origin
from tests.support.relay import Relay
from tests.support.sites import Fakes, Link, Publisher, Site
from tests.support.waiting import stays_true, wait_until

CATCH_ALL = {"service": "http_status:404"}


def rule(hostname: str, status: int) -> dict[str, object]:
    return {"hostname": hostname, "service": f"http_status:{status}"}


def status_of(edge: Edge, hostname: str) -> int | None:
    try:
        with edge.h1(hostname, timeout_s=3.0) as client:
            return client.get().status
    except OSError:
        return None


# ------------------------------------------------------------------------------------------------ case 24
@needs_ipv6
@pytest.mark.case(24)
@every_connector
def test_an_origin_on_the_loopback_address_of_ipv6_alone(publish: Publisher) -> None:
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.bind(("::1", 0))
    origin = Origin(listener)
    site = publish(f"http://[::1]:{listener.getsockname()[1]}", origin=origin)
    assert site.get().status == 200
    assert origin.last.value("host") == site.hostname


@pytest.mark.case(24)
def test_of_a_name_that_refuses_each_address_that_was_tried_is_told(publish: Publisher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    site = publish(f"http://localhost:{port}")
    answer = site.get()
    assert (answer.status, site.edge.cause(answer.request_id)) == (502, "origin_refused")
    told = site.edge.api.request_facts(answer.request_id)["detail"]
    for host in {str(found[4][0]) for found in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}:
        assert (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") in told.partition("; tried ")[2], told


# ------------------------------------------------------------------------------------------------ case 26
@pytest.fixture
def own_edge(folder: Path) -> "Edge":
    return Edge(folder / "edge", **lasting_addresses())


def published(edge: Edge, name: str = "app.example.test") -> str:
    """A tunnel that answers 418 for `name`; its token."""
    tunnel = edge.api.create_tunnel(name)
    edge.api.publish(edge.api.create_zone("example.test"), name, tunnel.id)
    edge.api.put_configuration(tunnel.id, [rule(name, 418), CATCH_ALL])
    return tunnel.token


@pytest.mark.case(26)
def test_killed_edge_comes_back_and_traffic_flows(own_edge: Edge, folder: Path, link: Link) -> None:
    token = published(own_edge)
    connector = Connector(folder / "connector", own_edge, token, protocol=link.protocol, connections=2)
    try:
        wait_until(lambda: status_of(own_edge, "app.example.test") == 418, "traffic")
        mark = connector.process.mark()
        own_edge.kill()
        connector.process.wait_for("Lost connection|Retrying connection", after=mark)
        own_edge.restart()
        wait_until(lambda: status_of(own_edge, "app.example.test") == 418, "traffic again")
        assert connector.process.running
    finally:
        connector.stop()
        own_edge.stop()


@pytest.mark.case(26)
def test_silent_network_is_noticed_and_redialled(own_edge: Edge, folder: Path, link: Link) -> None:
    token = published(own_edge)
    relay = Relay(own_edge.tunnel)
    connector = Connector(
        folder / "connector", relay.address, token, ca_file=own_edge.ca_file, protocol=link.protocol, connections=2
    )
    try:
        wait_until(lambda: status_of(own_edge, "app.example.test") == 418, "traffic")
        mark = connector.process.mark()
        relay.silent = True
        connector.process.wait_for("Lost connection|Retrying connection", after=mark)
        wait_until(lambda: status_of(own_edge, "app.example.test") == 530, "the edge to notice as well")
        relay.silent = False
        wait_until(lambda: status_of(own_edge, "app.example.test") == 418, "traffic again")
    finally:
        connector.stop()
        relay.close()
        own_edge.stop()


@pytest.mark.case(26)
def test_suspended_connector_recovers(own_edge: Edge, folder: Path, link: Link) -> None:
    import signal

    token = published(own_edge)
    connector = Connector(folder / "connector", own_edge, token, protocol=link.protocol)
    try:
        wait_until(lambda: status_of(own_edge, "app.example.test") == 418, "traffic")
        connector.process.signal(signal.SIGSTOP)
        try:
            wait_until(
                lambda: status_of(own_edge, "app.example.test") == 530, "the edge to drop a silent link", timeout_s=40.0
            )
        finally:
            connector.process.signal(signal.SIGCONT)
        wait_until(lambda: status_of(own_edge, "app.example.test") == 418, "traffic again")
    finally:
        connector.stop()
        own_edge.stop()


# ------------------------------------------------------------------------------------------------ case 39
@pytest.mark.case(39)
@every_connector
def test_one_address_takes_all_four_connections(edge: Edge, folder: Path, link: Link) -> None:
    """A stock connector opens as many as it was given addresses, one address four times here."""
    tunnel = edge.api.create_tunnel(f"case 39 {link}")
    edge.api.put_configuration(tunnel.id, [CATCH_ALL])
    connector = Connector(
        folder / "connector", edge, tunnel.token, kind=link.kind, protocol=link.protocol, connections=4
    )
    try:
        found = wait_until(
            lambda: c if len(c := edge.api.connections(tunnel.id)) == 4 else None, "four connections in the API"
        )
        assert len({connection["id"] for connection in found}) == 4
        assert {connection["client_id"] for connection in found} == {connector.connector_id}
        assert edge.api.tunnel(tunnel.id)["status"] == "healthy"
        assert [line for line in connector.errors() if "connIndex=" in line] == []
        assert "already connected" not in connector.process.log()
    finally:
        connector.stop()


@pytest.mark.case(39)
@stock_only
def test_a_stock_connector_with_one_address_settles_with_one_connection(edge: Edge, folder: Path, link: Link) -> None:
    """It asks for four and finds one address: no error, and no second try."""
    tunnel = edge.api.create_tunnel(f"case 39, one address, {link}")
    edge.api.put_configuration(tunnel.id, [CATCH_ALL])
    connector = Connector(folder / "connector", edge, tunnel.token, kind=link.kind, protocol=link.protocol)
    try:
        wait_until(lambda: len(edge.api.connections(tunnel.id)) == 1, "one connection in the API")
        stays_true(lambda: len(edge.api.connections(tunnel.id)) == 1, "the one connection", for_s=3.0)
        assert [line for line in connector.errors() if "connIndex=" in line] == []
        assert "already connected" not in connector.process.log()
    finally:
        connector.stop()


@pytest.mark.case(39)
@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_registering_again_replaces_the_old_connection(fakes: Fakes, protocol: Protocol) -> None:
    tunnel, hostname = fakes.tunnel()
    connector_id = uuid.uuid4()
    old = fakes.connector(protocol, tunnel, connector_id=connector_id)
    new = fakes.connector(protocol, tunnel, connector_id=connector_id)
    old.wait_ended()
    assert new.registered is not None
    own = [str(new.registered.connection_id)]
    wait_until(lambda: [c["id"] for c in fakes.edge.api.connections(tunnel.id)] == own, "the new one alone in the API")
    with fakes.edge.h1(hostname) as client:
        assert client.get().status == 200
    assert len(new.data_streams) == 1
    assert old.data_streams == []


# ------------------------------------------------------------------------------------------------ case 51
@pytest.mark.case(51)
def test_first_connector_gets_the_stored_configuration(fakes: Fakes, folder: Path, link: Link) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [rule(hostname, 410), CATCH_ALL])
    version = fakes.edge.api.put_configuration(tunnel.id, [rule(hostname, 418), CATCH_ALL])
    connector = Connector(folder / "first", fakes.edge, tunnel.token, protocol=link.protocol)
    try:
        wait_until(lambda: status_of(fakes.edge, hostname) == 418, "the stored configuration")
        assert connector.version == version
        connector.stop()
        later = fakes.edge.api.put_configuration(tunnel.id, [rule(hostname, 402), CATCH_ALL])
        connector = Connector(folder / "second", fakes.edge, tunnel.token, protocol=link.protocol)
        wait_until(lambda: status_of(fakes.edge, hostname) == 402, "the newer configuration")
        assert connector.version == later
        lost = [line for line in connector.process.lines if "No ingress rules" in line]
        assert lost == [], "a false warning: the rules are remote"
    finally:
        connector.stop()


@pytest.mark.case(51)
def test_the_higher_version_wins(fakes: Fakes, folder: Path, link: Link) -> None:
    tunnel, hostname = fakes.tunnel()
    connector = Connector(folder / "connector", fakes.edge, tunnel.token, protocol=link.protocol)
    try:
        last = 0
        for n in range(20):
            last = fakes.edge.api.put_configuration(tunnel.id, [rule(hostname, 400 + n), CATCH_ALL])
        connector.wait_version(last)
        assert connector.version == last
        with fakes.edge.h1(hostname) as client:
            assert client.get().status == 419
        shown = fakes.edge.api.connectors(tunnel.id)
        wait_until(
            lambda: fakes.edge.api.connectors(tunnel.id)[0]["config_version"] == last, f"{last} in the API: {shown}"
        )
    finally:
        connector.stop()


@pytest.mark.case(51)
@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_refusal_of_a_connector_is_shown(fakes: Fakes, protocol: str) -> None:
    tunnel, _ = fakes.tunnel()
    first = fakes.edge.api.put_configuration(tunnel.id, [CATCH_ALL])
    connector = fakes.connector(protocol, tunnel)  # type: ignore[arg-type]
    connector.wait_configuration()
    connector.configuration_answer = lambda version, _: (first, "rule 0: no such service here")
    mark = fakes.edge.process.mark()
    refused = fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:503"}])
    assert connector.wait_configuration(2)[0] == refused
    found = wait_until(
        lambda: [line for line in fakes.edge.process.since(mark) if "configuration" in line and "refused" in line],
        "the refusal in the edge's log",
    )
    if protocol == "quic":
        assert "no such service here" in found[0]
    assert fakes.edge.api.connectors(tunnel.id)[0]["config_version"] == first
    assert fakes.edge.api.configuration(tunnel.id)["version"] == refused
    (shown,) = fakes.edge.api.call("GET", f"/qanat/tunnels/{tunnel.id}/connectors")
    assert (shown["config_version"], shown["config_in_force"]) == (first, False)
    assert "no such service here" in shown["config_error"] if protocol == "quic" else shown["config_error"]


# ------------------------------------------------------------------------------------------------ case 54
@dataclass(frozen=True)
class Retry:
    """What a connection said when it had lost its edge, and when it was heard of again."""

    told_s: int
    """The delay that was drawn, in whole seconds (1 for shorter ones)."""
    waited_s: float
    """Until its next line, by the log's clock of whole seconds."""


def first_retries(lines: list[str]) -> list[Retry]:
    """The first retry of each connection, by a connector's log."""
    found: dict[str, Retry] = {}
    waits: dict[str, tuple[datetime, int]] = {}
    for line in lines:
        index = re.search(r"connIndex=(\d+)", line)
        if index is None or index[1] in found:
            continue
        at = datetime.fromisoformat(line.split(" ", 1)[0])
        if index[1] in waits:
            since, told = waits[index[1]]
            found[index[1]] = Retry(told, (at - since).total_seconds())
        elif delay := re.search(r"Retrying connection in up to (\d+)s", line):
            waits[index[1]] = (at, int(delay[1]))
    return list(found.values())


@pytest.mark.case(54)
def test_connectors_return_spread_out(own_edge: Edge, folder: Path) -> None:
    """Four connectors of four connections lose their edge: each draws a delay of its own and dials no sooner."""
    token = published(own_edge)
    connectors = [
        Connector(folder / f"c{n}", own_edge, token, connections=4, protocol=("quic", "http2")[n % 2], wait=False)
        for n in range(4)
    ]
    try:
        for connector in connectors:
            connector.wait_registered(4)
        own_edge.kill()
        marks = [connector.process.mark() for connector in connectors]
        logs = list(zip(connectors, marks, strict=True))

        def retries() -> list[Retry]:
            return [retry for connector, mark in logs for retry in first_retries(connector.process.since(mark))]

        wait_until(lambda: len(retries()) == 16, "all to have dialled again", timeout_s=60.0, every_s=0.2)
        own_edge.restart()
        wait_until(
            lambda: all(connector.local("/ready").json()["readyConnections"] == 4 for connector in connectors),
            "everybody to be back",
            timeout_s=60.0,
            every_s=0.2,
        )
        assert status_of(own_edge, "app.example.test") == 418
        told = sorted(retry.told_s for retry in retries())
        # Of 16 that draw evenly, less than one round in ten thousand looks otherwise; a herd always does.
        assert told[-1] - told[0] >= 2 and max(map(told.count, told)) <= 12, f"they come together: {told}"
        early = [retry for retry in retries() if retry.waited_s < retry.told_s - 1]
        assert not early, "they did not wait as they said"
    finally:
        for connector in connectors:
            connector.stop()
        own_edge.stop()


@pytest.mark.case(54)
def test_edge_takes_a_crowd_at_once(fakes: Fakes) -> None:
    tunnel, hostname = fakes.tunnel()
    done: list[QuicConnector] = []
    problems: list[BaseException] = []

    def join() -> None:
        try:
            done.append(fakes.quic(tunnel))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=join) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert problems == []
    assert len(done) == 20
    with fakes.edge.h1(hostname) as client:
        for _ in range(40):
            assert client.get().status == 200
    assert sum(bool(connector.data_streams) for connector in done) > 5, "the requests were not spread"


# ------------------------------------------------------------------------------------------------ case 56
@pytest.mark.case(56)
def test_origin_that_closes_after_each_answer_costs_nothing(site: Site) -> None:
    def script(exchange: Exchange) -> None:
        exchange.answer()
        exchange.close()

    site.origin.script = script
    client = site.h1()
    for n in range(200):
        assert client.get(f"/{n}").status == 200


def pause(seconds: float) -> None:
    """Time itself is the condition here: the origin's limit runs out just as the next request comes."""
    time.sleep(seconds)


@pytest.mark.case(56)
def test_reused_connection_that_the_origin_closes(site: Site) -> None:
    """A GET always succeeds; a POST is never run twice, and one that fails says so."""
    runs: dict[str, int] = {}

    def script(exchange: Exchange) -> None:
        exchange.body()
        runs[exchange.request.target] = runs.get(exchange.request.target, 0) + 1
        exchange.answer()

    site.origin.script = script
    site.origin.idle_limit_s = 0.02
    client = site.h1()
    failed = 0
    for n in range(80):
        pause(0.015 + (n % 20) * 0.0005)
        assert client.get(f"/get/{n}").status == 200
        pause(0.015 + (n % 20) * 0.0005)
        answer = client.request("POST", f"/order/{n}", body=b"one beer")
        if answer.status != 200:
            failed += 1
            assert answer.status == 502
            assert answer.value("x-qanat-error")
    assert max(count for target, count in runs.items() if target.startswith("/order")) == 1, "a POST was run twice"
    assert failed < 40
    assert len(site.origin.connections) > 10, "the origin's limit was never met"


@pytest.mark.case(56)
def test_idle_limit_follows_the_origins_keep_alive(site: Site) -> None:
    site.origin.answers(200, b"hello", [("Keep-Alive", "timeout=1")])
    client = site.h1()
    assert client.get().status == 200
    assert client.get().status == 200
    before = len(site.origin.connections)
    pause(1.1)
    assert client.get().status == 200
    assert len(site.origin.connections) == before + 1


@pytest.mark.case(56)
def test_keep_alive_timeout_of_the_rule(publish: Publisher) -> None:
    origin = Origin()
    site = publish(origin.service, origin=origin, origin_request={"keepAliveTimeout": 1})
    client = site.h1()
    assert client.get().status == 200
    pause(1.1)
    assert client.get().status == 200
    assert len(origin.connections) == 2


@pytest.mark.case(56)
def test_origin_connections_are_reused(site: Site) -> None:
    client = site.h1()
    for n in range(20):
        assert client.get(f"/{n}").status == 200
    # The next request may overtake the connection's way back to the pool.
    assert len(site.origin.connections) < 4
