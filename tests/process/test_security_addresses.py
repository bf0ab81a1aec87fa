"""security.md S28, S29: what one address may take of the listeners, what is left for others, and for how long."""

import re
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.connectors import QuicConnector
from tests.support.edge import Edge
from tests.support.http1 import Http1Client
from tests.support.waiting import wait_until

ATTACKER, VICTIM = "127.66.0.1", "127.66.0.2"
HOST = "app.example.test"
NOBODY = "192.0.2.0/24"
"""As `limits.shared_networks`: loopback is then an address like any other."""


@contextmanager
def served(folder: Path, **more: object) -> Iterator[Edge]:
    """An edge with one published hostname, and a connector that answers."""
    edge = Edge(folder / "edge", **more)  # type: ignore[arg-type]
    try:
        tunnel = edge.api.create_tunnel("site")
        edge.api.publish(edge.api.create_zone("example.test"), HOST, tunnel.id)
        with QuicConnector(edge.tunnel, edge.ca_file, tunnel.token):
            wait_until(lambda: status(edge, VICTIM) == 200, "the site is served")
            yield edge
    finally:
        edge.stop()


def status(edge: Edge, source: str) -> int:
    """0: no connection, or none that was served."""
    try:
        with edge.h1(HOST, source=source) as client:
            return client.get().status
    except (OSError, AssertionError, EOFError):
        return 0
    except Exception as error:
        if type(error).__name__ in ("Cut", "Closed"):
            return 0
        raise


def opened(edge: Edge, source: str) -> Http1Client | None:
    try:
        return edge.h1(HOST, source=source)
    except OSError:
        return None


@pytest.mark.requirement("S29")
def test_connections_of_one_address_leave_the_others_theirs(folder: Path) -> None:
    flags = {"limits_shared_networks": NOBODY, "limits_connections_per_address": "20"}
    with served(folder, **flags, limits_new_connections_per_address="1000") as edge, ExitStack() as stack:
        mine = [client for _ in range(60) if (client := opened(edge, ATTACKER))]
        for client in mine:
            stack.callback(client.close)
        assert len(mine) == 20
        assert [status(edge, VICTIM) for _ in range(20)] == [200] * 20
        assert mine[0].get().status == 200, "those that it has are served"
        for client in mine:
            client.close()
        wait_until(lambda: status(edge, ATTACKER) == 200, "places come back")


@pytest.mark.alone
@pytest.mark.requirement("S29")
def test_one_address_opens_fifty_in_a_second(folder: Path) -> None:
    with served(folder, limits_shared_networks=NOBODY) as edge:
        host, _, port = edge.https.rpartition(":")
        start = time.monotonic()
        taken = []
        with ExitStack() as stack:
            for _ in range(200):
                sock = stack.enter_context(socket.create_connection((host, int(port)), 10.0, (ATTACKER, 0)))
                taken.append(sock)
            took = time.monotonic() - start
            assert [status(edge, VICTIM) for _ in range(10)] == [200] * 10

            def is_open(sock: socket.socket) -> bool:
                sock.setblocking(False)
                try:
                    return sock.recv(1) != b""
                except BlockingIOError:
                    return True
                except OSError:
                    return False

            wait_until(lambda: sum(map(is_open, taken)) <= 50 + 50 * (took + 0.1), "no more than fifty a second")
            assert sum(map(is_open, taken)) >= 50


@pytest.mark.alone
@pytest.mark.requirement("S29")
def test_failed_handshakes_make_an_address_wait_and_no_other(folder: Path) -> None:
    with served(folder, limits_shared_networks=NOBODY, limits_new_connections_per_address="1000") as edge:
        host, _, port = edge.https.rpartition(":")

        def fail() -> None:
            with socket.create_connection((host, int(port)), 10.0, (ATTACKER, 0)) as sock:
                sock.sendall(b"this is no TLS\r\n\r\n")
                try:
                    while sock.recv(100):
                        pass
                except OSError:
                    pass

        def is_refused() -> bool:
            for _ in range(15):
                fail()
            return status(edge, ATTACKER) == 0

        wait_until(is_refused, "the address has to wait")
        assert status(edge, VICTIM) == 200
        wait_until(lambda: status(edge, ATTACKER) == 200, "for no longer than a second or two")


@pytest.mark.requirement("S29")
def test_listed_networks_are_not_counted_by_address(folder: Path) -> None:
    flags = {"limits_shared_networks": f"{ATTACKER}/32", "limits_connections_per_address": "5"}
    with served(folder, **flags) as edge, ExitStack() as stack:
        offices = [client for _ in range(30) if (client := opened(edge, ATTACKER))]
        for client in offices:
            stack.callback(client.close)
        assert len(offices) == 30
        others = [client for _ in range(30) if (client := opened(edge, VICTIM))]
        for client in others:
            stack.callback(client.close)
        assert len(others) <= 5


