"""cases.md 72 and 73: origins whose answers are slightly off, and origins that say much before they answer."""

import pytest

from tests.support.certificates import OriginAuthority
from tests.support.fixtures import every_connector, stock_only
from tests.support.http1 import Answer, value
from tests.support.http2 import Http2Exchange, Http2Origin
from tests.support.origin import Exchange
from tests.support.sites import Publisher, Site

OK = b"Content-Length: 2\r\n\r\nok"
TWO = b"2\r\nok\r\n0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

MENDED = {
    "lines that end in LF": b"HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\nok",
    "some lines that end in LF": b"HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 2\r\n\r\nok",
    "a folded field": b"HTTP/1.1 200 OK\r\nX-A:\r\n  b\r\n" + OK,
    "a fold of blanks": b"HTTP/1.1 200 OK\r\nX-A: b\r\n \t\r\n" + OK,
    "a folded length": b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length:\r\n 2\r\n\r\nok",
    "a folded coding": b"HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding:\r\n chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "blanks after a chunk size": CHUNKED.replace(b"\r\n\r\n", b"\r\nX-A: b\r\n\r\n") + b"2  \r\nok\r\n0\t\r\n\r\n",
    "length beside coding": b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\n",
    "an early head with length and coding": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\n" + OK,
    "an equal length again": b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n" + OK,
    "a length with zeros before it": b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 002\r\n\r\nok",
    "a reason in Latin-1": b"HTTP/1.1 200 Non-Autoris\xe9\r\nX-A: b\r\n" + OK,
    "a control byte in the reason": b"HTTP/1.1 200 O\x01K\r\nX-A: b\r\n" + OK,
    "no reason": b"HTTP/1.1 200\r\nX-A: b\r\n" + OK,
    "no reason, but a blank": b"HTTP/1.1 200 \r\nX-A: b\r\n" + OK,
    "blanks before the status": b"HTTP/1.1   200 OK\r\nX-A: b\r\n" + OK,
    "one CR more": b"HTTP/1.1 200 OK\r\r\nX-A: b\r\n" + OK,
    "another minor version": b"HTTP/1.2 200 OK\r\nX-A: b\r\n" + OK,
    "another version": b"HTTP/2.0 200 OK\r\nX-A: b\r\n" + OK,
    "until the end of an old connection": b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nok",
}
"""What a stock connector serves as well."""

OURS = {
    "a blank before a colon": b"HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length \t: 2\r\n\r\nok",
    "a blank before the coding's colon": b"HTTP/1.1 200 OK\r\nX-A\t: b\r\nTransfer-Encoding : chunked\r\n\r\n" + TWO,
    "blanks before an extension": CHUNKED.replace(b"\r\n\r\n", b"\r\nX-A: b\r\n\r\n") + b"2 ;x=y\r\nok\r\n0 ;z\r\n\r\n",
    "a list of equal lengths": b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2, 2\r\n\r\nok",
    "trailers with LF, a fold and a blank": CHUNKED.replace(b"\r\n\r\n", b"\r\nX-A: b\r\n\r\n")
    + b"2\r\nok\r\n0\r\nX-T : 1\n 2\n\n",
}
"""What RFC 9112 lets a recipient mend and a stock connector doesn't."""


def sent(site: Site, raw: bytes, version: str) -> Answer:
    site.origin.sends(raw, then="close" if b"HTTP/1.0" in raw else "keep")
    answer = site.client(version).get("/odd")
    site.origin.answers(body=b"well")
    assert site.client(version).get("/").body == b"well"
    return answer


def check(answer: Answer) -> None:
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.value("x-a") == "b"
    assert len(answer.values("content-length") + answer.values("transfer-encoding")) <= 1, answer.fields


@pytest.mark.case(72)
@every_connector
@pytest.mark.parametrize("name", MENDED)
def test_an_origin_that_is_slightly_off_is_served(site: Site, version: str, name: str) -> None:
    check(sent(site, MENDED[name], version))


@pytest.mark.case(72)
@pytest.mark.parametrize("name", OURS)
def test_what_our_connector_mends_beyond_a_stock_one(site: Site, version: str, name: str) -> None:
    check(sent(site, OURS[name], version))


@pytest.mark.case(72)
def test_a_connection_whose_answer_had_a_length_beside_its_coding_is_not_used_again(site: Site) -> None:
    site.origin.sends(MENDED["length beside coding"])
    client = site.h1()
    for _ in range(3):
        check(client.get("/odd"))
    assert [request.connection.number for request in site.origin.requests] == [0, 1, 2]


@pytest.mark.case(72)
def test_a_folded_field_is_one_line(site: Site, version: str) -> None:
    answer = sent(site, b"HTTP/1.1 200 OK\r\nX-A: b \r\n  c\r\n\td\r\nX Y: z\r\n" + OK, version)
    assert answer.value("x-a") == "b c d"
    assert not [name for name, _ in answer.fields if " " in name]


@pytest.mark.case(72)
@pytest.mark.parametrize("status", [204, 304])
def test_a_bodiless_answer_with_length_and_coding(site: Site, version: str, status: int) -> None:
    """The length goes with the coding; what comes behind is nobody's answer."""
    head = f"HTTP/1.1 {status} X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = sent(site, head + b"5\r\nevil!\r\n0\r\n\r\n", version)
    assert (answer.status, answer.body, answer.value("content-length")) == (status, b"", None)


@pytest.mark.case(72)
@stock_only
def test_a_blank_before_a_colon_by_way_of_a_stock_connector(site: Site, version: str) -> None:
    """It hands on the name as it is: the edge mends it, and leaves out what nobody could take on."""
    answer = sent(site, b"HTTP/1.1 200 OK\r\nX-Sp : v\r\nX Y: w\r\nX-A: b\r\n" + OK, version)
    check(answer)
    assert answer.value("x-sp") == "v"
    assert not [name for name, _ in answer.fields if " " in name]


