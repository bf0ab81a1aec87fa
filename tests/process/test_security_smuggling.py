"""security.md S9, S10, S11 and cases.md 49: one request in is one request out, or a 400 and the end of the connection."""

import json
from dataclasses import dataclass
from pathlib import Path

import h2.errors
import pytest

from tests.support.http1 import Cut, split_head
from tests.support.http2 import Reset
from tests.support.origin import Exchange
from tests.support.sites import Site
from tests.support.websocket import REQUEST_FIELDS

pytestmark = pytest.mark.case(49)

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "http1-heads.json"
MARK = "X-Vector"
NEXT = b"GET /smuggled HTTP/1.1\r\nHost: %s\r\n\r\n"


def sent(site: Site, raw: bytes) -> tuple[list[int], list[str], bool]:
    """The statuses that a client is answered, the targets that reach the origin, whether the edge ended the connection."""
    client = site.h1(timeout_s=3.0)
    statuses: list[int] = []
    closed = False
    try:
        client.send(raw)
        while True:
            answer = client.answer()
            statuses.append(answer.status)
            if answer.status in (400, 505):
                closed = client.ended(within_s=3.0)
                break
            if len(statuses) > 5:
                break
    except (Cut, ConnectionError, OSError):
        closed = not client.is_open(for_s=0.05)
    client.close()
    site.settle()
    return statuses, [request.target for request in site.origin.requests], closed


HEAD = "POST /first HTTP/1.1\r\nHost: {host}\r\n"
REFUSED = {
    # S9
    "length and coding": HEAD + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "coding and length": HEAD + "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
    "coding with a tab": HEAD + "Transfer-Encoding: chunked\t, identity\r\n\r\n0\r\n\r\n",
    "xchunked": HEAD + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, chunked": HEAD + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "identity": HEAD + "Transfer-Encoding: identity\r\n\r\n",
    "empty coding": HEAD + "Transfer-Encoding:\r\n\r\n",
    "coding in HTTP/1.0": "POST /first HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "two equal lengths": HEAD + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": HEAD + "Content-Length: 5, 5\r\n\r\nhello",
    "signed length": HEAD + "Content-Length: +5\r\n\r\nhello",
    "negative length": HEAD + "Content-Length: -5\r\n\r\nhello",
    "hexadecimal length": HEAD + "Content-Length: 0x5\r\n\r\nhello",
    "underscore in length": HEAD + "Content-Length: 1_0\r\n\r\nhellohello",
    "empty length": HEAD + "Content-Length:\r\n\r\n",
    "length beyond 64 bits": HEAD + "Content-Length: 99999999999999999999\r\n\r\nhello",
    # S10
    "space before the colon": HEAD + "Content-Length : 5\r\n\r\nhello",
    "tab before the colon": HEAD + "X-A\t: 5\r\n\r\n",
    "empty name": HEAD + ": 5\r\n\r\n",
    "name with a space": HEAD + "X A: 5\r\n\r\n",
    "name with a bracket": HEAD + "X(A): 5\r\n\r\n",
    "no colon": HEAD + "nothing\r\n\r\n",
    "folded field": HEAD + "X-A: 1\r\n 2\r\n\r\n",
    "folded first field": "GET /first HTTP/1.1\r\n Host: {host}\r\n\r\n",
    "bare LF in the head": "GET /first HTTP/1.1\r\nHost: {host}\nX-A: 1\r\n\r\n",
    "bare LF at the end": "GET /first HTTP/1.1\r\nHost: {host}\r\nX-A: 1\n\n",
    "bare LF after the request line": "GET /first HTTP/1.1\nHost: {host}\r\n\r\n",
    "bare CR in a value": HEAD + "X-A: a\rb\r\n\r\n",
    "bare CR in the line": "GET /first\r HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "NUL in a value": HEAD + "X-A: a\0b\r\n\r\n",
    "NUL in a name": HEAD + "X\0A: b\r\n\r\n",
    "control byte in a value": HEAD + "X-A: a\x01b\r\n\r\n",
    "two spaces in the line": "GET  /first HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "no target": "GET HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "lower-case version": "GET /first http/1.1\r\nHost: {host}\r\n\r\n",
    "version 1.2": "GET /first HTTP/1.2\r\nHost: {host}\r\n\r\n",
    "version 2.0": "GET /first HTTP/2.0\r\nHost: {host}\r\n\r\n",
    "HTTP/0.9": "GET /first\r\n\r\n",
    "control byte in the target": "GET /fi\x01rst HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "no host": "GET /first HTTP/1.1\r\n\r\n",
    "two hosts": "GET /first HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n",
    "empty host": "GET /first HTTP/1.1\r\nHost:\r\n\r\n",
    "host with user": "GET /first HTTP/1.1\r\nHost: me@{host}\r\n\r\n",
    "host with a path": "GET /first HTTP/1.1\r\nHost: {host}/x\r\n\r\n",
    "list of hosts": "GET /first HTTP/1.1\r\nHost: {host}, {host}\r\n\r\n",
}


