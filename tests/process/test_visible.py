"""What a visitor and an owner see of an edge: pages, ids, what a zone says of itself, the access log, and a failure's hops."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Tunnel
from tests.support.connectors import QuicConnector
from tests.support.edge import Edge
from tests.support.http1 import Answer
from tests.support.waiting import wait_until

HOST, DARK = "app.example.test", "dark.example.test"


class World:
    """An edge with a log, a hostname that is served, and one whose tunnel has no connection."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "access.log"
        self.edge = Edge(folder / "edge", access_log_to=str(self.log))
        self.tunnel: Tunnel = self.edge.api.create_tunnel("site")
        self.dark: Tunnel = self.edge.api.create_tunnel("dark")
        self.zone = self.edge.api.create_zone("example.test")
        self.edge.api.publish(self.zone, HOST, self.tunnel.id)
        self.edge.api.publish(self.zone, DARK, self.dark.id)

    def get(self, hostname: str, target: str = "/", *fields: tuple[str, str]) -> Answer:
        with self.edge.h1(hostname) as client:
            return client.get(target, list(fields))

    def line(self, request_id: str) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            lines = map(json.loads, self.log.read_text().splitlines())
            return next((line for line in lines if line["request_id"] == request_id), None)

        return wait_until(find, f"the line of {request_id}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("visible"))
    try:
        with QuicConnector(world.edge.tunnel, world.edge.ca_file, world.tunnel.token):
            wait_until(lambda: world.get(HOST).status == 200, "the site is served")
            yield world
    finally:
        world.edge.stop()


def test_every_answer_has_the_id_that_its_line_has(world: World) -> None:
    answer = world.get(HOST, "/a?token=s3cret&page=2", ("user-agent", "tests"), ("referer", "https://x.test/?k=s3cret"))
    line = world.line(answer.request_id)
    assert (answer.status, line["status"]) == (200, 200)
    assert (line["host"], line["path"], line["query"]) == (HOST, "/a", "token=*&page=*")
    assert (line["method"], line["scheme"], line["user_agent"]) == ("GET", "https", "tests")
    assert (line["tunnel_id"], line["node"]) == (world.tunnel.id, "default")
    assert 0 <= line["queue_s"] <= line["duration_s"]
    assert line["bytes_out"] == len(answer.body)
    assert "s3cret" not in world.log.read_text()
    with world.edge.plain(HOST) as client:
        redirected = client.get("/")
    assert redirected.status == 308
    assert world.line(redirected.request_id)["scheme"] == "http"


def test_a_failure_is_drawn_logged_and_explained_hop_by_hop(world: World) -> None:
    page = world.get(DARK, "/x?token=s3cret", ("accept", "text/html"))
    assert page.status == 530
    assert '<li class="broken">' in page.text
    assert page.request_id in page.text
    assert world.line(page.request_id)["cause"] == "no_connection"
    assert world.edge.cause(page.request_id) == "no_connection"
    facts = world.edge.api.request_facts(page.request_id)
    assert [hop["hop"] for hop in facts["hops"]] == ["edge"]
    assert facts["hops"][-1]["what"].startswith("no_connection")
    plain = world.get(DARK, "/", ("accept", "text/plain"))
    assert (plain.value("content-type") or "").startswith("text/plain")
    assert "error 1033" in plain.text


LINE = f"Host: {HOST}\r\n"
MANY = "x: y\r\n" * 5000
HEADS = {
    "served": (200, 308, f"GET / HTTP/1.1\r\n{LINE}\r\n"),
    "served to HTTP/1.0": (200, 308, f"GET / HTTP/1.0\r\n{LINE}\r\n"),
    "no host": (400, 400, "GET / HTTP/1.1\r\n\r\n"),
    "no head": (400, 400, "\x01\x02\x03\r\n\r\n"),
    "bad field": (400, 400, f"GET / HTTP/1.1\r\n{LINE}no colon\r\n\r\n"),
    "two lengths": (400, 400, f"POST / HTTP/1.1\r\n{LINE}Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    "another version": (505, 505, f"GET / HTTP/3.0\r\n{LINE}\r\n"),
    "a tunnel to elsewhere": (405, 405, f"CONNECT x:1 HTTP/1.1\r\n{LINE}\r\n"),
    "a long target": (414, 414, f"GET /{'x' * 70_000} HTTP/1.1\r\n{LINE}\r\n"),
    "many fields": (431, 431, f"GET / HTTP/1.1\r\n{LINE}{MANY}\r\n"),
    "an expectation": (417, 417, f"POST / HTTP/1.1\r\n{LINE}Expect: more\r\nContent-Length: 1\r\n\r\n"),
    "another coding": (400, 400, f"POST / HTTP/1.1\r\n{LINE}Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "an unknown host": (421, 404, "GET / HTTP/1.1\r\nHost: nobody.other.test\r\n\r\n"),
    "no connection": (530, 308, f"GET / HTTP/1.1\r\nHost: {DARK}\r\n\r\n"),
    "the server itself": (200, 308, f"OPTIONS * HTTP/1.1\r\n{LINE}\r\n"),
    "a challenge": (421, 404, "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: nobody.other.test\r\n\r\n"),
}
"""The status by HTTPS, that by plain HTTP, and what is sent."""


def test_every_kind_of_answer_has_an_id_of_its_own(world: World) -> None:
    ids = []
    for what, (*statuses, head) in HEADS.items():
        for status, connect in zip(statuses, (world.edge.h1, world.edge.plain), strict=True):
            with connect(HOST) as client:
                client.send(head.encode("latin-1"))
                answer = client.answer()
            assert (what, answer.status) == (what, status)
            ids.append(answer.request_id)
    for hostname, status in ((HOST, 200), (DARK, 530)):
        with world.edge.h2(hostname) as modern:
            answer = modern.get("/")
        assert answer.status == status
        ids.append(answer.request_id)
    assert len(set(ids)) == len(ids)


def test_what_a_zone_says_of_itself_holds_for_its_hostnames_at_once(world: World) -> None:
    api, zone = world.edge.api, world.zone
    hsts = {"enabled": True, "max_age": 600, "include_subdomains": False, "preload": False, "nosniff": True}
    api.call("PATCH", f"/zones/{zone}/settings/security_header", {"value": {"strict_transport_security": hsts}})
    api.call("PATCH", f"/zones/{zone}/settings/always_use_https", {"value": "off"})
    api.call("PUT", f"/qanat/zones/{zone}/error-pages/1000_errors", {"content": "<b>ours ::RAY_ID::</b>"})
    for hostname, status in ((HOST, 200), (DARK, 530)):
        answer = world.get(hostname)
        assert answer.status == status
        assert answer.value("strict-transport-security") == "max-age=600"
        assert answer.value("x-content-type-options") == "nosniff"
    assert answer.text == f"<b>ours {answer.request_id}</b>"
    assert world.get(DARK, "/", ("accept", "application/json")).text.startswith("{")
    with world.edge.plain(HOST) as client:
        served = client.get("/")
    assert (served.status, served.value("strict-transport-security")) == (200, None)
    api.call("PATCH", f"/zones/{zone}/settings/always_use_https", {"value": "on"})
    with world.edge.plain(HOST) as client:
        assert client.get("/").status == 308
    api.call("DELETE", f"/qanat/zones/{zone}/error-pages/1000_errors")
    assert "ours" not in world.get(DARK).text


def test_a_failure_is_found_after_a_restart(world: World) -> None:
    """The last test of this edge."""
    answer = world.get(DARK)
    assert world.edge.cause(answer.request_id) == "no_connection"
    world.edge.stop()
    world.edge.restart()
    facts = world.edge.api.request_facts(answer.request_id)
    assert (facts["cause"], facts["hostname"]) == ("no_connection", DARK)
    assert facts["hops"]
