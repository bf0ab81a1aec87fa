"""semantics.md, "Message forms": what a message looks like at the other end, over both transports."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest

from tests.support.connectors import QuicConnector, QuicStream
from tests.support.edge import Edge
from tests.support.fixtures import every_connector
from tests.support.http1 import Fields, Http1Client
from tests.support.origin import Exchange
from tests.support.sites import Publisher, Site
from tests.support.waiting import wait_until

# ------------------------------------------------------------------------------------------------- request bodies


def test_http2_body_without_length_is_chunked_at_the_origin(site: Site) -> None:
    client = site.h2()
    number = client.start("POST", "/", end=False)
    client.data(number, b"hello", end=True)
    assert client.answer(number).status == 200
    request = site.origin.last
    assert request.value("transfer-encoding") == "chunked"
    assert request.value("content-length") is None
    assert request.body == b"hello"


def test_chunked_body_is_chunked_at_the_origin(site: Site) -> None:
    client = site.h1()
    client.start("PUT", "/", [("Transfer-Encoding", "chunked")])
    client.send_chunk(b"hello")
    client.end_chunks()
    assert client.answer("PUT").status == 200
    assert site.origin.last.value("transfer-encoding") == "chunked"
    assert site.origin.last.body == b"hello"


def test_empty_chunked_body_is_no_invented_length(site: Site) -> None:
    client = site.h1()
    client.start("POST", "/", [("Transfer-Encoding", "chunked")])
    client.end_chunks()
    assert client.answer("POST").status == 200
    assert site.origin.last.body == b""
    assert site.origin.last.body_whole


def test_length_stays_a_length(site: Site, version: str) -> None:
    assert site.client(version).request("POST", "/", [("content-length", "5")], b"hello").status == 200
    assert site.origin.last.value("content-length") == "5"
    assert site.origin.last.value("transfer-encoding") is None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_explicit_zero_length_stays(site: Site, version: str, method: str) -> None:
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start(method, "/", [("Content-Length", "0")])
        answer = client.answer(method)
    else:
        answer = client.answer(client.start(method, "/", [("content-length", "0")]))
    assert answer.status == 200
    assert site.origin.last.value("content-length") == "0"
    assert site.origin.last.value("transfer-encoding") is None


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_neither_length_nor_coding_is_invented(site: Site, version: str, method: str) -> None:
    assert site.client(version).request(method, "/").status == 200
    assert site.origin.last.value("content-length") is None
    assert site.origin.last.value("transfer-encoding") is None


def test_get_with_a_body_keeps_it(site: Site, version: str) -> None:
    assert site.client(version).request("GET", "/", [("content-length", "5")], b"hello").status == 200
    assert site.origin.last.body == b"hello"


# ------------------------------------------------------------------------------------------------- bodiless answers
@pytest.mark.parametrize(
    ("status", "fields"),
    [(204, []), (304, [("ETag", '"a"')]), (304, [("Content-Length", "120")])],
)
def test_204_and_304_have_no_body(site: Site, version: str, status: int, fields: list[tuple[str, str]]) -> None:
    site.origin.answers(status, b"", fields)
    client = site.client(version)
    answer = client.get()
    assert answer.status == status
    assert answer.body == b""
    for name, text in fields:
        assert answer.value(name) == text
    site.origin.answers(body=b"next")
    assert client.get().body == b"next"


def test_head_keeps_the_length_and_has_no_body(site: Site, version: str) -> None:
    site.origin.answers(body=b"x" * 1000)
    client = site.client(version)
    answer = client.request("HEAD", "/")
    assert answer.status == 200
    assert answer.value("content-length") == "1000"
    assert answer.body == b""
    assert client.get().body == b"x" * 1000


def test_answer_without_body_ends_with_its_head(site: Site, version: str) -> None:
    site.origin.answers(200, b"")
    assert site.client(version).get().body == b""


# ------------------------------------------------------------------------------------------------- informational
@pytest.mark.case(46)
@every_connector
def test_early_hints_are_forwarded(site: Site, version: str) -> None:
    """They never leave a stock connector, and never stand in place of the answer."""

    def script(exchange: Exchange) -> None:
        exchange.head(103, [("Link", "</a.css>; rel=preload")], "Early Hints")
        exchange.answer(200, b"page")

    site.origin.script = script
    answer = site.client(version).get()
    assert answer.status == 200
    assert answer.body == b"page"
    if site.link.kind == "cloudflared":
        assert answer.informational == []
        return
    assert [status for status, _ in answer.informational] == [103]
    assert ("link", "</a.css>; rel=preload") in [(n.lower(), v) for n, v in answer.informational[0][1]]


@pytest.mark.case(42)
def test_http10_client_gets_no_informational_answer(site: Site) -> None:
    def script(exchange: Exchange) -> None:
        exchange.head(103, [("Link", "</a.css>")], "Early Hints")
        exchange.answer(200, b"page")

    site.origin.script = script
    client = site.h1()
    client.send(f"GET / HTTP/1.0\r\nHost: {site.hostname}\r\n\r\n".encode())
    answer = client.answer()
    assert (answer.status, answer.informational, answer.body) == (200, [], b"page")


def test_a_body_that_waits_for_100_is_asked_for_once(site: Site) -> None:
    client = site.h1()
    client.start("POST", "/", [("Content-Length", "5"), ("Expect", "100-continue")])
    raw = client.wire.until(b"\r\n\r\n", "the 100")
    assert raw.startswith(b"HTTP/1.1 100")
    client.send(b"hello")
    answer = client.answer("POST")
    assert answer.status == 200
    assert answer.informational == []
    assert site.origin.last.body == b"hello"


# ------------------------------------------------------------------------------------------------- trailers
def test_response_trailers_travel(site: Site, version: str) -> None:
    def script(exchange: Exchange) -> None:
        exchange.head(200, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
        exchange.chunk(b"hello")
        exchange.last_chunk([("X-Sum", "5"), ("X-Other", "z")])

    site.origin.script = script
    answer = site.client(version).get("/", [("te", "trailers")])
    assert answer.body == b"hello"
    assert [(name.lower(), text) for name, text in answer.trailers] == [("x-sum", "5"), ("x-other", "z")]


def test_request_trailers_travel(site: Site, version: str) -> None:
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("POST", "/", [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
        client.send_chunk(b"hello")
        client.end_chunks([("X-Sum", "5")])
        answer = client.answer("POST")
    else:
        number = client.start("POST", "/", [("trailer", "x-sum")], end=False)
        client.data(number, b"hello")
        client.trailers(number, [("x-sum", "5")])
        answer = client.answer(number)
    assert answer.status == 200
    request = site.origin.last
    assert request.body == b"hello"
    assert [(name.lower(), text) for name, text in request.trailers] == [("x-sum", "5")]


# ------------------------------------------------------------------------------------------------- fields
def test_repeated_fields_keep_order_and_number(site: Site, version: str) -> None:
    site.origin.answers(
        200, b"", [("Set-Cookie", "a=1"), ("X-E", ""), ("Set-Cookie", "b=2"), ("Vary", "A"), ("Vary", "B")]
    )
    answer = site.client(version).get("/", [("x-a", "1"), ("x-b", ""), ("x-a", "2")])
    assert answer.values("set-cookie") == ["a=1", "b=2"]
    assert answer.values("vary") == ["A", "B"]
    assert answer.values("x-e") == [""]
    request = site.origin.last
    assert request.values("x-a") == ["1", "2"]
    assert request.values("x-b") == [""]


def test_http1_names_keep_their_spelling(site: Site) -> None:
    site.origin.answers(200, b"", [("X-CUSTOM-id", "1"), ("ETag", '"x"'), ("www-AUTHENTICATE", "Basic")])
    answer = site.get("/", [("x-WEIRD-Name", "1")])
    names = [name for name, _ in answer.fields]
    assert {"X-CUSTOM-id", "ETag", "www-AUTHENTICATE"} <= set(names)


def test_http2_names_are_lower_case(site: Site) -> None:
    site.origin.answers(200, b"", [("X-CUSTOM-id", "1")])
    assert ("x-custom-id", "1") in site.h2().get().fields


TARGETS = [
    "/",
    "/a/../b",
    "//a//b",
    "/%2e%2e/%2F",
    "/a%20b?c=%20&d=+",
    "/?",
    "/?a?b",
    "/a;b=1",
    "/caf%C3%A9",
    "/.",
    "/[]'~!$&()*+,;=:@",
    "/?a|b{}^\\[]'",
    "/%zz",
]


@pytest.mark.requirement("S15")
@pytest.mark.parametrize("target", TARGETS)
def test_target_is_byte_for_byte(site: Site, version: str, target: str) -> None:
    assert site.client(version).get(target).status == 200
    assert site.origin.last.target == target


@every_connector
@pytest.mark.parametrize(
    ("target", "encoded"),
    [("/a|b{c}^d\\e?f|g{h}^i\\j", "/a%7Cb%7Bc%7D%5Ed%5Ce?f|g{h}^i\\j"), ('/"q"?z|', "/%22q%22?z|")],
)
def test_what_has_no_place_in_a_path_is_encoded_towards_origins(site: Site, target: str, encoded: str) -> None:
    """As a stock connector does, in the path alone: some origins refuse such bytes, and browsers send them in queries."""
    assert site.h1().get(target).status == 200
    assert site.origin.last.target == encoded


@every_connector
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "GET", "DELETE", "OPTIONS"])
def test_a_method_that_has_a_body_as_a_rule_says_that_there_is_none(site: Site, version: str, method: str) -> None:
    """RFC 9110 8.6: some origins answer 411 otherwise. A stock connector makes an empty chunked body of it on HTTP/2."""
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start(method, "/")
        answer = client.answer(method)
    else:
        answer = client.answer(client.start(method, "/"))
    assert answer.status == 200
    told = (site.origin.last.value("content-length"), site.origin.last.value("transfer-encoding"))
    if method not in ("POST", "PUT", "PATCH"):
        assert told == (None, None)
    elif str(site.link) == "cloudflared-http2":
        assert told == (None, "chunked")
    else:
        assert told == ("0", None)


@every_connector
def test_only_answers_of_origins_are_counted_by_their_code(site: Site, refusing_site: Site) -> None:
    """Not the 502 that the edge answers when there is no origin: as a stock connector counts."""
    connector = site.connector

    def counted(code: int) -> float:
        return connector.metric("cloudflared_tunnel_response_by_code", f'status_code="{code}"')

    before = (counted(502), counted(418))
    assert refusing_site.get().status == 502
    site.origin.answers(418, b"")
    assert site.get().status == 418
    site.origin.answers(502, b"its own")
    assert site.get().status == 502
    wait_until(lambda: counted(418) == before[1] + 1 and counted(502) >= before[0] + 1, "the origins' answers")
    assert counted(502) == before[0] + 1


@pytest.mark.parametrize("host", ["{}", "{}:443", "{upper}", "{}."])
def test_host_is_normalised_for_routing_only(site: Site, host: str) -> None:
    sent = host.replace("{}", site.hostname).replace("{upper}", site.hostname.upper())
    client = site.h1()
    client.send(f"GET / HTTP/1.1\r\nHost: {sent}\r\n\r\n".encode())
    assert client.answer().status == 200
    assert site.origin.last.value("host") == sent


@pytest.mark.case(71)
@every_connector
def test_an_empty_port_is_none(site: Site, version: str) -> None:
    """RFC 3986 3.2.3: `Host: h:` is legal, and the same as `h`, which is what the origin gets."""
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.send(f"GET / HTTP/1.1\r\nHost: {site.hostname}:\r\n\r\n".encode())
        assert client.answer().status == 200
        client.send(f"GET https://{site.hostname}:/ HTTP/1.1\r\nHost: {site.hostname}\r\n\r\n".encode())
        assert client.answer().status == 200
        client.send(f"GET https://{site.hostname}/ HTTP/1.1\r\nHost: {site.hostname}:443\r\n\r\n".encode())
        assert client.answer().status == 200
    else:
        assert client.answer(client.start("GET", "/", authority=f"{site.hostname}:")).status == 200
    assert {(request.value("host") or "").removesuffix(":443") for request in site.origin.requests} == {site.hostname}


@pytest.mark.case(71)
@pytest.mark.parametrize(
    "host", ["[2001:db8::1]", "[2001:db8::1]:8443", "[::1]:", "127.0.0.1", "a_b.nobody.test", "x."]
)
def test_a_legal_host_that_is_nobodys_is_no_bad_request(edge: Edge, host: str) -> None:
    with edge.plain("nobody.example.test") as client:
        answer = client.get("/", [("Host", host)])
    assert answer.status in (404, 421)


@pytest.mark.case(71)
@every_connector
def test_a_label_with_an_underscore(publish: Publisher, version: str) -> None:
    """On a connection for another name of the same certificate: Python's TLS takes no such name."""
    plain = publish("http_status:418")
    site = publish("http_status:204", hostname=f"a_b-{publish.hostname()}")
    with site.edge.plain(site.hostname) as over_http:
        assert over_http.get().status == 308
    client = plain.client(version)
    if isinstance(client, Http1Client):
        assert client.get("/", [("Host", site.hostname)]).status == 204
    else:
        assert client.answer(client.start("GET", "/", authority=site.hostname)).status == 204