@pytest.mark.requirement("S9", "S10")
@pytest.mark.parametrize("name", REFUSED)
def test_bad_head_is_400_and_the_end(site: Site, name: str) -> None:
    raw = REFUSED[name].replace("{host}", site.hostname).encode("latin-1") + NEXT % site.hostname.encode()
    statuses, reached, closed = sent(site, raw)
    assert statuses in ([400], [505] if name.startswith("version") else [400]), (statuses, reached)
    assert reached == []
    assert closed


CHUNKED = HEAD + "Transfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = {
    "not hexadecimal": "zz\r\nhello\r\n0\r\n\r\n",
    "sign": "+5\r\nhello\r\n0\r\n\r\n",
    "0x": "0x5\r\nhello\r\n0\r\n\r\n",
    "17 digits": "00000000000000005\r\nhello\r\n0\r\n\r\n",
    "beyond 64 bits": "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "leading space": " 5\r\nhello\r\n0\r\n\r\n",
    "empty size": "\r\nhello\r\n0\r\n\r\n",
    "bare LF after the size": "5\nhello\r\n0\r\n\r\n",
    "LF in an extension": "5;x\nhello\r\n0\r\n\r\n",
    "bare CR in an extension": "5;x\ry\r\nhello\r\n0\r\n\r\n",
    "no CRLF after the data": "5\r\nhello0\r\n\r\n",
    "LF after the data": "5\r\nhello\n0\r\n\r\n",
    "bare LF after the last chunk": "5\r\nhello\r\n0\n\r\n",
    "space in a trailer's name": "5\r\nhello\r\n0\r\nX A: 1\r\n\r\n",
    "folded trailer": "5\r\nhello\r\n0\r\nX-A: 1\r\n 2\r\n\r\n",
    "LF in the trailers": "5\r\nhello\r\n0\r\nX-A: 1\n\r\n",
    "NUL in a trailer": "5\r\nhello\r\n0\r\nX-A: \0\r\n\r\n",
}


@pytest.mark.requirement("S10")
@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunk_never_makes_two_requests(site: Site, name: str) -> None:
    raw = (CHUNKED + BAD_CHUNKS[name]).replace("{host}", site.hostname).encode("latin-1")
    statuses, reached, closed = sent(site, raw + NEXT % site.hostname.encode())
    assert "/smuggled" not in reached
    assert len(reached) <= 1
    assert statuses in ([], [400]), statuses
    assert closed
    for request in site.origin.requests:
        assert not request.body_whole, "the origin took the cut body for a whole one"


@pytest.mark.requirement("S10")
@pytest.mark.parametrize(
    "raw",
    [
        "5;ext=1\r\nhello\r\n0\r\n\r\n",
        '5;a="b;c"\r\nhello\r\n0\r\n\r\n',
        "00000005\r\nhello\r\n000\r\n\r\n",
        "5\r\nhello\r\n0;last\r\nX-Sum: 1\r\n\r\n",
    ],
)
def test_good_chunks_pass(site: Site, raw: str) -> None:
    data = (CHUNKED + raw).replace("{host}", site.hostname).encode()
    client = site.h1()
    client.send(data + NEXT % site.hostname.encode())
    assert client.answer("POST").status == 200
    assert client.answer().status == 200
    assert [request.target for request in site.origin.requests] == ["/first", "/smuggled"]
    assert site.origin.requests[0].body == b"hello"


def vectors() -> list[dict[str, str | int]]:
    found: list[dict[str, str | int]] = json.loads(VECTORS.read_text())["vectors"]
    return found


