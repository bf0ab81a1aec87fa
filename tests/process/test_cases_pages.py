"""cases.md 38, 65: the edge's own answers and the connector's built-in ones."""

import html
import json
import re
import ssl
from collections.abc import Iterator

import pytest
from wsproto.connection import ConnectionType

from tests.support.connectors import QuicConnector, QuicStream
from tests.support.edge import Edge
from tests.support.fixtures import every_connector
from tests.support.http1 import Answer, Http1Client, value
from tests.support.sites import Fakes, Lab, Publisher, Site
from tests.support.websocket import REQUEST_FIELDS, WebSocket

ACCEPTS = ["text/html", "application/json", "application/problem+json"]


def check_page(answer: Answer, accept: str, *, hop: str) -> None:
    """What every error page of the edge is."""
    assert answer.value("cache-control") == "no-store"
    assert answer.value("x-qanat-error")
    assert answer.request_id in answer.text
    kind = (answer.value("content-type") or "").partition(";")[0]
    if "json" in accept:
        assert kind == "application/problem+json"
        problem = json.loads(answer.body)
        assert problem["status"] == answer.status
        assert problem["title"]
        assert isinstance(problem["retryable"], bool)
        assert problem["hop"] == hop
        assert problem["cause"] == answer.value("x-qanat-error")
    else:
        assert kind == "text/html"
        assert answer.text.count('<li class="broken">') == 1, "the page marks where it broke"
    assert len(answer.body) < 16384


@pytest.mark.case(38)
@pytest.mark.parametrize("accept", ACCEPTS)
def test_no_connector(fakes: Fakes, version: str, accept: str) -> None:
    _, hostname = fakes.tunnel()
    with fakes.edge.h1(hostname) if version == "h1" else fakes.edge.h2(hostname) as client:
        answer = client.get("/", [("accept", accept)])
    assert answer.status == 530
    assert "1033" in answer.text
    check_page(answer, accept, hop="tunnel")


@pytest.mark.requirement("S47")
@pytest.mark.parametrize("accept", ACCEPTS)
def test_a_deleted_tunnels_hostname_is_410(fakes: Fakes, version: str, accept: str) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.delete_tunnel(tunnel.id)
    with fakes.edge.h1(hostname) if version == "h1" else fakes.edge.h2(hostname) as client:
        answer = client.get("/", [("accept", accept)])
    assert answer.status == 410
    check_page(answer, accept, hop="tunnel")
    assert "Point the hostname's record to another tunnel" in html.unescape(answer.text)
    assert fakes.edge.cause(answer.request_id) == "tunnel_deleted"
    facts = fakes.edge.api.request_facts(answer.request_id)
    assert (facts["status"], facts["tunnel_id"]) == (410, tunnel.id)
    assert tunnel.id in facts["detail"]


@pytest.mark.case(38)
@pytest.mark.parametrize("accept", ACCEPTS)
def test_origin_refuses(refusing_site: Site, version: str, accept: str) -> None:
    answer = refusing_site.client(version).get("/", [("accept", accept)])
    assert answer.status == 502
    check_page(answer, accept, hop="origin")


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Edge, str]]:
    """An edge that waits for an answer's head for a second, and a hostname whose origin never gives one."""

    async def silent(stream: QuicStream) -> None:
        await stream.body()

    edge = Edge(tmp_path_factory.mktemp("impatient") / "edge", limits_response_timeout_s="1")
    try:
        tunnel = edge.api.create_tunnel("silent")
        edge.api.publish(edge.api.create_zone("example.test"), "silent.example.test", tunnel.id)
        with QuicConnector(edge.tunnel, edge.ca_file, tunnel.token, handler=silent):
            yield edge, "silent.example.test"
    finally:
        edge.stop()


@pytest.mark.case(38)
@pytest.mark.parametrize("accept", ACCEPTS)
def test_an_origin_that_says_nothing(impatient: tuple[Edge, str], version: str, accept: str) -> None:
    edge, hostname = impatient
    with edge.h1(hostname) if version == "h1" else edge.h2(hostname) as client:
        answer = client.get("/", [("accept", accept)])
    assert answer.status == 504
    assert "524" in answer.text
    check_page(answer, accept, hop="origin")


@pytest.mark.case(38)
def test_an_origin_that_says_nothing_to_a_websocket(impatient: tuple[Edge, str]) -> None:
    edge, hostname = impatient
    with edge.h1(hostname) as client:
        client.start("GET", "/ws", REQUEST_FIELDS)
        assert client.answer().status == 504


@pytest.mark.case(38)
@every_connector
def test_origin_refuses_whatever_the_connector(refusing_site: Site) -> None:
    answer = refusing_site.get()
    assert answer.status == 502
    assert answer.value("x-qanat-error")
    assert refusing_site.edge.cause(answer.request_id) in ("origin_refused", "origin_error")