@pytest.mark.case(71)
@every_connector
@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "X-OWN", "PROPFIND", "get"])
def test_any_other_method_reaches_the_origin(site: Site, version: str, method: str) -> None:
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start(method, "/")
        assert client.answer(method).status == 200
    else:
        assert client.answer(client.start(method, "/")).status == 200
    assert site.origin.last.method == method


@pytest.mark.case(71)
def test_connect_is_refused_and_the_connection_ends(site: Site) -> None:
    client = site.h1()
    client.send(f"CONNECT {site.hostname}:443 HTTP/1.1\r\nHost: {site.hostname}:443\r\n\r\n".encode())
    answer = client.answer()
    assert (answer.status, answer.value("connection")) == (405, "close")
    client.send(b"GET /behind HTTP/1.1\r\nHost: h\r\n\r\n")
    assert client.ended()
    assert site.origin.requests == []


@pytest.mark.case(42)
@pytest.mark.requirement("S4")
def test_absolute_form_target_is_split_and_agrees_with_host(site: Site) -> None:
    client = site.h1()
    client.send(f"GET https://{site.hostname}/p?q HTTP/1.1\r\nHost: other.example.test\r\n\r\n".encode())
    assert client.answer().status == 421, "S4: target and Host must agree"
    client = site.h1()
    client.send(f"GET https://{site.hostname}/p?q HTTP/1.1\r\nHost: {site.hostname}\r\n\r\n".encode())
    assert client.answer().status == 200
    assert site.origin.last.target == "/p?q"
    assert site.origin.last.value("host") == site.hostname