@dataclass
class Sent:
    """One vector, sent through the whole chain. Its requests carry `mark`, so that none is taken for another vector's,
    however late it reaches the origin."""

    name: str
    mark: str
    refused: bool
    expect: str
    whole: int
    statuses: list[int]
    closed: bool
    failure: str | None = None

    def problem(self, site: Site) -> str | None:
        """What was wrong. Only when everything has settled."""
        if self.failure is not None:
            return self.failure
        reached = [request for request in site.origin.requests if self.mark in request.values(MARK)]
        complete = [request for request in reached if request.body_whole]
        rest = self.statuses[self.whole :]
        if len(complete) > self.whole or len(reached) > self.whole + 1:
            targets = [request.target for request in reached]
            return f"{len(reached)} requests reached the origin ({len(complete)} whole): {targets}"
        if self.refused and not self.closed:
            return f"the connection stayed open after {self.statuses}"
        if self.refused and rest not in ([], [int(self.expect)]):
            return f"answered {self.statuses}"
        if self.refused and not reached and rest == [] and self.whole == 0:
            return "cut without an answer"
        bad = any(status >= 500 or status == 400 for status in self.statuses)
        if not self.refused and (len(self.statuses) != self.whole or bad):
            return f"answered {self.statuses}, {self.whole} good answers were expected"
        return None


def send_vector(site: Site, number: int, vector: dict[str, str | int]) -> Sent | None:
    """Sends one; None when it can't be told apart at this site, and is none that must be refused."""
    text, expect, whole = str(vector["bytes"]), str(vector["expect"]), int(vector["requests"])
    refused = expect.isdigit()
    mark = str(number)
    raw = text.replace("Host: a\r\n", f"Host: {site.hostname}\r\n{MARK}: {mark}\r\n")
    if raw == text or (not refused and text.count("Host: a\r\n") != whole):
        raw = text  # Host is part of what is tested, or stands in a body whose length is announced
        if not refused:
            return None
    client = site.edge.h1(site.hostname, timeout_s=2.0)
    statuses: list[int] = []
    closed = False
    with client:
        try:
            client.send(raw.encode("latin-1"))
            while len(statuses) < whole + refused:
                statuses.append(client.answer().status)
            closed = refused and client.ended(within_s=2.0)
        except (OSError, Cut):
            closed = refused
        except AssertionError as error:
            return Sent(str(vector["name"]), mark, refused, expect, whole, statuses, closed, str(error))
    return Sent(str(vector["name"]), mark, refused, expect, whole, statuses, closed)


@pytest.mark.requirement("S9", "S10")
def test_vectors_through_the_whole_chain(site: Site) -> None:
    """Every vector of the codec (http-garden's list among them): nothing more reaches the origin than the client framed."""
    made = [sent for number, vector in enumerate(vectors()) if (sent := send_vector(site, number, vector))]
    site.settle()
    wrong = {sent.name: problem for sent in made if (problem := sent.problem(site))}
    marks = {sent.mark for sent in made}
    strays = [request.raw_head for request in site.origin.requests if not marks.intersection(request.values(MARK))]
    site.origin.problems.clear()  # cut bodies are meant here
    assert wrong == {}
    assert strays == []


def test_h2_content_length_must_agree(site: Site) -> None:
    client = site.h2(strict=False)
    number = client.start("POST", "/first", [("content-length", "5")], end=False)
    with pytest.raises(Reset) as reset:
        client.h2.send_data(number, b"0123456789", end_stream=True)
        client.flush()
        client.answer(number)
    assert reset.value.code == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert all(not request.body_whole for request in site.origin.requests)


BAD_H2 = {
    "coding": [("transfer-encoding", "chunked")],
    "CR LF in a value": [("x-a", "a\r\nx-b: c")],
    "LF in a value": [("x-a", "a\nb")],
    "NUL in a value": [("x-a", "a\0b")],
    "upper case name": [("X-A", "1")],
    "name with a colon": [("x:a", "1")],
    "name with a space": [("x a", "1")],
    "empty name": [("", "1")],
    "unknown pseudo field": [(":x", "1")],
    "two lengths": [("content-length", "0"), ("content-length", "1")],
    "signed length": [("content-length", "+0")],
}


OF_ONE_STREAM = ("coding", "two lengths", "signed length")


@pytest.mark.requirement("S12", "S57")
@pytest.mark.parametrize("name", BAD_H2)
def test_malformed_http2_fields_end_the_stream(site: Site, name: str) -> None:
    """The stream alone, or the connection: what HTTP/2 has no form for ends it, as RFC 9113 5.4.1 allows."""
    client = site.h2(strict=False)
    number = client.start("GET", "/first", BAD_H2[name])
    with pytest.raises(Reset) as reset:
        client.answer(number)
    told = reset.value.code if name in OF_ONE_STREAM else client.goaway
    assert told == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert site.origin.requests == []


