"""cases.md 5, 6, 7: request bodies keep their bytes and their framing's meaning."""

import hashlib
import os

import pytest

from tests.support.fixtures import every_connector
from tests.support.http1 import Http1Client
from tests.support.origin import Exchange, Origin
from tests.support.sites import Link, Publisher, Site


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