@pytest.mark.case(71)
@every_connector
def test_options_asterisk_reaches_the_origin(site: Site, version: str) -> None:
    assert site.client(version).request("OPTIONS", "*").status == 200
    told = "/" if str(site.link) == "cloudflared-quic" else "*"  # docs/compatibility.md
    assert (site.origin.last.method, site.origin.last.target) == ("OPTIONS", told)


@pytest.mark.case(42)
def test_http10_client_is_answered_without_chunks(site: Site) -> None:
    def script(exchange: Exchange) -> None:
        exchange.head(200, [("Transfer-Encoding", "chunked")])
        exchange.chunk(b"hello")
        exchange.last_chunk()

    site.origin.script = script
    client = site.h1()
    client.send(f"GET / HTTP/1.0\r\nHost: {site.hostname}\r\n\r\n".encode())
    answer = client.answer()
    assert answer.value("transfer-encoding") is None
    assert answer.body == b"hello"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Edge, str, QuicConnector]]:
    """An edge whose plain listener serves, a hostname, and the connector behind it."""

    async def slow(stream: QuicStream) -> None:
        await stream.body()
        await asyncio.sleep(0.05)
        stream.respond(200, [], b"the answer")

    edge = Edge(tmp_path_factory.mktemp("serving"), public_http_mode="serve", limits_header_timeout_s="2")
    tunnel = edge.api.create_tunnel("plain")
    edge.api.publish(edge.api.create_zone("example.test"), "plain.example.test", tunnel.id)
    connector = QuicConnector(edge.tunnel, edge.ca_file, tunnel.token, handler=slow)
    try:
        with edge.plain("plain.example.test") as client:
            wait_until(lambda: client.get().status == 200, "the route")
        yield edge, "plain.example.test", connector
    finally:
        connector.close()
        edge.stop()


