"""One engine takes over from another under a stock cloudflared: both in this process, with the same sockets."""

import base64
import hashlib
import http.client
import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from qanat.auth.management import ManagementKey
from qanat.descriptors import Shares
from qanat.edge.engine import Certificate, Edge, Route, Tunnel
from qanat.edge.engine_settings import engine_settings
from qanat.settings import load_edge_settings
from tests.support.connector import STOCK
from tests.support.processes import Process
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(not STOCK, reason="QANAT_TEST_CLOUDFLARED names no stock cloudflared")

HOST = "app.example.test"
TUNNEL = "0c9e8b5a-7d3f-4f6e-9b1a-2f4d6c8e0a13"
ACCOUNT = "0123456789abcdef0123456789abcdef"
SECRET = b"0123456789abcdef0123456789abcdef"
CONNECTIONS = 4
RETURN_S = 30.0
"""Its longest back-off, and some."""


class Engines:
    """Edges that follow one another. `close` ends them all."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        issued = authority.issue_cert(HOST, "quic.cftunnel.com", "h2.cftunnel.com")
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        self.certificate = Certificate(chain_pem=chain, key_pem=issued.private_key_pem.bytes())
        given = load_edge_settings(
            flags={"public.https": "127.0.0.1:0", "public.http": "off", "tunnel.address": "127.0.0.1:0"}
        )
        self.settings: Any = engine_settings(given, ManagementKey.make(), Shares.of(1024))
        self.all: list[Edge] = []

    def start(self, sockets: dict[str, int]) -> Edge:
        edge = Edge(self.settings, tunnel_certificate=self.certificate, sockets=sockets)
        for fd in sockets.values():
            os.close(fd)
        self.all.append(edge)
        edge.swap_certificates([self.certificate])
        rules = json.dumps({"ingress": [{"service": "hello_world"}]}).encode()
        tunnel = Tunnel(
            tunnel_id=TUNNEL,
            account_tag=ACCOUNT,
            name="web",
            secrets=[("", hashlib.sha256(SECRET).digest())],
            deleted=False,
            remotely_managed=True,
            configuration_version=1,
            configuration=rules,
            active_token_id=None,
            epoch=0,
            fenced_token_ids=[],
        )
        edge.swap_tunnels([tunnel])
        edge.swap_routes([Route(hostname=HOST, targets=[(TUNNEL, 1)], sticky="none")])
        return edge

    def cloudflared(self, protocol: str, home: Path) -> Process:
        assert STOCK
        fields = {"a": ACCOUNT, "t": TUNNEL, "s": base64.b64encode(SECRET).decode()}
        token = base64.b64encode(json.dumps(fields).encode()).decode()
        argv = [STOCK, "tunnel", "--no-autoupdate", "--no-prechecks", "--cacert", str(self.ca_file)]
        argv += ["--metrics", "127.0.0.1:0", "--protocol", protocol, "--grace-period", "1s"]
        argv += ["--edge", self.all[0].addresses().tunnel] * CONNECTIONS
        process = Process("cloudflared", [*argv, "run"], {"HOME": str(home), "TUNNEL_TOKEN": token})
        for index in range(CONNECTIONS):
            process.wait_for(f"Registered tunnel connection .*connIndex={index}")
        return process

    def close(self) -> None:
        for edge in self.all:
            edge.close(grace_s=0.0)


class Load:
    """Requests one after the other on each of a few connections, which end when they are told to."""

    def __init__(self, engines: Engines) -> None:
        context = ssl.create_default_context(cafile=str(engines.ca_file))
        address = engines.all[0].addresses().https
        assert address is not None
        self.statuses: list[int] = []
        self.failures: list[Exception] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(address, context)) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _ask(self, address: str, context: ssl.SSLContext) -> None:
        host, port = address.rsplit(":", 1)
        connection = http.client.HTTPSConnection(host, int(port), timeout=RETURN_S, context=context)
        connection.host = HOST
        connection._create_connection = lambda _, *rest: _dial((host, int(port)), *rest)  # type: ignore[attr-defined]
        while not self._over.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                self.statuses.append(answer.status)
            except Exception as error:
                self.failures.append(error)
                return
        connection.close()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def _dial(*arguments: Any) -> Any:
    import socket

    return socket.create_connection(*arguments)


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    engines = Engines(tmp_path)
    yield engines
    engines.close()


def upgraded(engines: Engines, then: Callable[[Edge], None], *, notice_s: float = 0.5, grace_s: float = 2.0) -> Edge:
    """The newest edge hands over to one more. `then` is called when that one serves."""
    old = engines.all[-1]
    new = engines.start(old.sockets())
    old.stop_accepting(tunnels_only=True)
    new.open_tunnels()
    old.send_connectors_away(connectors_every_s=0.01)
    wait_until(lambda: new.connected_tunnels(), "its first connection is back", timeout_s=RETURN_S)
    assert old.connected_tunnels()[TUNNEL] >= CONNECTIONS - 2, "they go one at a time"
    new.open()
    then(new)
    old.drain(notice_s=notice_s, grace_s=grace_s)
    old.close(grace_s=0.0)
    return new


@pytest.mark.parametrize("protocol", os.environ.get("QANAT_TEST_HANDOVER_PROTOCOLS", "quic").split(","))
def test_no_request_fails_while_a_stock_connector_moves_to_the_next_process(
    protocol: str, engines: Engines, tmp_path: Path
) -> None:
    engines.start({}).open()
    connector = engines.cloudflared(protocol, tmp_path)
    load = Load(engines)
    try:
        wait_until(lambda: len(load.statuses) > 20, "requests are answered")
        new = upgraded(engines, lambda _new: None)
        answered = len(load.statuses)
        wait_until(lambda: len(load.statuses) > answered + 20, "requests are answered by the next process")
        load.end()
        assert (load.failures, set(load.statuses)) == ([], {200})
        counted = [edge.counters()["requests_failed"] for edge in engines.all]
        assert counted == [0, 0], [edge.failures() for edge in engines.all]
        assert new.counters()["requests"] > 20
    finally:
        load.end()
        connector.stop()