@pytest.mark.case(38)
@pytest.mark.parametrize("accept", ACCEPTS)
def test_no_rule_is_the_catch_alls_status(publish: Publisher, accept: str) -> None:
    site = publish("http_status:418")
    other = site.edge.h1(f"unmatched.{publish.tunnelled.domain}")
    with other:
        assert other.get("/", [("accept", accept)]).status == 404
    assert site.get().status == 418


@pytest.mark.case(38)
@pytest.mark.parametrize("accept", ACCEPTS)
def test_unknown_hostname(edge: Edge, accept: str) -> None:
    with edge.plain("nobody.example.org") as client:
        answer = client.get("/", [("accept", accept)])
    assert answer.status == 404
    check_page(answer, accept, hop="client")


@pytest.mark.case(53)
@pytest.mark.case(38)
def test_unknown_hostname_on_a_known_tls_connection(site: Site, version: str) -> None:
    client = site.client(version)
    if isinstance(client, Http1Client):
        answer = client.get("/", [("Host", "nobody.example.org")])
    else:
        answer = client.answer(client.start("GET", "/", authority="nobody.example.org"))
    assert answer.status == 421
    assert site.origin.requests == []
    assert site.edge.cause(answer.request_id) == "misdirected"
    facts = site.edge.api.request_facts(answer.request_id)
    assert facts["hostname"] == "nobody.example.org"
    [hop] = facts["hops"]
    assert f"*.{site.hostname.partition('.')[2]}" in hop["what"], "whose connection it was is told too"
    assert "certificate is for" not in answer.text, "to the operator alone"


@pytest.mark.case(53)
def test_one_connection_serves_each_hostname_of_its_certificate_by_that_ones_rule(publish: Publisher) -> None:
    one, other = publish("http_status:418"), publish("http_status:451")
    client = one.h2()
    for site, expected in ((one, 418), (other, 451), (one, 418)):
        assert client.answer(client.start("GET", "/", authority=site.hostname)).status == expected


@pytest.mark.case(38)
@pytest.mark.requirement("S3")
@pytest.mark.parametrize("name", ["nobody.example.org", "test"])
def test_unknown_tls_name_is_an_alert(edge: Edge, name: str) -> None:
    import socket

    context = ssl.create_default_context(cafile=str(edge.ca_file))
    context.check_hostname = False
    host, _, port = edge.https.rpartition(":")
    with socket.create_connection((host, int(port)), 5.0) as sock, pytest.raises(ssl.SSLError) as refused:
        context.wrap_socket(sock, server_hostname=name).close()
    assert "UNRECOGNIZED_NAME" in str(refused.value).upper()


@pytest.mark.case(38)
def test_websocket_gets_the_same_answers(refusing_site: Site, fakes: Fakes) -> None:
    client = refusing_site.h1()
    client.start("GET", "/ws", REQUEST_FIELDS)
    assert client.answer().status == 502
    modern = refusing_site.h2()
    assert modern.answer(modern.websocket("/ws")).status == 502
    _, hostname = fakes.tunnel()
    with fakes.edge.h2(hostname) as other_modern:
        assert other_modern.answer(other_modern.websocket("/ws")).status == 530
    with fakes.edge.h1(hostname) as other:
        other.start("GET", "/ws", REQUEST_FIELDS)
        assert other.answer().status == 530
    unmatched = f"unmatched.{refusing_site.hostname.partition('.')[2]}"
    with fakes.edge.h1(unmatched) as nowhere:
        nowhere.start("GET", "/ws", REQUEST_FIELDS)
        assert nowhere.answer().status == 404, "the catch-all's"
    with fakes.edge.plain("nobody.example.org") as nobody:
        nobody.start("GET", "/ws", REQUEST_FIELDS)
        assert nobody.answer().status == 404


@pytest.mark.case(38)
def test_head_gets_the_status_without_a_body(refusing_site: Site, version: str) -> None:
    client = refusing_site.client(version)
    answer = client.request("HEAD", "/")
    assert (answer.status, answer.body) == (502, b"")
    assert client.request("HEAD", "/again").status == 502


# ------------------------------------------------------------------------------------------------ case 65
BUILT_IN = ["http_status:404", "http_status:204", "http_status:304", "http_status:503"]


