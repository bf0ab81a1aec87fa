"""Real sockets; security.md S36, cases.md 25."""

import http.client
import socket
from collections.abc import Iterator

import pytest

from qanat.connector.endpoints import KNOWN_PORTS, LocalServer, json, listen, text
from qanat.errors import QanatError
from tests.support.loopback import lasting_port

pytestmark = [pytest.mark.case(25), pytest.mark.requirement("S36")]


def fail() -> None:
    raise ValueError("a secret")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    server = listen(
        "127.0.0.1:0",
        {"/ok": lambda: text("OK\n"), "/json": lambda: json(b"{}", 503), "/bad": fail},  # type: ignore[dict-item]
        is_own_hostname=lambda name: name == "status.example.com",
    )
    server.start()
    yield server
    server.stop()


def ask(
    server: LocalServer,
    path: str,
    *,
    method: str = "GET",
    host: str | None = None,
    fields: dict[str, str] | None = None,
    address: str | None = None,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address or server.address, timeout=5)
    try:
        connection.request(method, path, headers={**({"Host": host} if host else {}), **(fields or {})})
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


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_any_method_is_answered_as_by_stock(server: LocalServer, method: str) -> None:
    assert ask(server, "/ok", method=method) == (200, b"OK\n")


def test_an_answer_survives_a_body_that_nobody_reads(server: LocalServer) -> None:
    body = b"x" * 300_000
    head = b"POST /ok HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert raw(server, head + body).endswith(b"OK\n")


def test_types_are_stocks(server: LocalServer) -> None:
    for path in ("/ok", "/json", "/nowhere"):
        assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in raw(
            server, b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode()
        )


def test_what_is_not_there_is_404_and_the_command_line_forbidden(server: LocalServer) -> None:
    assert ask(server, "/debug/pprof/cmdline") == (403, b"forbidden\n")
    assert ask(server, "/nowhere") == (404, b"404 page not found\n")
    assert ask(server, "/nowhere", method="POST")[0] == 404


def test_a_failing_endpoint_answers_500_without_its_secrets(server: LocalServer) -> None:
    assert ask(server, "/bad") == (500, b"ERR: ValueError\n")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1", "localhost:20241", "[::1]:1", "cloudflared:2000", "LOCALHOST."]
)
def test_a_host_that_no_public_name_can_be_is_taken(server: LocalServer, host: str) -> None:
    assert ask(server, "/ok", host=host)[0] == 200


BROWSERS = {
    "Firefox, any request": {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
    "a page that changed the user agent": {"User-Agent": "curl/8.0", "Accept-Language": "x"},
    "a page that emptied the language": {"User-Agent": "curl/8.0", "Accept-Language": ""},
    "fetch metadata": {"Sec-Fetch-Site": "same-origin"},
    "client hints": {"sec-ch-ua-mobile": "?0"},
    "a WebSocket": {"Sec-WebSocket-Key": "x", "Connection": "Upgrade", "Upgrade": "websocket"},
    "a form": {"Origin": "null"},
    "a link": {"Referer": "http://evil.example/"},
    "a cookie": {"Cookie": "a=b"},
    "a navigation": {"Upgrade-Insecure-Requests": "1"},
}
"""What each kind of request of a browser has at least of."""


@pytest.mark.parametrize("name", BROWSERS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:20241", "127.0.0.1.evil.example"])
def test_a_rebound_host_is_refused(server: LocalServer, host: str, name: str) -> None:
    assert ask(server, "/ok", host=host, fields=BROWSERS[name])[0] == 421
    assert ask(server, "/ok", host="localhost:20241", fields=BROWSERS[name])[0] == 200


@pytest.mark.parametrize("host", ["a b", "[::1", "x@127.0.0.1"])
def test_what_is_no_host_is_refused_whoever_asks(server: LocalServer, host: str) -> None:
    assert ask(server, "/ok", host=host)[0] == 421


CLIENTS = {
    "Prometheus": {
        "User-Agent": "Prometheus/3.5.0",
        "Accept": "text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
        "Accept-Encoding": "gzip",
        "X-Prometheus-Scrape-Timeout-Seconds": "10",
    },
    "kubelet": {"User-Agent": "kube-probe/1.34", "Accept": "*/*", "Connection": "close"},
    "curl": {"User-Agent": "curl/8.14.1", "Accept": "*/*"},
    "Python": {"User-Agent": "python-requests/2.32", "Accept-Encoding": "gzip, deflate", "Accept": "*/*"},
    "through a tunnel": {"User-Agent": "Go-http-client/2.0", "X-Forwarded-For": "192.0.2.1", "Cf-Ray": "1-lab"},
}


@pytest.mark.parametrize("name", CLIENTS)
def test_any_host_is_taken_from_who_is_no_browser(server: LocalServer, name: str) -> None:
    for host in ("metrics.example.com", "10-1-2-3.ns.pod.cluster.local:2000", "node.internal."):
        assert ask(server, "/ok", host=host, fields=CLIENTS[name])[0] == 200, host


def test_a_browser_may_come_by_a_hostname_whose_rule_leads_here(server: LocalServer) -> None:
    fields = BROWSERS["a link"]
    assert ask(server, "/ok", host="Status.example.com", fields=fields)[0] == 200
    assert ask(server, "/ok", host="x.status.example.com", fields=fields)[0] == 421


def test_two_hosts_are_refused(server: LocalServer) -> None:
    answer = raw(server, b"GET /ok HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_localhost_is_listened_to_on_both_of_its_addresses_and_told_by_the_first() -> None:
    server = listen("localhost:0", {"/ok": lambda: text("OK\n")})
    server.start()
    try:
        port = server.address.rpartition(":")[2]
        assert server.addresses == [f"127.0.0.1:{port}", f"[::1]:{port}"]
        for address in server.addresses:
            assert ask(server, "/ok", address=address) == (200, b"OK\n")
    finally:
        server.stop()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_a_second_address_that_is_taken_costs_nothing_and_the_first_one_the_start() -> None:
    port = lasting_port()  # not one that the system may have given to somebody on 127.0.0.1
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        server = listen(f"localhost:{port}", {})
        assert server.addresses == [f"127.0.0.1:{port}"]
        with pytest.raises(QanatError):
            listen(f"localhost:{port}", {})
        server.stop()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_no_host_at_all_is_every_address_of_both_kinds() -> None:
    server = listen(":0", {"/ok": lambda: text("OK\n")})
    server.start()
    try:
        port = server.address.rpartition(":")[2]
        for address in (f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert ask(server, "/ok", address=address) == (200, b"OK\n")
    finally:
        server.stop()


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
            server.stop()


def test_another_process_goes_on_listening_where_this_one_has_stopped() -> None:
    old = listen("127.0.0.1:0", {"/who": lambda: text("old")})
    old.start()
    kept = [listener.dup() for listener in old.listeners]
    new = listen("127.0.0.1:0", {"/who": lambda: text("new")}, inherited=kept)
    assert new.address == old.address
    assert ask(old, "/who") == (200, b"old")
    host, _, port = old.address.partition(":")
    old.stop()
    # nobody answers yet, and nobody is refused
    waiting = socket.create_connection((host, int(port)), timeout=5)
    new.start()
    with waiting:
        waiting.sendall(b"GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert waiting.makefile("rb").read().endswith(b"new")
    new.stop()


def test_in_a_container_every_address_is_listened_to() -> None:
    server = listen(None, {}, is_virtual=True)
    assert server.address.startswith("0.0.0.0:")
    server.stop()
