"""cases.md 3, 21, 22, 29, 30: streams, cuts, cancels and bodies that aren't there."""

import threading
import time

import pytest

from tests.support.fixtures import every_connector
from tests.support.http1 import Cut, Http1Client
from tests.support.http2 import Reset
from tests.support.origin import Exchange, Gone
from tests.support.sites import Lab, Site
from tests.support.waiting import wait_until


@pytest.mark.case(3)
@every_connector
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("coding", "kind"),
    [(None, "text/event-stream"), ("gzip", "text/event-stream"), (None, "text/event-stream; charset=utf-8")],
)
def test_events_arrive_as_they_are_written(
    site: Site, version: str, method: str, coding: str | None, kind: str
) -> None:
    """The origin writes each when the one before has arrived."""
    written: list[float] = []
    arrived = threading.Semaphore(1)

    def events(exchange: Exchange) -> None:
        exchange.body()
        exchange.head(200, [("Content-Type", kind), ("Transfer-Encoding", "chunked")])
        for n in range(20):
            if not arrived.acquire(timeout=10.0):
                return  # the client's read ends in an error
            written.append(time.monotonic())
            exchange.chunk(b"data: %d\n\n" % n)
        exchange.last_chunk()

    site.origin.script = events
    client = site.client(version)
    fields = [("accept-encoding", coding)] if coding else []
    fields += [("content-length", "0")] if method == "POST" else []
    if isinstance(client, Http1Client):
        client.start(method, "/sse", fields)
        pieces = client.body_of(client.head())
    else:
        number = client.start(method, "/sse", fields)
        client.head(number)
        pieces = iter(client.stream_bytes(number), b"")
    late = []
    for n, piece in enumerate(pieces):
        assert piece == b"data: %d\n\n" % n
        late.append(time.monotonic() - written[n])
        arrived.release()
    assert min(late) < 0.1  # what is held back on purpose is so each time
    assert len(written) == 20


@pytest.mark.case(21)
@every_connector
@pytest.mark.parametrize(
    ("raw", "then"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "reset"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50, "close"),
    ],
    ids=["chunked-reset", "length-closed"],
)
def test_truncated_download_is_an_error_at_the_client_and_in_the_log(
    site: Site, lab: Lab, version: str, raw: bytes, then: str
) -> None:
    site.origin.sends(raw, then=then)
    answered = 0
    for _ in range(3):
        try:
            answer = site.client(version).get()
        except (Cut, Reset, ConnectionResetError) as cut:
            if isinstance(cut, Cut | Reset):
                assert cut.got == b"x" * 50 or cut.got in (b"", b"hello")
        else:  # the reset overtook the head on the tunnel
            assert answer.status == 502
            assert answer.value("x-qanat-error")
            answered += 1
    lines = lab.access_lines(site.hostname, 3)
    cut_lines = [line for line in lines if line["status"] == 200]
    assert len(cut_lines) == 3 - answered
    for line in cut_lines:
        assert (line["cause"], line["bytes_out"]) == ("origin_reset_mid_body", 5 if then == "reset" else 50)


def counted(site: Site, name: str = "client_closed") -> int:
    return int(site.edge.api.call("GET", "/qanat/status")["counters"][name])


def failures(site: Site) -> int:
    """Through its tunnel: what the alarm of the error rate goes by."""
    rows = site.edge.api.call("GET", f"/accounts/{site.edge.api.account}/qanat/traffic?per_page=1000")
    own = [row for row in rows if row["tunnel_id"] == site.tunnelled.tunnel.id]
    assert own
    return sum(row["statuses"][4] + row["edge_made"] + row["cut"] for row in own)


@pytest.mark.case(22)
def test_cancels_are_no_errors(site: Site) -> None:
    def slow(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "1000")])
        try:
            while True:
                exchange.send(b"x")
                time.sleep(0.02)
        except Gone:
            exchange.over = True
            raise

    site.origin.on("/slow", slow)
    assert site.get().status == 200
    mark = site.connector.process.mark()
    canceled, failed = counted(site), (counted(site, "requests_failed"), failures(site))
    files = site.edge.process.open_files(), site.connector.process.open_files()
    for n in range(100):
        with site.edge.h1(site.hostname) as client:
            client.start("GET", "/slow")
            if n % 2:
                client.head()
            else:
                site.origin.wait_requests(n + 2)
            if n % 4:
                client.reset()
    wait_until(lambda: site.origin.open_connections <= 1, "the origin's connections to be closed", timeout_s=1.0 + 4.0)
    assert site.get().status == 200
    bad = [line for line in site.connector.process.since(mark) if " ERR " in line or " WRN " in line or "panic" in line]
    assert bad == []
    wait_until(
        lambda: site.edge.process.open_files() <= files[0] + 2 and site.connector.process.open_files() <= files[1] + 2,
        "files to be closed",
    )
    wait_until(lambda: counted(site) >= canceled + 100, "the cancels to be counted as client_closed")
    assert (counted(site, "requests_failed"), failures(site)) == failed

    def told() -> int:
        return sum(" DBG Request canceled " in line for line in site.connector.process.since(mark))

    wait_until(lambda: told() >= 100, "a line for each")
    assert told() == 100


@pytest.mark.case(29)
@every_connector
@pytest.mark.parametrize(
    ("status", "framing"),
    [(200, "Content-Length: 1048576"), (200, "Transfer-Encoding: chunked"), (401, "Content-Length: 120")],
)
def test_head_is_answered_at_once_with_its_length(site: Site, version: str, status: int, framing: str) -> None:
    site.origin.on("/f", lambda e: e.send(f"HTTP/1.1 {status} X\r\n{framing}\r\n\r\n".encode()))
    client = site.client(version)
    client.get("/warm")
    answer = client.request("HEAD", "/f")
    assert answer.status == status
    if framing.startswith("Content-Length"):
        assert answer.value("content-length") == framing.split()[1]
    assert answer.body == b""
    assert client.get("/next").body == b"hello"


@pytest.mark.case(30)
def test_stray_bodies_never_desync(site: Site, version: str) -> None:
    stray = {
        "/304": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
        "/204": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
    }
    for path, raw in stray.items():
        site.origin.on(path, lambda exchange, raw=raw: exchange.send(raw))  # type: ignore[misc]
    client = site.client(version)
    for n in range(100):
        path = ("/304", "/204")[n % 2]
        answer = client.get(path)
        assert (answer.status, answer.body) == (int(path[1:]), b"")
        if path == "/304":
            assert answer.value("etag") == '"a"'
        site.origin.on("/page", lambda exchange, n=n: exchange.answer(200, b"page %d" % n))  # type: ignore[misc]
        assert client.get("/page").body == b"page %d" % n


@pytest.mark.case(30)
def test_tainted_origin_connection_is_closed(site: Site) -> None:
    ended = threading.Event()

    def tainted(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok")
        exchange.wait_gone()
        ended.set()

    site.origin.on("/204", tainted)
    client = site.h1()
    assert isinstance(client, Http1Client)
    assert client.get("/204").status == 204
    assert ended.wait(5.0), "the connection with unread bytes was kept"
    assert client.get("/next").body == b"hello"
