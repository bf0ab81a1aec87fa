"""Edges found by name, by token, as the hosted one is, where they moved to, and through a proxy (case 45)."""

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.certificates import OriginAuthority
from tests.support.connector import Connector
from tests.support.dns import Zone
from tests.support.edge import Edge
from tests.support.manager import Manager
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.tls import AnySocket, TlsSocket
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
        connector.process.wait_for(r"\|  *CONNECTIVITY PRE-CHECKS  *\|")
        for component in ("DNS Resolution", "UDP Connectivity", "TCP Connectivity"):
            for name in regions:
                connector.process.wait_for(f"{component} +{name} +PASS")
        connector.process.wait_for("precheck complete .*hard_fail=false .*suggested_protocol=quic")
    finally:
        connector.stop()


def test_targets_of_a_service_are_dialled_by_their_priority(
    found: tuple[Edge, str, str], folder: Path, zone: Zone
) -> None:
    """RFC 2782: the lowest number first; the heavier one of equals."""
    edge, token, _ = found
    relays = [Relay(edge.tunnel) for _ in range(3)]
    best, lighter, last = (relay.address.rpartition(":")[2] for relay in relays)
    zone.records = {
        ("SRV", f"{SERVICE}.{NAME}"): [f"20 9 {last} a.{NAME}.", f"10 1 {lighter} a.{NAME}.", f"10 2 {best} a.{NAME}."],
        ("A", f"a.{NAME}"): ["127.0.0.1"],
    }
    connector = started(folder, token, zone)
    try:
        assert [relay.dialled > 0 for relay in relays] == [True, False, False]
    finally:
        connector.stop()
        for relay in relays:
            relay.close()


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
        connector.process.wait_for("Lost connection", after=mark)
        connector.wait_registered(after=mark, timeout_s=60.0)
    finally:
        connector.stop()
        relay.close()


@pytest.mark.case(44)
def test_at_a_boot_with_late_dns_and_then_a_wrong_clock_it_goes_on_trying_and_says_why(
    found: tuple[Edge, str, str], folder: Path, zone: Zone
) -> None:
    """To a host whose clock is a year behind, the edge's certificate begins in a year: here it does. A clock set right is an edge
    whose certificate has begun."""
    edge, token, port = found
    manager = Manager("path", folder)
    authority = trustme.CA()
    begins = authority.issue_cert("h2.cftunnel.com", not_before=datetime.now(UTC) + timedelta(days=365))
    with tls_listener(begins) as too_early:
        both = folder / "both.pem"
        both.write_bytes(edge.ca_file.read_bytes() + authority.cert_pem.bytes())
        connector = Connector(
            folder / "connector",
            NAME,
            token,
            protocol="http2",
            ca_file=both,
            wait=False,
            env=manager.environment(),
            flags=("--edge-resolver", zone.address),
        )
        try:
            wait_until(lambda: "resolve" in _status(manager), "status: no name")
            connector.process.wait_for("Retrying connection in up to")
            service, address = ("SRV", f"{SERVICE}.{NAME}"), ("A", f"a.{NAME}")
            zone.records = {service: [f"1 1 {too_early} a.{NAME}."], address: ["127.0.0.1"]}
            wait_until(lambda: "not valid yet" in _status(manager), "status: the clock", timeout_s=60.0)
            assert "READY=1" not in "\n".join(manager.heard)
            zone.records = {service: [f"1 1 {port} a.{NAME}."], address: ["127.0.0.1"]}
            connector.wait_registered(timeout_s=60.0)
            wait_until(lambda: "1 of 1 connections" in _status(manager), "status: up")
        finally:
            connector.stop()
            manager.close()


def _status(manager: Manager) -> str:
    """What the service manager was told last."""
    told = [line for heard in manager.heard for line in heard.splitlines() if line.startswith("STATUS=")]
    return told[-1] if told else ""


