"""cases.md 4: gRPC's trailers over both links; a clear error where the link of a stock connector can't carry them."""

from collections.abc import Iterator

import pytest

from tests.support.certificates import OriginAuthority
from tests.support.fixtures import every_connector
from tests.support.http1 import value
from tests.support.http2 import Http2Exchange, Http2Origin
from tests.support.sites import Publisher, Site

pytestmark = pytest.mark.case(4)

FIELDS = [("content-type", "application/grpc"), ("te", "trailers")]


def message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def service(exchange: Http2Exchange) -> None:
    path = exchange.request.pseudo[":path"]
    if path == "/s/Unary":
        data = exchange.body()
        exchange.head(200, [("content-type", "application/grpc")])
        exchange.data(data)
        exchange.trailers([("grpc-status", "0"), ("grpc-message", "fine"), ("x-custom", "kept")])
    elif path == "/s/TrailersOnly":
        exchange.body()
        exchange.head(
            200,
            [
                ("content-type", "application/grpc"),
                ("grpc-status", "5"),
                ("grpc-message", "none"),
                ("x-custom", "kept"),
            ],
            end=True,
        )
    else:
        exchange.head(200, [("content-type", "application/grpc")])
        for piece in exchange.pieces():
            if piece:
                exchange.data(piece.upper())
        exchange.trailers([("grpc-status", "9"), ("grpc-message", "half"), ("x-custom", "kept")])


@pytest.fixture
def grpc(publish: Publisher, authority: OriginAuthority) -> Iterator[tuple[Site, Http2Origin]]:
    origin = Http2Origin(service, authority.server_context("localhost", "127.0.0.1", alpn=("h2",)))
    site = publish(origin.service, origin_request={"http2Origin": True, "noTLSVerify": True})
    yield site, origin
    origin.close()
    assert not origin.problems


def carried(site: Site) -> bool:
    return site.link.kind == "qanat" or site.link.protocol == "http2"


@every_connector
def test_unary_call_keeps_its_trailers(grpc: tuple[Site, Http2Origin]) -> None:
    site, origin = grpc
    client = site.h2()
    number = client.start("POST", "/s/Unary", FIELDS, end=False)
    client.data(number, message(b"hello"), end=True)
    answer = client.answer(number)
    assert answer.status == 200
    if not carried(site):
        status = value(answer.fields, "grpc-status") or value(answer.trailers, "grpc-status")
        assert status == "14"
        assert "http2" in (value(answer.fields, "grpc-message") or value(answer.trailers, "grpc-message") or "")
        return
    assert answer.body == message(b"hello")
    assert value(answer.trailers, "grpc-status") == "0"
    assert value(answer.trailers, "grpc-message") == "fine"
    assert value(answer.trailers, "x-custom") == "kept"
    assert origin.requests[-1].value("te") == "trailers"


@every_connector
def test_trailers_only_answer(grpc: tuple[Site, Http2Origin]) -> None:
    site, _ = grpc
    client = site.h2()
    number = client.start("POST", "/s/TrailersOnly", FIELDS, end=False)
    client.data(number, message(b"hello"), end=True)
    answer = client.answer(number)
    assert answer.status == 200
    told = [value([*answer.fields, *answer.trailers], name) for name in ("grpc-status", "grpc-message", "x-custom")]
    if carried(site):
        assert told == ["5", "none", "kept"]
    else:
        assert told[0] == "14" and "http2" in (told[1] or "")


@every_connector
def test_bidirectional_stream(grpc: tuple[Site, Http2Origin]) -> None:
    site, _ = grpc
    if not carried(site):
        pytest.skip("a stock connector on QUIC carries no trailers: the unary test shows the error")
    client = site.h2()
    number = client.start("POST", "/s/Stream", FIELDS, end=False)
    assert client.head(number).status == 200
    read = client.stream_bytes(number)
    for text in (b"one", b"two", b"three"):
        client.data(number, message(text))
        assert read() == message(text).upper()
    client.data(number, b"", end=True)
    trailers = client.answer(number).trailers
    assert [value(trailers, name) for name in ("grpc-status", "grpc-message", "x-custom")] == ["9", "half", "kept"]


def test_edge_error_is_a_grpc_error(refusing_site: Site) -> None:
    client = refusing_site.h2()
    number = client.start("POST", "/s/Unary", FIELDS, end=False)
    client.data(number, message(b"x"), end=True)
    answer = client.answer(number)
    assert answer.status == 200
    assert (value(answer.fields, "grpc-status") or value(answer.trailers, "grpc-status")) == "14"
    assert answer.value("content-type") == "application/grpc"