@pytest.mark.case(42)
@pytest.mark.parametrize(
    "raw",
    [
        "GET / HTTP/1.1\r\nHost: {}\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: {}\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: {}\r\nConnection: keep-alive\r\n\r\n",
        "GET /chunked HTTP/1.0\r\nHost: {}\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\n\r\nbody",
    ],
)
def test_half_closed_plain_client_gets_its_answer(serving: tuple[Edge, str, QuicConnector], raw: str) -> None:
    edge, hostname, _ = serving
    with edge.plain(hostname) as client:
        client.send(raw.format(hostname).encode())
        client.sock.shutdown(socket.SHUT_WR)
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"the answer")
        assert "HTTP/1.0" not in raw or answer.value("transfer-encoding") is None
        assert client.ended()


@pytest.mark.case(42)
@pytest.mark.parametrize(
    "raw",
    [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {}\r\nHost: {}\r\n\r\n",
    ],
)
def test_without_one_host_it_is_400_also_to_a_half_closed_client(
    serving: tuple[Edge, str, QuicConnector], raw: str
) -> None:
    edge, hostname, _ = serving
    with edge.plain(hostname) as client:
        client.send(raw.format(hostname, hostname).encode())
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer().status == 400
        assert client.ended()


@pytest.mark.case(55)
def test_slow_head_is_cut(serving: tuple[Edge, str, QuicConnector]) -> None:
    """The limit (2 s here) is for the whole head, not per byte."""
    edge, hostname, _ = serving
    with edge.plain(hostname) as client:
        start = time.monotonic()
        with suppress(OSError):
            client.send(b"GET / HTTP/1.1\r\nHost: ")
            while client.is_open(for_s=0.2) and time.monotonic() - start < 60:
                client.send(b"a")
        assert 1.8 < time.monotonic() - start < 30