@pytest.mark.case(65)
@every_connector
@pytest.mark.parametrize("service", BUILT_IN)
def test_status_services(publish: Publisher, version: str, service: str) -> None:
    site = publish(service)
    status = int(service.partition(":")[2])
    client = site.client(version)
    answer = client.get()
    assert answer.status == status
    assert answer.value("x-qanat-error") is None
    if status in (204, 304):
        assert answer.body == b""
    head = client.request("HEAD", "/")
    assert (head.status, head.body) == (status, b"")
    if isinstance(client, Http1Client):
        client.start("GET", "/ws", REQUEST_FIELDS)
        assert client.answer().status == status, "an upgrade gets the status, never 101"
    else:
        # There, any 2xx would mean that it is a WebSocket now (RFC 8441 5).
        assert client.answer(client.websocket("/ws")).status == (502 if status < 300 else status)
    for n in range(100):
        assert client.get(f"/{n}").status == status


@pytest.mark.case(65)
@pytest.mark.parametrize("service", ["http_status:404", "hello_world"])
@pytest.mark.parametrize("expect", [False, True])
def test_big_body_that_nobody_wants_is_dropped_and_answered(publish: Publisher, service: str, expect: bool) -> None:
    site = publish(service)
    before = site.edge.process.rss_bytes() + site.connector.process.rss_bytes()
    client = site.h1()
    size = 50 << 20
    fields = [("Content-Length", str(size)), *([("Expect", "100-continue")] if expect else [])]
    client.start("POST", "/", fields)
    if not expect:
        for _ in range(size >> 16):
            client.send(b"x" * 65536)
    assert client.head().status in (404, 405, 200)  # a client that waits for a 100 gets this one instead
    assert site.edge.process.rss_bytes() + site.connector.process.rss_bytes() - before < 16 << 20
    assert site.get().status in (200, 404)


@pytest.mark.case(65)
@pytest.mark.parametrize("service", [*BUILT_IN, "hello_world"])
def test_grpc_gets_a_grpc_error(publish: Publisher, service: str) -> None:
    """A head with the error and no body: "trailers only"."""
    site = publish(service)
    client = site.h2()
    answer = client.request("POST", "/s/M", [("content-type", "application/grpc"), ("te", "trailers")], b"\0\0\0\0\0")
    assert (answer.status, answer.body, answer.value("content-type")) == (200, b"", "application/grpc")
    told = value([*answer.fields, *answer.trailers], "grpc-status")
    assert told == {"http_status:404": "12", "http_status:503": "14", "hello_world": "12"}.get(service, "2"), (
        answer.fields
    )
    assert client.get().status == int(service.partition(":")[2] or 200)


@pytest.mark.case(65)
@every_connector
def test_the_server_itself_is_answered_by_a_built_in_service_too(publish: Publisher) -> None:
    site = publish("http_status:418")
    client = site.h1()
    assert client.request("OPTIONS", "*").status == 418
    assert client.get().status == 418


@pytest.mark.case(65)
def test_hello_world_is_a_page_and_an_echo(publish: Publisher, version: str) -> None:
    site = publish("hello_world")
    client = site.client(version)
    page = client.get()
    assert page.status == 200
    assert (page.value("content-type") or "").startswith("text/html")
    assert b"<html" in page.body.lower()
    if isinstance(client, Http1Client):
        client.start("GET", "/ws", REQUEST_FIELDS)
        assert client.head().status == 101
        ws = WebSocket(client.send, client.wire.some, ConnectionType.CLIENT)
    else:
        number = client.websocket("/ws")
        assert client.head(number).status == 200
        ws = WebSocket(lambda data: client.data(number, data), client.stream_bytes(number), ConnectionType.CLIENT)
    ws.text("anybody there?")
    assert ws.message() == "anybody there?"


@pytest.mark.case(65)
def test_built_in_answers_are_no_origin_errors_and_their_line_names_the_rule(publish: Publisher, lab: Lab) -> None:
    site = publish("http_status:503")
    mark, errors = site.connector.process.mark(), site.connector.metric("cloudflared_tunnel_request_errors")
    answer = site.get()
    assert answer.status == 503
    line = site.connector.process.wait_for("DBG 503 Service Unavailable ", after=mark).string
    assert re.search(r" ingressRule=\d+ ", f"{line} ") and "originService=http_status:503" in line, line
    (logged,) = lab.access_lines(answer.request_id)
    assert (logged["status"], "cause" in logged) == (503, False)
    assert site.connector.metric("cloudflared_tunnel_request_errors") == errors
    assert [line for line in site.connector.process.since(mark) if " ERR " in line] == []


@pytest.mark.case(65)
def test_no_rules_at_all_is_503(fakes: Fakes, lab: object, folder: object) -> None:
    from pathlib import Path

    from tests.support.connector import Connector

    tunnel, hostname = fakes.tunnel()
    version = fakes.edge.api.put_configuration(tunnel.id, [])
    assert isinstance(folder, Path)
    connector = Connector(folder / "bare", fakes.edge, tunnel.token)
    try:
        connector.wait_version(version)
        with fakes.edge.h1(hostname) as client:
            assert client.get().status == 503
    finally:
        connector.stop()
