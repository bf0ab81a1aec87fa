"""A stock cloudflared on our edge: serves, is configured, leaves without a failed request, is refused with a reason."""

import base64
import json
import uuid
from pathlib import Path

import pytest

from tests.process.test_lifecycle import Load
from tests.support.api import Tunnel
from tests.support.connector import Connector
from tests.support.fixtures import stock_only
from tests.support.http1 import Cut, Http1Client
from tests.support.http2 import Reset
from tests.support.origin import Exchange, Origin
from tests.support.sites import Fakes, Link, Publisher, Site
from tests.support.waiting import stays_true, wait_until
from tests.support.websocket import REQUEST_FIELDS, echo, over_http1

CATCH_ALL = {"service": "http_status:404"}


@stock_only
def test_serves_a_hostname(site: Site, version: str) -> None:
    client = site.client(version)
    assert client.get("/hello?x=1").body == b"hello"
    assert site.origin.last.target == "/hello?x=1"
    assert client.request("POST", "/form", body=b"y" * 300_000).status == 200
    assert site.origin.last.body == b"y" * 300_000
    big = bytes(range(256)) * 20_000
    site.origin.answers(200, big)
    assert client.get("/big").body == big


@stock_only
def test_serves_a_websocket(site: Site) -> None:
    site.origin.script = echo
    ws = over_http1(site.h1())
    ws.text("hello")
    assert ws.message() == "hello"


@stock_only
def test_an_upgrade_that_the_origin_refuses_is_passed_on(site: Site) -> None:
    site.origin.answers(403, b"no sockets here", [("X-Why", "closed"), ("Content-Type", "text/plain")])
    client = site.h1()
    client.start("GET", "/ws", REQUEST_FIELDS)
    answer = client.answer()
    assert (answer.status, answer.value("x-why"), answer.body) == (403, "closed", b"no sockets here")
    assert site.get().status == 403


@stock_only
def test_serves_an_upload_without_length(site: Site, version: str) -> None:
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("POST", "/", [("Transfer-Encoding", "chunked")])
        client.send_chunk(b"hello")
        client.end_chunks()
        assert client.answer("POST").status == 200
    else:
        number = client.start("POST", "/", end=False)
        client.data(number, b"hello", end=True)
        assert client.answer(number).status == 200
    assert site.origin.last.body == b"hello"


@stock_only
def test_takes_a_pushed_configuration(publish: Publisher) -> None:
    """Publishing waits until the connector's own /config shows the new version."""
    before = publish.tunnelled.connector.version
    site = publish("http_status:418")
    assert site.get().status == 418
    assert site.connector.version > before
    wait_until(
        lambda: site.edge.api.connectors(site.tunnelled.tunnel.id)[0]["config_version"] == site.connector.version,
        "the version in the API",
    )


@stock_only
def test_is_listed_with_all_its_connections(site: Site) -> None:
    api = site.edge.api
    found = api.connectors(site.tunnelled.tunnel.id)
    assert [connector["id"] for connector in found] == [site.connector.connector_id]
    assert len(api.connections(site.tunnelled.tunnel.id)) == 2
    assert "allow_remote_config" in found[0]["features"]


@stock_only
def test_unregisters_without_a_failed_request(fakes: Fakes, folder: Path, link: Link) -> None:
    origin = Origin()
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"hostname": hostname, "service": origin.service}, CATCH_ALL])
    leaving = Connector(folder / "a", fakes.edge, tunnel.token, kind="cloudflared", protocol=link.protocol)
    staying = Connector(folder / "b", fakes.edge, tunnel.token, kind="cloudflared", protocol=link.protocol)
    wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
    load = Load(fakes.edge, hostname)
    try:
        load.wait_more()
        leaving.stop()
        load.wait_more()
    finally:
        load.stop()
        staying.stop()
        origin.close()
    assert load.bad == []


@stock_only
def test_bad_configuration_is_refused_by_the_connector(fakes: Fakes, folder: Path, link: Link) -> None:
    """What our validation lets through and a stock connector doesn't: a CA pool that is no file."""
    tunnel, hostname = fakes.tunnel()
    good = fakes.edge.api.put_configuration(
        tunnel.id, [{"hostname": hostname, "service": "http_status:418"}, CATCH_ALL]
    )
    connector = Connector(folder / "c", fakes.edge, tunnel.token, kind="cloudflared", protocol=link.protocol)
    try:
        connector.wait_version(good)
        mark = fakes.edge.process.mark()
        fakes.edge.api.put_configuration(
            tunnel.id,
            [{"service": "https://127.0.0.1:1", "originRequest": {"caPool": "/nonexistent/ca.pem"}}],
        )
        fakes.edge.process.wait_for("configuration.*refused", after=mark)
        assert connector.version == good
        with fakes.edge.h1(hostname) as client:
            assert client.get().status == 418
    finally:
        connector.stop()


def changed(tunnel: Tunnel, **fields: str) -> str:
    document = json.loads(base64.b64decode(tunnel.token)) | fields
    return base64.b64encode(json.dumps(document).encode()).decode()


@pytest.mark.case(34)
@stock_only
@pytest.mark.parametrize("why", ["wrong_secret", "unknown_tunnel", "deleted_tunnel"])
def test_is_refused_with_a_reason_and_does_not_hammer(fakes: Fakes, folder: Path, link: Link, why: str) -> None:
    tunnel = fakes.edge.api.create_tunnel(f"stock {link.protocol} {why}")
    token = tunnel.token
    if why == "wrong_secret":
        token = changed(tunnel, s=base64.b64encode(b"x" * 32).decode())
    elif why == "unknown_tunnel":
        token = changed(tunnel, t=str(uuid.uuid4()))
    else:
        fakes.edge.api.delete_tunnel(tunnel.id)
    mark = fakes.edge.process.mark()
    connector = Connector(folder / "c", fakes.edge, token, kind="cloudflared", protocol=link.protocol, wait=False)

    def refusals() -> int:
        return sum(why in line for line in fakes.edge.process.since(mark))

    try:
        fakes.edge.process.wait_for(why, after=mark)
        count = refusals()
        stays_true(lambda: refusals() <= count + 1, "it hammers", for_s=3.0)
    finally:
        connector.process.kill()


@stock_only
def test_survives_a_dying_origin(site: Site, version: str) -> None:
    def dying(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "100")])
        exchange.send(b"half")
        exchange.reset()

    site.origin.on("/die", dying)
    for _ in range(10):
        try:
            answer = site.client(version).get("/die")
        except (Cut, Reset, OSError):
            continue
        assert answer.status == 502, "a truncated answer was taken for a whole one"
    assert site.get().status == 200
