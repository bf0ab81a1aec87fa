"""cases.md 5, 6, 7, 20, 28: request bodies keep their bytes and their framing's meaning, and nobody collects them."""

import hashlib
import os

import pytest

from tests.support.fixtures import every_connector
from tests.support.http1 import Cut, Http1Client
from tests.support.origin import Exchange, Origin
from tests.support.sites import Lab, Link, Publisher, Site
from tests.support.waiting import wait_until

MIB = 1 << 20


@pytest.mark.case(5)
@every_connector
def test_upload_without_length_is_whole(site: Site, version: str) -> None:
    size = 45_871_104 if version == "h1" else 8_000_003
    blob = os.urandom(1 << 20)
    total = hashlib.sha256()
    got = hashlib.sha256()

    def script(exchange: Exchange) -> None:
        for piece in exchange.pieces():
            got.update(piece)
        exchange.answer(202, b"")

    site.origin.script = script
    client = site.client(version)
    fields = [("Content-Type", "application/octet-stream")]
    left = size
    if isinstance(client, Http1Client):
        client.start("PATCH", "/v2/x/blobs/uploads/1", [*fields, ("Transfer-Encoding", "chunked")])
        while left:
            piece = blob[:left]
            client.send_chunk(piece)
            total.update(piece)
            left -= len(piece)
        client.end_chunks()
        answer = client.answer("PATCH")
    else:
        number = client.start("PATCH", "/v2/x/blobs/uploads/1", [(n.lower(), v) for n, v in fields], end=False)
        while left:
            piece = blob[:left]
            client.data(number, piece)
            total.update(piece)
            left -= len(piece)
        client.data(number, b"", end=True)
        answer = client.answer(number)
    assert answer.status == 202
    assert got.digest() == total.digest()
    assert site.origin.last.value("content-length") is None


@pytest.mark.case(6)
@every_connector
def test_aws_chunked_is_no_transfer_coding(site: Site) -> None:
    body = b"b;chunk-signature=0\r\nhello world\r\n0;chunk-signature=0\r\n\r\n"
    client = site.h2()
    number = client.start(
        "PUT", "/b/k", [("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", "11")], end=False
    )
    client.data(number, body, end=True)
    assert client.answer(number).status == 200
    request = site.origin.last
    assert request.body == body
    assert request.value("content-encoding") == "aws-chunked"
    assert request.value("content-length") != "0"


def needs_a_length(exchange: Exchange) -> None:
    request = exchange.request
    right = request.value("content-length") == "0" and request.value("transfer-encoding") is None
    exchange.answer(200 if right else 411, b"")


@pytest.mark.case(7)
@every_connector
def test_explicit_zero_length_reaches_the_origin(site: Site, version: str) -> None:
    """A stock connector makes an empty chunked body of it on HTTP/2 (docs/compatibility.md)."""
    site.origin.script = needs_a_length
    limited = site.link == Link("cloudflared", "http2")
    assert zero_length_put(site, version) == (411 if limited else 200)


@pytest.mark.case(7)
@pytest.mark.parametrize("disable", [True, False])
def test_explicit_zero_length_with_chunked_encoding_disabled(publish: Publisher, version: str, disable: bool) -> None:
    origin = Origin(script=needs_a_length)
    site = publish(origin.service, origin=origin, origin_request={"disableChunkedEncoding": disable})
    assert zero_length_put(site, version) == 200


def zero_length_put(site: Site, version: str) -> int:
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("PUT", "/toggle", [("Content-Length", "0")])
        return client.answer("PUT").status
    return client.answer(client.start("PUT", "/toggle", [("content-length", "0")])).status


