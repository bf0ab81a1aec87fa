"""An origin over HTTP/2 (`http2Origin`) is an origin like any other: cases.md 5, 21, 29, 30, 37, 46, 57 and 66 once more."""

import hashlib
import os
import threading
from collections.abc import Iterator

import pytest

from tests.process.test_cases_headers import HOP
from tests.support.certificates import OriginAuthority
from tests.support.fixtures import every_connector
from tests.support.http1 import Cut, Http1Client
from tests.support.http2 import Http2Exchange, Http2Origin, Reset
from tests.support.sites import Publisher, Site

pytestmark = every_connector
Made = tuple[Site, Http2Origin]


@pytest.fixture
def made(publish: Publisher, authority: OriginAuthority) -> Iterator[Made]:
    """A site, and its origin, which answers as its script says."""
    origin = Http2Origin(lambda exchange: None, authority.server_context("localhost", "127.0.0.1", alpn=("h2",)))
    yield publish(origin.service, origin_request={"http2Origin": True, "noTLSVerify": True}), origin
    origin.close()
    assert not origin.problems


@pytest.mark.case(5)
def test_an_upload_without_a_length_is_whole(made: Made, version: str) -> None:
    site, origin = made
    blob, got = os.urandom(3_000_003), hashlib.sha256()

    def script(exchange: Http2Exchange) -> None:
        for piece in exchange.pieces():
            got.update(piece)
        exchange.head(202, end=True)

    origin.script = script
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("PATCH", "/", [("Transfer-Encoding", "chunked")])
        client.send_chunk(blob)
        client.end_chunks()
        answer = client.answer("PATCH")
    else:
        number = client.start("PATCH", "/", end=False)
        client.data(number, blob, end=True)
        answer = client.answer(number)
    assert (answer.status, got.digest()) == (202, hashlib.sha256(blob).digest())
    assert origin.requests[-1].value("content-length") is None


@pytest.mark.case(21)
@pytest.mark.parametrize("how", ["short of its length", "reset"])
def test_a_cut_answer_is_no_whole_one(made: Made, version: str, how: str) -> None:
    site, origin = made
    has_come = threading.Event()

    def script(exchange: Http2Exchange) -> None:
        # what has a length a stock connector holds back
        exchange.head(200, [] if how == "reset" else [("content-length", "100")])
        exchange.data(b"x" * 50, end=how != "reset")
        if how == "reset":
            has_come.wait(60.0)
            exchange.reset()

    origin.script = script
    client = site.client(version)
    try:
        if isinstance(client, Http1Client):
            client.start("GET", "/")
            answer = client.head()
            has_come.set()
            answer.body = b"".join(client.body_of(answer))
        else:
            number = client.start("GET", "/")
            client.head(number)
            has_come.set()
            answer = client.answer(number)
    except (Cut, Reset) as cut:
        assert cut.got in (b"", b"x" * 50)
    else:  # its end overtook its head
        assert (answer.status, how) == (502, "short of its length")
    finally:
        has_come.set()


@pytest.mark.case(29, 30)
def test_an_answer_without_a_body_keeps_its_length_or_has_none(made: Made, version: str) -> None:
    site, origin = made
    answers = {"/f": (200, [("content-length", "1048576")]), "/304": (304, [("etag", '"a"')]), "/204": (204, [])}
    origin.script = lambda exchange: exchange.head(*answers[exchange.request.pseudo[":path"]], end=True)
    client = site.client(version)
    for _ in range(3):
        answer = client.request("HEAD", "/f")
        assert (answer.status, answer.value("content-length"), answer.body) == (200, "1048576", b"")
        answer = client.get("/304")
        assert (answer.status, answer.value("etag"), answer.body) == (304, '"a"', b"")
        assert (client.get("/204").status, client.get("/204").body) == (204, b"")


@pytest.mark.case(37, 46)
def test_fields_keep_order_and_number_and_any_status_passes(made: Made, version: str) -> None:
    site, origin = made
    fields = [("set-cookie", "a=1"), ("x-e", ""), ("set-cookie", "b=2"), ("vary", "A"), ("vary", "B")]

    def script(exchange: Http2Exchange) -> None:
        exchange.head(599, [*fields, ("retry-after", "7")])
        exchange.data(b"its own", end=True)

    origin.script = script
    answer = site.client(version).get("/", [("x-a", "1"), ("x-b", ""), ("x-a", "2"), ("cookie", "c=1")])
    assert (answer.status, answer.body, answer.value("x-qanat-error")) == (599, b"its own", None)
    for name, values in {"set-cookie": ["a=1", "b=2"], "x-e": [""], "vary": ["A", "B"], "retry-after": ["7"]}.items():
        assert answer.values(name) == values
    request = origin.requests[-1]
    assert (request.values("x-a"), request.values("x-b"), request.values("cookie")) == (["1", "2"], [""], ["c=1"])


@pytest.mark.case(57)
def test_hop_by_hop_fields_do_not_reach_it(made: Made) -> None:
    """They would be malformed there (RFC 9113 8.2.2)."""
    site, origin = made
    origin.script = lambda exchange: exchange.head(200, end=True)
    assert site.h1().get("/", HOP).status == 200
    request = origin.requests[-1]
    gone = {"connection", "x-a", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "proxy-authorization"}
    assert gone & {name for name, _ in request.fields} == set()
    assert (request.value("te"), request.value("cookie")) == ("trailers", "c=1")
    assert request.values("cf-connecting-ip") == ["127.0.0.1"]


@pytest.mark.case(66)
def test_trailers_pass_but_for_those_that_are_fields(made: Made, version: str) -> None:
    site, origin = made

    def script(exchange: Http2Exchange) -> None:
        exchange.body()
        exchange.head(200)
        exchange.data(b"body")
        exchange.trailers([("x-sum", "1"), ("set-cookie", "late=1"), ("cf-ray", "x")])

    origin.script = script
    late = [("x-sum", "5"), ("cf-connecting-ip", "9.9.9.9"), ("authorization", "Basic eDp5")]
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("POST", "/", [("Transfer-Encoding", "chunked"), ("TE", "trailers"), ("Trailer", "x-sum")])
        client.send_chunk(b"hello")
        client.end_chunks(late)
        answer = client.answer("POST")
    else:
        number = client.start("POST", "/", [("te", "trailers"), ("trailer", "x-sum")], end=False)
        client.data(number, b"hello")
        client.trailers(number, late)
        answer = client.answer(number)
    carried = str(site.link) != "cloudflared-quic"
    assert answer.body == b"body"
    assert [(name.lower(), text) for name, text in answer.trailers] == ([("x-sum", "1")] if carried else [])
    assert origin.requests[-1].trailers == ([("x-sum", "5")] if carried else [])
    assert origin.requests[-1].values("cf-connecting-ip") == ["127.0.0.1"]
