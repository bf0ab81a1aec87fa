"""cases.md 79: an answer that comes before the end of its request's body reaches the client, whoever gives it: an origin, a
service of the connector's own, or the edge itself."""

import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hyperframe.frame import RstStreamFrame, SettingsFrame, WindowUpdateFrame

from tests.support.certificates import OriginAuthority
from tests.support.connector import Protocol
from tests.support.connectors import Http2Stream, QuicStream
from tests.support.edge import Edge
from tests.support.fixtures import every_connector, quic_only
from tests.support.frames import FrameClient, block, headers, request
from tests.support.http1 import Answer, Http1Client
from tests.support.http2 import Http2Exchange, Http2Origin
from tests.support.origin import Exchange
from tests.support.sites import Fakes, Publisher, Site
from tests.support.tls import AnySocket
from tests.support.waiting import wait_until

pytestmark = pytest.mark.case(79)

TIMES = 40
BIG = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
CURL = shutil.which("curl")
with_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")
either_version = pytest.mark.parametrize("curl_version", ["http1.1", "http2"])


def too_large(exchange: Exchange) -> None:
    """Reads 1 KiB, answers and closes, so that what is unread resets its connection."""
    while len(exchange.wire.buffer) < 1024 and exchange.wire.fill():
        pass
    exchange.send(BIG)
    exchange.close()