@pytest.fixture
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.requirement("S29")
def test_idle_connections_leave_descriptors_for_the_api_and_for_connectors(folder: Path, many_files: None) -> None:
    """`ulimit -n 1024`, raised from 256 at start: 900 idle connections from one address that nothing else bounds."""
    within = ["prlimit", "--nofile=256:1024"]
    with served(folder, within=within, limits_tls_handshake_timeout_s="30") as edge, ExitStack() as stack:
        limits = Path(f"/proc/{edge.process.pid}/limits").read_text()
        assert re.search(r"Max open files +1024 +1024", limits)
        for address, count in ((edge.https, 900), (edge.tunnel, 300), (edge.ready["api"].split("/")[2], 300)):
            host, _, port = address.rpartition(":")
            for _ in range(count):
                stack.enter_context(socket.create_connection((host, int(port)), 10.0, (ATTACKER, 0)))
        wait_until(lambda: edge.process.open_files() < 1000, "some descriptors are left")
        token = edge.api.create_tunnel("new").token
        with QuicConnector(edge.tunnel, edge.ca_file, token) as connector:
            assert connector.registered is not None
        assert edge.api.call("GET", "/user/tokens/verify")
        assert not [line for line in edge.process.lines if "Too many open files" in line]


@pytest.mark.requirement("S29")
def test_memory_pressure_sheds_visitors_and_nobody_else(folder: Path) -> None:
    with served(folder):
        pass
    again = Edge(folder / "edge")  # what it takes on the same data, with what is loaded when the first comes
    again.api.create_tunnel("warm")
    status(again, VICTIM)
    resident = _settled(again)
    again.stop()
    for share, level in ((0.90, "shed"), (2.0, "refuse")):
        _under_pressure(folder, int(resident / share), level)


def _settled(edge: Edge) -> int:
    """Its resident bytes once they don't grow any more: what an edge doesn't need at once it loads after its start."""
    seen = [0]

    def is_still() -> bool:
        time.sleep(0.5)
        seen.append(edge.process.rss_bytes())
        return seen[-1] <= seen[-2] * 1.005

    wait_until(is_still, "its memory to settle")
    return seen[-1]


def _under_pressure(folder: Path, memory: int, level: str) -> None:
    edge = Edge(folder / "edge", limits_memory_bytes=str(memory))
    try:
        edge.process.wait_for(f'"{level}".*memory pressure')
        tunnel = edge.api.create_tunnel(f"under pressure, {level}")
        with QuicConnector(edge.tunnel, edge.ca_file, tunnel.token) as connector:
            assert connector.registered is not None, "connectors and the API are not touched"
        if level == "refuse":
            assert status(edge, VICTIM) == 0
            return
        with edge.h1(HOST) as client:
            answer = client.get()
        assert (answer.status, answer.value("retry-after")) == (503, "1")
        with edge.h2(HOST) as other:
            answer = other.get()
        assert (answer.status, answer.value("x-qanat-error")) == (503, "overloaded")
    finally:
        edge.stop()


# ------------------------------------------------------------------------------------------------ S28
def silent_handshake(edge: Edge) -> socket.socket:
    host, _, port = edge.https.rpartition(":")
    sock = socket.create_connection((host, int(port)), 10.0, (ATTACKER, 0))
    sock.sendall(b"\x16\x03\x01\x02")
    return sock


def half_head(edge: Edge) -> ssl.SSLSocket:
    client = edge.h1(HOST, source=ATTACKER)
    client.send(b"GET / HTTP/1.1\r\nHost: ")
    return client.wire.sock  # type: ignore[return-value]


def no_head(edge: Edge) -> ssl.SSLSocket:
    return edge.h1(HOST, source=ATTACKER).wire.sock  # type: ignore[return-value]


def idle_after_an_answer(edge: Edge) -> ssl.SSLSocket:
    client = edge.h1(HOST, source=ATTACKER)
    assert client.get().status == 200
    return client.wire.sock  # type: ignore[return-value]


def idle_http2(edge: Edge) -> ssl.SSLSocket:
    return edge.h2(HOST, source=ATTACKER).wire.sock  # type: ignore[return-value]


@pytest.mark.case(55)
@pytest.mark.requirement("S28")
@pytest.mark.parametrize("slow", [silent_handshake, half_head, no_head, idle_after_an_answer, idle_http2])
def test_slow_clients_end_in_time_while_others_are_served(folder: Path, slow: Callable[[Edge], socket.socket]) -> None:
    flags = {f"limits_{name}_timeout_s": "1.5" for name in ("header", "tls_handshake", "keep_alive")}
    with served(folder, **flags) as edge:
        before = edge.process.open_files()
        with ExitStack() as stack:
            for _ in range(60):
                stack.callback(slow(edge).close)
            end = time.monotonic() + 20
            while True:
                assert status(edge, VICTIM) == 200
                if edge.process.open_files() <= before + 5:
                    break
                assert time.monotonic() < end, "they are still there"