REFUSED = {
    "a fold before the first field": b"HTTP/1.1 200 OK\r\n X-A: b\r\n" + OK,
    "a bare CR": b"HTTP/1.1 200 OK\r\nX-A: b\rc\r\n" + OK,
    "a NUL": b"HTTP/1.1 200 OK\r\nX-A: b\0c\r\n" + OK,
    "another control byte": b"HTTP/1.1 200 OK\r\nX-A: b\x01c\r\n" + OK,
    "no colon": b"HTTP/1.1 200 OK\r\nnothing\r\n" + OK,
    "no name": b"HTTP/1.1 200 OK\r\n: b\r\n" + OK,
    "a name that is none": b"HTTP/1.1 200 OK\r\nX(a): b\r\n" + OK,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" + OK,
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "an empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "the coding twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + TWO,
    "a lower-case version": b"http/1.1 200 OK\r\n" + OK,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n" + OK,
    "a status below 100": b"HTTP/1.1 099 OK\r\n" + OK,
}


@pytest.mark.case(72)
@every_connector
@pytest.mark.parametrize("name", REFUSED)
def test_what_stays_refused_is_the_origins_fault(site: Site, version: str, name: str) -> None:
    """docs/compatibility.md has the list. A stock connector's text names some of them only as an error."""
    answer = sent(site, REFUSED[name], version)
    assert answer.status == 502
    causes = {"origin_bad_response"} if site.link.kind == "qanat" else {"origin_bad_response", "origin_error"}
    assert answer.value("x-qanat-error") in causes


BROKEN_CHUNKS = {
    "a blank before the size": b" 2\r\nok\r\n0\r\n\r\n",
    "a size that ends in LF": b"2\nok\r\n0\r\n\r\n",
    "data that end in LF": b"2\r\nok\n0\r\n\r\n",
    "seventeen digits": b"00000000000000002\r\nok\r\n0\r\n\r\n",
    "blanks within a size": b"0 2\r\nok\r\n0\r\n\r\n",
}


@pytest.mark.case(72)
@pytest.mark.parametrize("name", BROKEN_CHUNKS)
def test_a_chunk_in_doubt_is_never_a_whole_body(site: Site, version: str, name: str) -> None:
    site.origin.sends(CHUNKED + BROKEN_CHUNKS[name])
    try:
        answer = site.client(version).get("/")
    except Exception as cut:  # the kinds are those of test_semantics_ends
        assert type(cut).__name__ in ("Cut", "Reset", "ConnectionResetError")
    else:
        assert answer.status == 502


# ------------------------------------------------------------------------------------------------- interim heads
@pytest.mark.case(73)
def test_many_interim_heads(site: Site, version: str) -> None:
    """Each reaches the client, then the answer; 100 is nobody's but ours."""

    def script(exchange: Exchange) -> None:
        for n in range(40):
            exchange.head((100, 102, 103)[n % 3], [("X-N", str(n))], "On my way")
        exchange.answer(200, b"page")

    site.origin.script = script
    answer = site.client(version).get()
    assert (answer.status, answer.body) == (200, b"page")
    numbers = [value(fields, "x-n") for _, fields in answer.informational]
    assert numbers == [str(n) for n in range(40) if n % 3]


@pytest.mark.case(73)
@pytest.mark.requirement("S19")
@every_connector
def test_a_stream_of_them_does_not_go_on_for_ever(site: Site, version: str) -> None:
    """Our connector passes them on and cuts thousands, which is the origin's fault; a stock one drops them itself."""

    def script(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 5000)
        exchange.answer(200, b"page")

    site.origin.script = script
    answer = site.client(version).get()
    if site.link.kind == "cloudflared":
        assert (answer.status, answer.body) == (200, b"page")
    else:
        assert answer.status == 502
        assert answer.value("x-qanat-error") == "origin_bad_response"
    site.origin.problems.clear()


@pytest.mark.case(73)
@every_connector
def test_a_large_one_and_an_end_after_one(site: Site, version: str) -> None:
    site.origin.sends(b"HTTP/1.1 103 Early Hints\r\nLink: " + b"a" * 20480 + b"\r\n\r\nHTTP/1.1 200 OK\r\n" + OK)
    assert site.client(version).get().body == b"ok"
    site.origin.sends(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", then="close")
    answer = site.client(version).get()
    assert answer.status == 502
    assert answer.value("x-qanat-error") in ("origin_error", "origin_bad_response")


@pytest.mark.case(73)
@every_connector
def test_interim_heads_of_an_http2_origin(publish: Publisher, authority: OriginAuthority, version: str) -> None:
    """Some are passed on, thousands are cut, and that is the origin's fault too."""

    def script(exchange: Http2Exchange) -> None:
        for n in range(20 if exchange.request.pseudo[":path"] == "/some" else 3000):
            exchange.head(103, [("x-n", str(n))])
        exchange.head(200, [("content-length", "4")])
        exchange.data(b"page", end=True)

    origin = Http2Origin(script, authority.server_context("localhost", "127.0.0.1", alpn=("h2",)))
    try:
        site = publish(origin.service, origin_request={"http2Origin": True, "noTLSVerify": True})
        answer = site.client(version).get("/some")
        assert (answer.status, answer.body) == (200, b"page")
        if site.link.kind == "qanat":
            assert len(answer.informational) == 20
            answer = site.client(version).get("/thousands")
            assert answer.status == 502
            assert answer.value("x-qanat-error") == "origin_bad_response"
        assert site.client(version).get("/some").body == b"page"
    finally:
        origin.close()