def curl(site: Site, version: str, upload: Path) -> tuple[int, str]:
    """Exit code and status of one upload that waits for no 100."""
    port = site.edge.https.rpartition(":")[2]
    to = ["--resolve", f"{site.hostname}:{port}:127.0.0.1", f"https://{site.hostname}:{port}/early"]
    how = [f"--{version}", "-H", "Expect:", "--cacert", str(site.edge.ca_file), "--max-time", "30"]
    done = subprocess.run(
        [str(CURL), "-sS", *how, "--data-binary", f"@{upload}", "-o", "/dev/null", "-w", "%{http_code}", *to],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture
def upload(tmp_path: Path) -> Callable[[int], Path]:
    def made(size: int) -> Path:
        path = tmp_path / "upload"
        path.write_bytes(b"x" * size)
        return path

    return made


@with_curl
@every_connector
@either_version
def test_an_origin_that_refuses_an_upload_is_heard(
    site: Site, curl_version: str, upload: Callable[[int], Path]
) -> None:
    """A stock connector may say that its origin could not be reached, as the reset overtakes the answer there."""
    site.origin.on("/early", too_large)
    path = upload(5 << 20)
    seen = Counter(curl(site, curl_version, path) for _ in range(TIMES))
    allowed = {(0, "413"), (0, "502")} if site.link.kind == "cloudflared" else {(0, "413")}
    assert set(seen) <= allowed, seen


@with_curl
@every_connector
@either_version
def test_a_service_that_reads_no_body_is_heard(
    publish: Publisher, curl_version: str, upload: Callable[[int], Path]
) -> None:
    site = publish("http_status:404")
    path = upload(1 << 20)
    seen = Counter(curl(site, curl_version, path) for _ in range(TIMES))
    assert set(seen) == {(0, "404")}, seen


class Sender:
    """Sends a whole body from a thread of its own, as a client does that sends before it reads."""

    def __init__(self, sock: AnySocket, pieces: int, piece: bytes = b"x" * 65536) -> None:
        self.error: OSError | None = None
        self._thread = threading.Thread(target=self._run, args=(sock, pieces, piece), daemon=True)
        self._thread.start()

    def _run(self, sock: AnySocket, pieces: int, piece: bytes) -> None:
        try:
            for _ in range(pieces):
                sock.sendall(piece)
        except OSError as error:
            self.error = error

    def wait(self) -> None:
        self._thread.join(30.0)
        assert not self._thread.is_alive(), "nobody took the rest of the body"
        assert self.error is None, self.error


SIZE = 320 * 65536


def sent_before_read(client: Http1Client, target: str, fields: list[tuple[str, str]] | None = None) -> Answer:
    client.start("POST", target, [("Content-Length", str(SIZE)), *(fields or [])])
    Sender(client.sock, SIZE // 65536).wait()
    return client.answer("POST")


def test_a_client_that_reads_only_when_all_is_sent(site: Site) -> None:
    """20 MiB that nobody wants, and then the answer; the connection stands before the next request."""
    site.origin.on("/early", too_large)
    client = site.h1(timeout_s=30.0)
    answer = sent_before_read(client, "/early")
    assert (answer.status, answer.body) == (413, b"big")
    assert client.get("/").status == 200


@quic_only
@pytest.mark.parametrize("target", ["/early", "/"])
def test_no_reset_overtakes_an_answer_over_http2(site: Site, target: str) -> None:
    """END_STREAM before RST_STREAM(NO_ERROR), and other streams unharmed: the client ends its body in between."""
    site.origin.on("/early", too_large)
    with FrameClient.dial(site.edge.https, site.hostname, site.edge.ca_file, timeout_s=10.0) as client:
        length = 300_000 if target == "/early" else 3
        fields = request(site.hostname, target, "POST", ("content-length", str(length)))
        client.send(headers(1, block(fields), "END_HEADERS"))
        client.frame(0, 0, 1, b"x" * min(length, 16384))
        left = length - min(length, 16384)
        if target == "/early":
            assert client.until(lambda: client.is_over(1))
            assert (client.status(1), client.body(1)) == (413, b"big")
        while left:  # as far as the window goes, which must open again and again
            piece = min(left, 16384)
            sent = length - left
            assert client.until(lambda sent=sent, piece=piece: room(client, 1) >= sent + piece)  # type: ignore[misc]
            client.frame(0, 0, 1, b"x" * piece)
            left -= piece
        client.frame(0, 1, 1)
        assert client.until(lambda: client.is_over(1))
        client.get(3)
        assert client.until(lambda: client.is_over(3))
        assert client.status(3) == 200
        assert client.reset(1) is None, "nothing was left to be reset"
        assert client.goaway is None


def room(client: FrameClient, stream: int) -> int:
    """How much the edge has allowed on a stream in all."""
    start = next((f.settings[4] for f in client.came if isinstance(f, SettingsFrame) and 4 in f.settings), 65535)
    updates = (f for f in client.came if isinstance(f, WindowUpdateFrame) and f.stream_id == stream)
    return start + sum(f.window_increment for f in updates)


@quic_only
def test_a_body_that_never_ends_is_given_up(site: Site) -> None:
    """After the whole answer the stream is reset with NO_ERROR once nothing more of the body comes."""
    site.origin.on("/early", too_large)
    with FrameClient.dial(site.edge.https, site.hostname, site.edge.ca_file, timeout_s=20.0) as client:
        fields = request(site.hostname, "/early", "POST", ("content-length", "50000000"))
        client.send(headers(1, block(fields), "END_HEADERS"))
        client.frame(0, 0, 1, b"x" * 16384)
        assert client.until(lambda: client.status(1) and client.body(1) == b"big")
        assert client.until(lambda: client.reset(1) is not None)
        assert client.reset(1) == 0
        last = [frame for frame in client.came if frame.stream_id == 1][-1]
        assert isinstance(last, RstStreamFrame), "nothing comes behind the reset"


@pytest.mark.case(20)
@every_connector
def test_a_whole_answer_ends_although_its_request_does_not(
    publish: Publisher, authority: OriginAuthority, version: str
) -> None:
    """A stock connector over QUIC ends its stream with the request's body, which an origin over HTTP/2 may never read."""

    def refuse(exchange: Http2Exchange) -> None:
        exchange.head(401, [("content-length", "2")])
        exchange.data(b"no", end=True)

    origin = Http2Origin(refuse, authority.server_context("localhost", "127.0.0.1", alpn=("h2",)))
    try:
        site = publish(origin.service, origin_request={"http2Origin": True, "noTLSVerify": True})
        client = site.client(version)
        fields = [("content-length", str(SIZE)), ("expect", "100-continue")]
        if isinstance(client, Http1Client):
            client.start("POST", "/", fields)
            answer = client.answer("POST")
            assert client.ended()
        else:
            answer = client.answer(client.start("POST", "/", fields, end=False))
            assert client.get("/").status == 401, "the connection goes on"
        assert (answer.status, answer.body) == (401, b"no")
        site_is_quiet(site)
    finally:
        origin.close()


@pytest.mark.case(20)
@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_a_connector_whose_stream_outlasts_its_answer_is_not_waited_for(fakes: Fakes, protocol: Protocol) -> None:
    """Its client would never learn that the answer is whole."""

    async def over_quic(stream: QuicStream) -> None:
        stream.respond(401, [("Content-Length", "2")])
        stream.write(b"no")
        await stream.body()

    async def over_http2(stream: Http2Stream) -> None:
        stream.head(401, [("content-length", "2")])
        stream.write(b"no")
        await stream.body()

    tunnel, hostname = fakes.tunnel()
    fakes.connector(protocol, tunnel, handler=over_quic if protocol == "quic" else over_http2)
    with fakes.edge.h2(hostname) as client:
        answer = client.answer(client.start("POST", "/", [("content-length", str(SIZE))], end=False))
        assert (answer.status, answer.body) == (401, b"no")


def site_is_quiet(site: Site) -> None:
    """Nobody holds on to the request: neither edge nor connector."""
    name = "cloudflared_tunnel_concurrent_requests_per_tunnel"
    wait_until(lambda: site.connector.metric(name) == 0, "the connector to let go of it")
    status = "/qanat/status"
    wait_until(lambda: site.edge.api.call("GET", status)["counters"]["requests_open"] == 0, "the edge to let go of it")


PAGES: dict[str, tuple[bytes, int]] = {
    "unknown hostname": (b"POST / HTTP/1.1\r\nHost: nobody.example.test\r\nContent-Length: %d\r\n\r\n", 404),
    "head too large": (b"POST / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 140_000, 431),
    "too long a target": (b"POST /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", 414),
    "malformed": (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +%d\r\n\r\n", 400),
    "refused method": (b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nContent-Length: %d\r\n\r\n", 405),
    "wrong expectation": (b"POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: %d\r\n\r\n", 417),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_edge_reaches_a_client_that_is_still_sending(edge: Edge, name: str) -> None:
    head, status = PAGES[name]
    with edge.plain("nobody.example.test") as client:
        client.sock.settimeout(30.0)
        client.send(head % SIZE if b"%d" in head else head)
        Sender(client.sock, SIZE // 65536).wait()
        assert client.answer("POST").status == status


def test_a_redirect_reaches_a_client_that_is_still_sending(site: Site) -> None:
    with site.edge.plain(site.hostname) as client:
        client.sock.settimeout(30.0)
        assert sent_before_read(client, "/").status == 308


def never(exchange: Exchange) -> None:
    exchange.wait_gone()


@pytest.mark.parametrize("bad", [b"zz\r\n", b"5\r\nhelloX"])
def test_a_broken_body_is_answered_400_before_the_connection_ends(site: Site, bad: bytes) -> None:
    """It can't be used again: what follows is no request."""
    site.origin.script = never
    client = site.h1()
    client.start("POST", "/", [("Transfer-Encoding", "chunked")])
    client.send_chunk(b"begun")
    client.send(bad + b"GET /second HTTP/1.1\r\nHost: h\r\n\r\n")
    Sender(client.sock, 32).wait()
    assert client.answer("POST").status == 400
    with suppress(OSError):
        client.sock.shutdown(socket.SHUT_WR)
    assert client.ended()
    assert "/second" not in [request.target for request in site.origin.requests]
    site.origin.problems.clear()


def test_an_unsent_body_that_waits_for_100_is_not_waited_for(publish: Publisher, version: str) -> None:
    site = publish("http_status:404")
    client = site.client(version)
    fields = [("content-length", "1000"), ("expect", "100-continue")]
    if isinstance(client, Http1Client):
        client.start("POST", "/", fields)
        answer = client.answer("POST")
        assert (answer.status, answer.informational, answer.value("connection")) == (404, [], "close")
    else:
        number = client.start("POST", "/", fields, end=False)
        assert client.answer(number).status == 404
        assert client.get("/").status == 404
