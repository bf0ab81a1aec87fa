"""Stopping and starting: what ends in order, what comes back by itself, and what a service manager is told of it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.support.api import ApiError
from tests.support.connector import Connector
from tests.support.edge import Edge, lasting_addresses
from tests.support.fixtures import every_connector
from tests.support.manager import Manager
from tests.support.origin import Held, Origin
from tests.support.sites import Fakes, Link
from tests.support.visitors import Visitor
from tests.support.waiting import stays_true, wait_until

ENDLESS = "180s"
"""The longest grace period that a stock connector takes, and more than a test waits: who ends before it was ended in order."""
PATIENCE_S = 60.0
HOSTNAME = "app.example.test"


@pytest.fixture
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


# ------------------------------------------------------------------------------------------------ a connector's end
@every_connector
def test_an_idle_connector_ends_without_waiting_for_its_grace_period(fakes: Fakes, folder: Path, link: Link) -> None:
    """The edge closes what is unregistered and idle; a stock connector would wait for its whole grace period."""
    tunnel, _ = fakes.tunnel()
    connector = Connector(
        folder, fakes.edge, tunnel.token, kind=link.kind, protocol=link.protocol, connections=2, grace_period=ENDLESS
    )
    wait_until(lambda: len(fakes.edge.api.connections(tunnel.id)) == 2, "two connections in the API")
    connector.process.stop(timeout_s=PATIENCE_S)


@pytest.mark.case(13)
@every_connector
def test_a_connector_ends_when_its_last_request_has_ended(
    fakes: Fakes, folder: Path, origin: Origin, link: Link
) -> None:
    held = Held()
    origin.on("/slow", held)
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
    connector = Connector(
        folder, fakes.edge, tunnel.token, kind=link.kind, protocol=link.protocol, grace_period=ENDLESS
    )
    wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
    with fakes.edge.h1(hostname, timeout_s=PATIENCE_S) as client:
        client.start("GET", "/slow")
        pieces = client.body_of(client.head())
        assert next(pieces) == b"first"
        connector.process.signal(signal.SIGTERM)
        wait_until(lambda: fakes.lab.status(hostname) == 530, "no new requests for a draining connector")
        assert connector.process.running
        held.let_go()
        assert b"".join(pieces) == b"later"
    assert connector.process.wait(timeout_s=PATIENCE_S) == 0


def test_a_connector_takes_no_harm_from_the_signals_that_stock_ignores(fakes: Fakes, folder: Path, link: Link) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:204"}])
    connector = Connector(folder, fakes.edge, tunnel.token, protocol=link.protocol)
    wait_until(lambda: fakes.lab.status(hostname) == 204, "traffic")
    for number in (signal.SIGUSR1, signal.SIGHUP):
        connector.process.signal(number)
    connector.process.wait_for("INF Ignoring signal hangup")
    assert fakes.lab.status(hostname) == 204
    connector.stop()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_service_manager_is_told_of_a_connectors_life(
    fakes: Fakes, folder: Path, kind: Literal["path", "abstract"]
) -> None:
    manager = Manager(kind, folder)
    tunnel, _ = fakes.tunnel()
    connector = Connector(folder / "c", fakes.edge, tunnel.token, env=manager.environment(watchdog_s=0.2), wait=False)
    try:
        wait_until(lambda: "READY=1" in manager.heard, "READY=1", timeout_s=PATIENCE_S)
        connector.process.wait_for("Registered tunnel connection")
        count = manager.heard.count("WATCHDOG=1")
        wait_until(lambda: manager.heard.count("WATCHDOG=1") >= count + 3, "the watchdog's keep-alives")
        connector.process.stop(timeout_s=PATIENCE_S)
        wait_until(lambda: "STOPPING=1" in manager.heard, "STOPPING=1")
        assert manager.heard.count("READY=1") == 1
        assert manager.heard.index("READY=1") < manager.heard.index("STOPPING=1")
    finally:
        connector.process.kill()
        manager.close()


def test_a_connector_without_a_connection_is_not_ready(fakes: Fakes, folder: Path) -> None:
    manager = Manager("path", folder)
    tunnel, _ = fakes.tunnel()
    nowhere = Connector(
        folder / "c", "127.0.0.1:9", tunnel.token, ca_file=fakes.edge.ca_file, env=manager.environment(), wait=False
    )
    try:
        nowhere.process.wait_for("Retrying connection", timeout_s=PATIENCE_S)
        nowhere.process.stop(timeout_s=PATIENCE_S)
        wait_until(lambda: "STOPPING=1" in manager.heard, "STOPPING=1")
        assert "READY=1" not in manager.heard
    finally:
        nowhere.process.kill()
        manager.close()


# ------------------------------------------------------------------------------------------------ an edge's end
@every_connector
def test_an_edge_is_stopped_and_started_under_its_visitors(folder: Path, origin: Origin, link: Link) -> None:
    edge = Edge(folder / "edge", **lasting_addresses(), grace_period_s="60", stop_notice_s="2")
    held = Held()
    origin.on("/slow", held)
    tunnel = edge.api.create_tunnel("app")
    edge.api.publish(edge.api.create_zone("example.test"), HOSTNAME, tunnel.id)
    edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
    connector = Connector(folder / "c", edge, tunnel.token, kind=link.kind, protocol=link.protocol, connections=2)
    visitors: list[Visitor] = []
    try:
        with edge.h1(HOSTNAME, timeout_s=PATIENCE_S) as client:
            wait_until(lambda: client.get().status == 200, "traffic")
            client.start("GET", "/slow")
            pieces = client.body_of(client.head())
            assert next(pieces) == b"first"
            visitors = [Visitor(edge, HOSTNAME, "h1") for _ in range(2)]
            wait_until(lambda: all(visitor.good for visitor in visitors), "visitors", timeout_s=PATIENCE_S)
            edge.api.close()
            edge.process.signal(signal.SIGTERM)
            wait_until(lambda: all(visitor.told for visitor in visitors), "Connection: close", timeout_s=PATIENCE_S)
            served = [visitor.good for visitor in visitors]
            wait_until(
                lambda: all(v.good > n for v, n in zip(visitors, served, strict=True)),
                "visitors to be served while an old request is open",
                timeout_s=PATIENCE_S,
            )
            for visitor in visitors:
                visitor.stop()
            held.let_go()
            assert b"".join(pieces) == b"later"
        assert edge.process.wait(timeout_s=PATIENCE_S) == 0
        assert [failed for visitor in visitors for failed in visitor.failed] == []
        if link.kind == "cloudflared":
            return  # when it comes back is its own affair: after up to 22 s
        mark = connector.process.mark()
        edge.restart()
        connector.wait_registered(after=mark, timeout_s=PATIENCE_S)
        visitors.append(Visitor(edge, HOSTNAME, "h1"))
        wait_until(lambda: visitors[-1].good, "a visitor to be served again", timeout_s=PATIENCE_S)
        assert "the edge restarts" in connector.process.log(), "its connections were told"
    finally:
        for visitor in visitors:
            visitor.stop()
        connector.process.kill()
        edge.kill()


def test_an_edge_takes_no_harm_from_other_signals_and_reads_its_certificates_at_sighup(folder: Path) -> None:
    edge = Edge(folder / "edge")
    try:
        for number in (signal.SIGUSR1, signal.SIGHUP):
            edge.process.signal(number)
        edge.process.wait_for("the given certificates are read again")
        assert edge.api.create_tunnel("app").id
    finally:
        edge.stop()


def test_a_service_manager_is_told_of_an_edges_life(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Manager("abstract", folder)
    for name, text in manager.environment(watchdog_s=0.2).items():
        monkeypatch.setenv(name, text)
    try:
        edge = Edge(folder / "edge")
        wait_until(lambda: "READY=1" in manager.heard, "READY=1")
        count = manager.heard.count("WATCHDOG=1")
        wait_until(lambda: manager.heard.count("WATCHDOG=1") >= count + 3, "the watchdog's keep-alives")
        edge.stop()
        wait_until(lambda: "STOPPING=1" in manager.heard, "STOPPING=1")
        assert manager.heard.count("READY=1") == 1
        assert manager.heard.index("READY=1") < manager.heard.index("STOPPING=1")
    finally:
        manager.close()


# ------------------------------------------------------------------------------- case 81: cut, destroyed, made again
@pytest.mark.case(81)
@every_connector
def test_a_tunnel_is_cut_destroyed_and_made_again_with_a_live_connector(fakes: Fakes, folder: Path, link: Link) -> None:
    api = fakes.edge.api
    tunnel, hostname = fakes.tunnel()
    api.put_configuration(tunnel.id, [{"service": "http_status:204"}])
    connector = Connector(folder, fakes.edge, tunnel.token, kind=link.kind, protocol=link.protocol)
    try:
        wait_until(lambda: fakes.lab.status(hostname) == 204, "traffic")
        account = {"name": api.call("GET", f"/accounts/{api.account}")["name"]}
        api.call("PUT", f"/accounts/{api.account}", {**account, "settings": {"delete_disconnects": False}})
        try:
            with pytest.raises(ApiError) as refused:
                api.delete_tunnel(tunnel.id)
            assert (refused.value.status, refused.value.errors[0]["code"]) == (400, 1022)
            api.disconnect(tunnel.id)
            # No connector slips back in between.
            stays_true(lambda: not api.connections(tunnel.id), "the connector to stay away", for_s=2.5)
            api.delete_tunnel(tunnel.id)
        finally:
            api.call("PUT", f"/accounts/{api.account}", {**account, "settings": {"delete_disconnects": True}})
        again = api.create_tunnel(tunnel.name)
        assert again.id != tunnel.id
        named = api.call("GET", f"/accounts/{api.account}/cfd_tunnel", name=tunnel.name, is_deleted="false")
        assert [each["id"] for each in named] == [again.id]
        assert connector.process.running
    finally:
        connector.process.kill()