def test_plain_request_says_that_it_was_plain(serving: tuple[Edge, str, QuicConnector]) -> None:
    edge, hostname, connector = serving
    with edge.plain(hostname) as client:
        assert client.get().status == 200
    assert ("X-Forwarded-Proto", "http") in connector.heads[-1]


def test_plain_listener_redirects_to_https(site: Site) -> None:
    with site.edge.plain(site.hostname) as client:
        answer = client.get("/a/../b?c=%20")
    assert answer.status == 308
    port = site.edge.https.rpartition(":")[2]
    assert answer.value("location") == f"https://{site.hostname}:{port}/a/../b?c=%20"
    assert site.origin.requests == []


@pytest.mark.case(52)
@every_connector
def test_a_challenge_that_an_origin_waits_for_reaches_it(site: Site) -> None:
    """By way of the redirect, which CAs follow."""
    path = "/.well-known/acme-challenge/token-of-the-origin"
    site.origin.on(path, lambda exchange: exchange.answer(200, b"its authorisation"))
    with site.edge.plain(site.hostname) as client:
        answer = client.get(path)
    assert (answer.status, (answer.value("location") or "").endswith(path)) == (308, True)
    answer = site.get(path)
    assert (answer.status, answer.body) == (200, b"its authorisation")
    assert site.get("/.well-known/acme-challenge/unknown").body == b"hello", "the origin's answer"


def _answered(status: int, body: bytes, fields: Fields, reason: str, exchange: Exchange) -> None:
    exchange.answer(status, body, fields, reason)


@pytest.mark.case(46)
@every_connector
def test_status_and_body_of_the_origins_own_errors_pass(site: Site, version: str) -> None:
    fields = [("Content-Type", "application/json"), ("Retry-After", "7")]
    for status in (299, 418, 500, 502, 503, 504, 599):
        for body, reason in ((b'{"e":1}', "Whatever"), (b"", "")):
            site.origin.script = partial(_answered, status, body, fields, reason)
            answer = site.client(version).get()
            assert (answer.status, answer.body, answer.value("retry-after")) == (status, body, "7")
            assert answer.value("content-type") == "application/json"
            assert answer.value("x-qanat-error") is None