@contextmanager
def tls_listener(certificate: trustme.LeafCert) -> Iterator[int]:
    """The port of who shows this certificate, and no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.set_alpn_protocols(["h2"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_shake, args=(listener, context), daemon=True).start()
        yield listener.getsockname()[1]


def _shake(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with suppress(OSError), context.wrap_socket(client, server_side=True) as shaken:
            shaken.recv(1)


@pytest.mark.case(16)
def test_when_udp_is_dropped_after_good_service_http2_takes_over_unless_quic_alone_is_asked_for(
    found: tuple[Edge, str, str], folder: Path
) -> None:
    """Back again: crates/connector/tests/life.rs, where the wait for it is short."""
    edge, token, _ = found
    relay = Relay(edge.tunnel)
    connectors = [
        Connector(folder / protocol, relay.address, token, protocol=protocol, ca_file=edge.ca_file)
        for protocol in ("auto", "quic")
    ]
    try:
        for connector in connectors:
            connector.process.wait_for("Registered tunnel connection .*protocol=quic")
        relay.drops_datagrams = True
        connectors[0].process.wait_for("Registered tunnel connection .*protocol=http2", timeout_s=60.0)
        connectors[1].process.wait_for("Retrying connection in up to", timeout_s=60.0)
        relay.drops_datagrams = False
        connectors[1].wait_registered(2, timeout_s=60.0)
        assert not [line for line in connectors[1].process.lines if "protocol=http2" in line]
    finally:
        for connector in connectors:
            connector.stop()
        relay.close()


@pytest.mark.case(16)
def test_where_both_were_blocked_quic_is_taken_when_it_alone_opens(found: tuple[Edge, str, str], folder: Path) -> None:
    edge, token, _ = found
    relay = Relay(edge.tunnel)
    relay.drops_datagrams = relay.drops_streams = True
    connector = Connector(folder / "auto", relay.address, token, protocol="auto", ca_file=edge.ca_file, wait=False)
    try:
        mark = 0
        for _ in range(2):
            connector.process.wait_for("Retrying connection in up to", after=mark, timeout_s=60.0)
            mark = connector.process.mark()
        relay.drops_datagrams = False
        connector.process.wait_for("Registered tunnel connection .*protocol=quic", timeout_s=60.0)
    finally:
        connector.stop()
        relay.close()


class ConnectProxy:
    """CONNECT with a password, to the edge whatever is asked for, or only where this port is; with a certificate, itself reached
    over TLS. `heard`: when connectors sent something through it."""

    def __init__(self, edge: str, tls: ssl.SSLContext | None = None, *, only: int | None = None) -> None:
        self._edge = edge
        self._tls = tls
        self._only = only
        self.heard: list[float] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            client: AnySocket = TlsSocket(accepted, self._tls) if self._tls else accepted
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.asked.append(head.decode())
            if self._only is not None and f":{self._only} HTTP/1.1\r\n" not in self.asked[-1]:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                client.close()
                continue
            host, _, port = self._edge.rpartition(":")
            edge = socket.create_connection((host, int(port)))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for source, sink, told in ((client, edge, self._hear), (edge, client, lambda: None)):
                threading.Thread(target=_copy, args=(source, sink, told), daemon=True).start()

    def _hear(self) -> None:
        self.heard.append(time.monotonic())

    def close(self) -> None:
        self._listener.close()


def _copy(source: AnySocket, sink: AnySocket, told: Callable[[], None]) -> None:
    try:
        while data := source.recv(65536):
            told()
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.case(45)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_leads_out_and_its_password_is_in_no_log(
    found: tuple[Edge, str, str], folder: Path, zone: Zone, authority: OriginAuthority, scheme: str
) -> None:
    edge, token, _ = found
    proxy = ConnectProxy(edge.tunnel, authority.server_context("127.0.0.1") if scheme == "https" else None)
    url = f"{scheme}://user:hunter2@127.0.0.1:{proxy.port}"
    # a NO_PROXY that an origin is not among: a stock connector would ask the proxy for it
    env = {"HTTPS_PROXY": url, "HTTP_PROXY": url, "ALL_PROXY": url, "http_proxy": url, "NO_PROXY": "elsewhere.test"}
    env["SSL_CERT_FILE"] = str(authority.ca_file)  # in place of the system's
    connector = started(folder, token, zone, env=env)
    try:
        connector.process.wait_for("Registered tunnel connection .*protocol=http2")
        connector.process.wait_for(rf"through the proxy 127\.0\.0\.1:{proxy.port} \(\$HTTPS_PROXY\)")
        wait_until(lambda: proxy.asked, "CONNECT")
        assert proxy.asked[0].startswith(f"CONNECT {NAME}:7844 HTTP/1.1\r\n")
        log = "\n".join(connector.process.lines)
        assert "hunter2" not in log
        assert "aHVudGVyMg" not in log
        origin = Origin()
        api = edge.api
        (tunnel,) = api.call("GET", f"/accounts/{api.account}/cfd_tunnel?name=found")
        api.publish(api.create_zone(f"{scheme}.test"), f"app.{scheme}.test", tunnel["id"])
        rules = [{"hostname": f"app.{scheme}.test", "service": origin.service}, CATCH_ALL]
        connector.wait_version(api.put_configuration(tunnel["id"], rules))
        asked = len(proxy.asked)
        with edge.h1(f"app.{scheme}.test") as client:
            wait_until(lambda: client.get().status == 200, "the origin")
        assert len(proxy.asked) == asked, "the way to an origin is never through the proxy"
        origin.close()
    finally:
        connector.stop()
        proxy.close()


@pytest.mark.case(45)
def test_through_a_proxy_that_lets_443_alone_out_and_a_tunnel_that_says_nothing_stays(
    found: tuple[Edge, str, str], folder: Path, zone: Zone
) -> None:
    """A proxy that cuts what is silent has nothing to cut: signs of life come without any request."""
    edge, token, _ = found
    proxy = ConnectProxy(edge.tunnel, only=443)
    connector = started(folder, token, zone, env={"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"})
    try:
        connector.process.wait_for("Registered tunnel connection .*protocol=http2")
        assert proxy.asked[0].startswith(f"CONNECT {NAME}:7844 ")
        assert proxy.asked[-1].startswith(f"CONNECT {NAME}:443 ")
        asked = len(proxy.asked)

        def broken_silences() -> int:
            return sum(later - earlier > 1.0 for earlier, later in pairwise(proxy.heard))

        wait_until(lambda: broken_silences() >= 2, "signs of life after silence", timeout_s=30.0)
        assert len(proxy.asked) == asked
    finally:
        connector.stop()
        proxy.close()
