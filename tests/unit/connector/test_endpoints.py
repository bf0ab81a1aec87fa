"""Real sockets; security.md S36, cases.md 25."""

import http.client
import socket
from collections.abc import Iterator

import pytest

from qanat.connector.endpoints import KNOWN_PORTS, LocalServer, json, listen, text
from qanat.errors import QanatError


def fail() -> None:
    raise ValueError("a secret")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    server = listen("127.0.0.1:0", {"/ok": lambda: text("OK\n"), "/json": lambda: json(b"{}", 503), "/bad": fail})  # type: ignore[dict-item]
    server.start()
    yield server
    server.stop()


def ask(server: LocalServer, path: str, *, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.address, timeout=5)
    try:
        connection.request(method, path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def raw(server: LocalServer, sent: bytes) -> bytes:
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


def test_an_endpoint_answers(server: LocalServer) -> None:
    assert ask(server, "/ok") == (200, b"OK\n")
    assert ask(server, "/ok?x=1") == (200, b"OK\n")
    assert ask(server, "/json") == (503, b"{}")
    assert ask(server, "/ok", method="HEAD") == (200, b"")


def test_what_is_not_there_is_404_and_what_changes_things_405(server: LocalServer) -> None:
    assert ask(server, "/debug/pprof/cmdline")[0] == 404
    assert ask(server, "/ok", method="POST")[0] == 405


def test_a_failing_endpoint_answers_500_without_its_secrets(server: LocalServer) -> None:
    assert ask(server, "/bad") == (500, b"ERR: ValueError\n")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1", "localhost:20241", "[::1]:1", "cloudflared:2000", "LOCALHOST."]
)
def test_a_host_that_no_public_name_can_be_is_taken(server: LocalServer, host: str) -> None:
    assert ask(server, "/ok", host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:20241", "127.0.0.1.evil.example", "a b", "[::1", "x@127.0.0.1"]
)
def test_a_rebound_host_is_refused(server: LocalServer, host: str) -> None:
    assert ask(server, "/ok", host=host)[0] == 421


def test_two_hosts_are_refused(server: LocalServer) -> None:
    answer = raw(server, b"GET /ok HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"GET /ok HTTP/9\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000, b"431"),
    ],
)
def test_what_is_no_request_gets_an_error(server: LocalServer, sent: bytes, status: bytes) -> None:
    assert raw(server, sent).split(b" ")[1] == status


def test_a_slow_client_does_not_keep_others_waiting(server: LocalServer) -> None:
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as idle:
        idle.sendall(b"GET /ok")
        assert ask(server, "/ok")[0] == 200


def test_a_taken_port_is_an_error_that_names_the_flag(server: LocalServer) -> None:
    with pytest.raises(QanatError) as caught:
        listen(server.address, {})
    assert (caught.value.code, caught.value.where) == ("metrics_address", "--metrics")
    assert server.address in caught.value.message


@pytest.mark.parametrize("address", ["x", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "203.0.113.1:1"])
def test_a_bad_address_is_an_error_that_names_the_flag(address: str) -> None:
    with pytest.raises(QanatError) as caught:
        listen(address, {})
    assert caught.value.where == "--metrics"


def test_without_a_flag_the_known_ports_are_tried_then_a_random_one() -> None:
    servers = [listen(None, {}) for _ in range(len(KNOWN_PORTS) + 2)]
    try:
        ports = [int(server.address.rpartition(":")[2]) for server in servers]
        assert len(set(ports)) == len(ports)
        assert not set(ports[len(KNOWN_PORTS) :]) & set(KNOWN_PORTS)
        assert all(server.address.startswith("127.0.0.1:") for server in servers)
    finally:
        for server in servers:
            server.server_close()
