"""Edges found by name, by token, as the hosted one is, where they moved to, and through a proxy (case 45)."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.connector import Connector
from tests.support.dns import Zone
from tests.support.edge import Edge
from tests.support.relay import Relay
from tests.support.waiting import wait_until

NAME = "edge.example.net"
SERVICE = "_v2-origintunneld._tcp"
CATCH_ALL = {"service": "http_status:418"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Edge, str, str]]:
    """An edge that has a name, a token of a tunnel there, and the port of its tunnel listener."""
    edge = Edge(tmp_path_factory.mktemp("edges"), tunnel_public_name=NAME)
    tunnel = edge.api.create_tunnel("found")
    edge.api.put_configuration(tunnel.id, [CATCH_ALL])
    yield edge, tunnel.token, edge.tunnel.rpartition(":")[2]
    edge.stop()


@pytest.fixture
def zone() -> Iterator[Zone]:
    zone = Zone({})
    yield zone
    zone.close()


def started(folder: Path, token: str, zone: Zone, *flags: str, **more: Any) -> Connector:
    """A connector that is told no edge."""
    general = ("--edge-resolver", zone.address, *flags)
    return Connector(folder / "connector", "", token, protocol="auto", flags=general, **more)


def test_a_token_is_all_that_a_host_needs(found: tuple[Edge, str, str], folder: Path, zone: Zone) -> None:
    _, token, port = found
    zone.records = {("SRV", f"{SERVICE}.{NAME}"): [f"1 1 {port} a.{NAME}."], ("A", f"a.{NAME}"): ["127.0.0.1"]}
    connector = started(folder, token, zone)
    try:
        connector.process.wait_for(f"the token names: {NAME}:7844")
        connector.process.wait_for("Registered tunnel connection .*protocol=quic")
    finally:
        connector.stop()


def test_without_an_edge_the_hosted_one_is_found_by_stocks_names(
    found: tuple[Edge, str, str], folder: Path, zone: Zone
) -> None:
    edge, token, port = found
    document = json.loads(base64.b64decode(token))
    stock = base64.b64encode(json.dumps({key: document[key] for key in "ats"}).encode()).decode()
    regions = [f"us-region{number}.v2.argotunnel.com" for number in (1, 2)]
    zone.records = {
        ("SRV", "_us-v2-origintunneld._tcp.argotunnel.com"): [
            f"{i} 1 {port} {name}." for i, name in enumerate(regions)
        ],
        **{("A", name): ["127.0.0.1"] for name in regions},
    }
    flags = ("--region", "us", "--no-prechecks=false")
    connector = started(folder, stock, zone, *flags, connections=2, ca_file=edge.ca_file)
    try:
        connector.process.wait_for("Tunnel connection curve preferences: .X25519MLKEM768")
        connector.process.wait_for(r"\|  *CONNECTIVITY PRE-CHECKS  *\|", timeout_s=30.0)
        for component in ("DNS Resolution", "UDP Connectivity", "TCP Connectivity"):
            for name in regions:
                connector.process.wait_for(f"{component} +{name} +PASS")
        connector.process.wait_for("precheck complete .*hard_fail=false .*suggested_protocol=quic")
    finally:
        connector.stop()


def test_an_edge_that_moved_is_found_where_its_name_leads_now(
    found: tuple[Edge, str, str], folder: Path, zone: Zone
) -> None:
    edge, token, port = found
    relay = Relay(edge.tunnel)
    service = ("SRV", f"{SERVICE}.{NAME}")
    zone.records = {
        service: [f"1 1 {relay.address.rpartition(':')[2]} a.{NAME}."],
        ("A", f"a.{NAME}"): ["127.0.0.1"],
    }
    connector = started(folder, token, zone)
    try:
        mark = connector.process.mark()
        zone.records = {**zone.records, service: [f"1 1 {port} a.{NAME}."]}
        relay.silent = True
        connector.process.wait_for("Lost connection", after=mark, timeout_s=40.0)
        connector.wait_registered(after=mark, timeout_s=60.0)
    finally:
        connector.stop()
        relay.close()


class ConnectProxy:
    """CONNECT with a password, to the edge whatever is asked for."""

    def __init__(self, edge: str) -> None:
        self._edge = edge
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.asked.append(head.decode())
            host, _, port = self._edge.rpartition(":")
            edge = socket.create_connection((host, int(port)))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for source, sink in ((client, edge), (edge, client)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        self._listener.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.case(45)
def test_a_proxy_leads_out_and_its_password_is_in_no_log(
    found: tuple[Edge, str, str], folder: Path, zone: Zone
) -> None:
    edge, token, _ = found
    proxy = ConnectProxy(edge.tunnel)
    env = {"HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{proxy.port}", "NO_PROXY": "127.0.0.1,localhost"}
    connector = started(folder, token, zone, env=env)
    try:
        connector.process.wait_for("Registered tunnel connection .*protocol=http2")
        connector.process.wait_for(rf"through the proxy 127\.0\.0\.1:{proxy.port} \(\$HTTPS_PROXY\)")
        wait_until(lambda: proxy.asked, "CONNECT")
        assert proxy.asked[0].startswith(f"CONNECT {NAME}:7844 HTTP/1.1\r\n")
        log = "\n".join(connector.process.lines)
        assert "hunter2" not in log
        assert "aHVudGVyMg" not in log
    finally:
        connector.stop()
        proxy.close()
