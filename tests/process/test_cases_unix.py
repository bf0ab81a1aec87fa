"""cases.md 48: an origin on a Unix socket is an origin like any other."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import OriginAuthority
from tests.support.fixtures import every_connector
from tests.support.origin import Origin
from tests.support.sites import Link, Publisher, Site
from tests.support.websocket import REQUEST_FIELDS, echo, over_http1

pytestmark = pytest.mark.case(48)


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    return sock


@pytest.fixture(params=["unix:", "unix+tls:"])
def unix_site(
    request: pytest.FixtureRequest, publish: Publisher, authority: OriginAuthority, folder: Path
) -> Iterator[Site]:
    tls = authority.server_context("app.test") if request.param == "unix+tls:" else None
    origin = Origin(listening(folder / "app.sock"), tls=tls)
    yield publish(
        f"{request.param}{folder / 'app.sock'}", origin=origin, origin_request={"noTLSVerify": True} if tls else None
    )
    assert not origin.problems


@every_connector
def test_requests_work_as_over_tcp(unix_site: Site, version: str) -> None:
    client = unix_site.client(version)
    assert client.get("/a?b=c").body == b"hello"
    request = unix_site.origin.last
    assert (request.target, request.value("host")) == ("/a?b=c", unix_site.hostname)
    assert client.request("POST", "/form", body=b"x" * 100_000).status == 200
    assert unix_site.origin.last.body == b"x" * 100_000


@every_connector
def test_websocket_works(unix_site: Site) -> None:
    unix_site.origin.script = echo
    if unix_site.link == Link("cloudflared", "http2"):  # a stock connector can't (docs/compatibility.md)
        client = unix_site.h1()
        client.start("GET", "/ws", REQUEST_FIELDS)
        assert client.answer().status == 502
        return
    ws = over_http1(unix_site.h1())
    ws.text("hello")
    assert ws.message() == "hello"


def test_path_with_a_blank(publish: Publisher, folder: Path) -> None:
    origin = Origin(listening(folder / "my app.sock"))
    assert publish(f"unix:{folder / 'my app.sock'}", origin=origin).get().body == b"hello"


@pytest.mark.parametrize("what", ["missing", "a file"])
def test_no_socket_is_502_and_says_why(publish: Publisher, folder: Path, what: str) -> None:
    path = folder / "gone.sock"
    if what == "a file":
        path.write_text("not a socket")
    site = publish(f"unix:{path}")
    mark = site.connector.process.mark()
    answer = site.get()
    assert answer.status == 502
    assert site.edge.cause(answer.request_id) == "origin_refused"
    line = site.connector.process.wait_for(f"ERR .*{path}", after=mark).string
    assert "No such file" in line or "refused" in line or "ENOENT" in line or "os error" in line


def test_replaced_socket_is_used_from_the_next_request_on(publish: Publisher, folder: Path) -> None:
    path = folder / "app.sock"
    old = Origin(listening(path), script=lambda exchange: exchange.answer(200, b"old"))
    site = publish(f"unix:{path}", origin=old)
    assert site.get().body == b"old"
    path.unlink()
    new = Origin(listening(path), script=lambda exchange: exchange.answer(200, b"new"))
    closer = threading.Thread(target=old.close)
    closer.start()
    closer.join()
    try:
        assert site.get().body == b"new"
    finally:
        new.close()