def says_100(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    exchange.answer(204, b"")


@pytest.mark.case(20)
@every_connector
def test_whoever_says_100_the_client_hears_it_once_and_then_the_final_status(site: Site, lab: Lab) -> None:
    body = os.urandom(MIB)
    site.origin.on("/asks", says_100)
    site.origin.on("/reads", lambda e: e.answer(204, b""))
    for target in ("/asks", "/reads"):
        client = site.h1()
        client.start("POST", target, [("Content-Length", str(MIB)), ("Expect", "100-continue")])
        assert client.wire.until(b"\r\n\r\n", "the 100").startswith(b"HTTP/1.1 100")
        client.send(body)
        answer = client.answer("POST")
        assert (answer.status, answer.informational) == (204, []), target
        assert site.origin.last.body == body
        assert lab.access_lines(answer.request_id)[0]["status"] == 204, "not the 100"
        old = site.h1()
        head = f"POST {target} HTTP/1.0\r\nHost: {site.hostname}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        old.send(head.encode() + b"body")
        answer = old.answer("POST")
        assert (answer.status, answer.informational) == (204, []), f"{target}: RFC 9110 15.2: no 1xx to HTTP/1.0"


@pytest.mark.case(20)
@every_connector
def test_over_http2_too_a_100_comes_once_and_then_the_final_status(site: Site) -> None:
    site.origin.on("/asks", says_100)
    site.origin.on("/reads", lambda e: e.answer(204, b""))
    client = site.h2()
    for target in ("/asks", "/reads"):
        fields = [("content-length", "4"), ("expect", "100-continue")]
        number = client.start("POST", target, fields, end=False)
        client.until(lambda number=number: client.streams[number].informational, "the 100")  # type: ignore[misc]
        client.data(number, b"body", end=True)
        answer = client.answer(number)
        assert (answer.status, [status for status, _ in answer.informational]) == (204, [100]), target
        assert site.origin.last.body == b"body"


@pytest.mark.case(20)
@every_connector
def test_a_refusal_comes_before_the_body_and_is_what_is_counted_and_logged(site: Site, lab: Lab, version: str) -> None:
    def counted(status: int) -> float:
        return site.connector.metric("cloudflared_tunnel_response_by_code", f'status_code="{status}"')

    site.origin.on("/p", lambda e: e.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"))
    before = counted(401), counted(100)
    client = site.client(version)
    fields = [("content-length", str(MIB)), ("expect", "100-continue")]
    if isinstance(client, Http1Client):
        client.start("POST", "/p", fields)
        answer = client.answer("POST")
    else:
        answer = client.answer(client.start("POST", "/p", fields, end=False))
    assert (answer.status, answer.body) == (401, b"no")
    assert len(answer.informational) <= 1
    wait_until(lambda: (counted(401), counted(100)) == (before[0] + 1, before[1]), "the final status to be counted")
    (line,) = lab.access_lines(answer.request_id)
    assert (line["status"], line["bytes_out"]) == (401, 2)


@pytest.mark.case(28)
def test_of_a_large_upload_that_is_cut_the_origin_has_all_but_the_last_of_it(site: Site) -> None:
    """A TUS upload of 80 MiB: cut at half of it, it goes on from there. Neither process keeps what came."""
    stored = [0]

    def files(exchange: Exchange) -> None:
        if exchange.request.method == "PATCH":
            try:
                for piece in exchange.pieces():
                    stored[0] += len(piece)
                    exchange.request.received.clear()
            except Cut:
                exchange.over = True
                return
        exchange.answer(200, b"", [("Tus-Resumable", "1.0.0"), ("Upload-Offset", str(stored[0]))])

    site.origin.script = files
    assert site.get("/files/1").status == 200
    processes = site.edge.process, site.connector.process
    before = [process.rss_bytes() for process in processes]
    client = site.h1(timeout_s=30.0)
    fields = [("Tus-Resumable", "1.0.0"), ("Upload-Offset", "0"), ("Content-Length", str(80 * MIB))]
    client.start("PATCH", "/files/1", [*fields, ("Content-Type", "application/offset+octet-stream")])
    client.send(b"x")
    wait_until(lambda: stored[0] == 1, "the first byte at the origin")
    blob = os.urandom(MIB)
    for _ in range(40):
        client.send(blob)
    wait_until(lambda: stored[0] >= 39 * MIB + 1, "all but 1 MiB at the origin")
    grown = [process.rss_bytes() - at_first for process, at_first in zip(processes, before, strict=True)]
    client.reset()
    assert max(grown) < 24 * MIB, f"edge and connector grew by {grown} bytes"
    offset = site.h1().request("HEAD", "/files/1").value("upload-offset")
    assert int(offset or 0) >= 39 * MIB + 1