@pytest.mark.case(53)
@pytest.mark.requirement("S4")
def test_h2_host_and_authority_must_agree(site: Site) -> None:
    client = site.h2(strict=False)
    number = client.start("GET", "/", [("host", "other.example.test")])
    assert client.answer(number).status == 400
    assert site.origin.requests == []


# ------------------------------------------------------------------------------------------------ S11
@pytest.mark.requirement("S11")
def test_unread_body_never_becomes_a_request(site: Site) -> None:
    """The origin answers early; what is left of the body looks like a request."""
    smuggled = NEXT % site.hostname.encode()
    body = smuggled * 3

    def early(exchange: Exchange) -> None:
        exchange.head(403, [("Content-Length", "0"), ("Connection", "close")], "No")
        exchange.close()

    site.origin.on("/first", early)
    client = site.h1(timeout_s=3.0)
    head = f"POST /first HTTP/1.1\r\nHost: {site.hostname}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    client.send(head)
    assert client.answer("POST").status == 403
    try:
        client.send(body + b"GET /next HTTP/1.1\r\nHost: " + site.hostname.encode() + b"\r\n\r\n")
        answer = client.answer()
        assert answer.status == 200
    except (OSError, Cut):
        pass
    client.close()
    site.settle()
    assert [r.target for r in site.origin.requests if r.target != "/first"] in ([], ["/next"])


@pytest.mark.requirement("S11")
def test_large_unread_body_closes_the_connection(site: Site) -> None:
    def early(exchange: Exchange) -> None:
        exchange.head(403, [("Content-Length", "0"), ("Connection", "close")], "No")
        exchange.close()

    site.origin.on("/first", early)
    client = site.h1(timeout_s=3.0)
    client.start("POST", "/first", [("Content-Length", str(10 << 20))])
    assert client.answer("POST").status == 403
    with pytest.raises(OSError):
        for _ in range(160):
            client.send(b"x" * 65536)
        client.sock.settimeout(3.0)
        while client.wire.fill():
            pass
        raise ConnectionError("ended")


@pytest.mark.requirement("S11")
def test_bytes_after_an_upgrade_are_opaque_only_after_101(site: Site) -> None:
    """The upgrade is refused with 200: what follows is the next request, strictly read."""
    site.origin.on("/ws", lambda exchange: exchange.answer(200, b"no"))
    client = site.h1(timeout_s=3.0)
    from tests.support.http1 import head_bytes

    upgrade = head_bytes("GET", "/ws", [("Host", site.hostname), *REQUEST_FIELDS])
    client.send(upgrade + b"\x81\x85garbage")
    assert client.answer().status == 200
    try:
        assert client.answer().status == 400
    except (OSError, Cut):
        pass
    assert [request.target for request in site.origin.requests] == ["/ws"]


@pytest.mark.requirement("S11")
def test_refused_100_continue_leaves_no_body_behind(site: Site) -> None:
    site.origin.on("/first", lambda e: e.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"))
    client = site.h1(timeout_s=3.0)
    client.start("POST", "/first", [("Content-Length", "500"), ("Expect", "100-continue")])
    answer = client.answer("POST")
    assert answer.status in (417, 200)
    try:
        client.send(NEXT % site.hostname.encode())
        client.answer()
    except (OSError, Cut):
        pass
    client.close()
    site.settle()
    assert [r.target for r in site.origin.requests if r.target == "/smuggled"] == []


@pytest.mark.requirement("S11")
@pytest.mark.parametrize("expect", ["y 100-continue", "100-continue, 100-continue", "nothing"])
def test_odd_expectations_are_417_or_ignored(site: Site, expect: str) -> None:
    client = site.h1(timeout_s=3.0)
    body = NEXT % site.hostname.encode()
    client.start("POST", "/first", [("Content-Length", str(len(body))), ("Expect", expect)])
    client.send(body)
    assert client.answer("POST").status in (200, 400, 417)
    client.close()
    site.settle()
    assert "/smuggled" not in [request.target for request in site.origin.requests]


@pytest.mark.requirement("S11", "S12")
def test_request_head_is_reserialised_not_copied(site: Site) -> None:
    """S12: white space around a value is the client's, one blank is ours."""
    client = site.h1()
    client.send(f"GET / HTTP/1.1\r\nHost:{site.hostname}\r\nX-A: \t 1 \t \r\n\r\n".encode())
    assert client.answer().status == 200
    raw = site.origin.last.raw_head
    assert b"\t" not in raw
    assert split_head(raw)[1]
