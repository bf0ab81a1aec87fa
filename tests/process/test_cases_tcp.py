"""TCP over WebSocket (cases.md 43): services that aren't HTTP, through every connector alike."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from wsproto.events import BytesMessage, CloseConnection, Pong

from tests.support.fixtures import every_connector
from tests.support.sites import Publisher, Site
from tests.support.tcp import TcpOrigin, echo
from tests.support.waiting import wait_until
from tests.support.websocket import WebSocket, over_http1


@pytest.fixture
def origin() -> Iterator[TcpOrigin]:
    origin = TcpOrigin(echo)
    yield origin
    origin.close()


def received(ws: WebSocket, size: int) -> bytes:
    """So many bytes, in whatever messages."""
    got = b""
    while len(got) < size:
        event = ws.next()
        assert isinstance(event, BytesMessage), event
        got += event.data
    return got


def service(publish: Publisher, name: str, **origin_request: Any) -> Site:
    return publish(name, origin_request=origin_request or None)


@every_connector
def test_bytes_pass_unharmed_in_messages_of_any_size(publish: Publisher, origin: TcpOrigin) -> None:
    ws = over_http1(service(publish, f"ssh://{origin.address}").h1(), "/")
    messages = [bytes([size % 251]) * size for size in (1, 125, 126, 4096, 16_000)]
    for message in messages:
        ws.data(message)
    sent = b"".join(messages)
    assert received(ws, len(sent)) == sent


def test_a_large_message_is_whole_and_a_ping_is_answered(publish: Publisher, origin: TcpOrigin) -> None:
    """A stock connector loses what is above 16 KiB of a message."""
    ws = over_http1(service(publish, f"tcp://{origin.address}").h1(), "/")
    sent = bytes(range(256)) * 400
    ws.data(sent)
    assert received(ws, len(sent)) == sent
    ws.ping(b"there?")
    assert isinstance(ws.next(), Pong)


@pytest.mark.case(43)
def test_what_an_origin_says_after_the_client_has_closed_still_arrives(publish: Publisher, origin: TcpOrigin) -> None:
    """A stock connector ends both directions with the first."""
    ws = over_http1(service(publish, f"tcp://{origin.address}").h1(), "/")
    ws.data(b"0123456")
    ws.close()
    assert received(ws, 11) == b"0123456done"
    assert isinstance(ws.next(), CloseConnection)
    wait_until(lambda: origin.ended == 1, "the origin's connection to end")


@pytest.mark.case(43)
def test_an_origins_end_reaches_a_client_that_says_nothing(publish: Publisher) -> None:
    def bye(connection: socket.socket) -> None:
        connection.sendall(b"bye")

    origin = TcpOrigin(bye)
    try:
        ws = over_http1(service(publish, f"tcp://{origin.address}").h1(), "/")
        assert received(ws, 3) == b"bye"
        event = ws.next()
        assert isinstance(event, CloseConnection) and event.code == 1000
    finally:
        origin.close()


@pytest.mark.case(43)
@every_connector
def test_a_client_that_leaves_leaves_no_connection_behind(publish: Publisher, origin: TcpOrigin) -> None:
    site = service(publish, f"tcp://{origin.address}")
    for _ in range(20):
        client = site.h1()
        ws = over_http1(client, "/")
        ws.data(b"x")
        assert received(ws, 1) == b"x"
        client.close()
    wait_until(lambda: origin.ended == 20, "the origin's connections to end")


@every_connector
def test_a_bastion_leads_where_the_client_says(publish: Publisher, origin: TcpOrigin) -> None:
    for site in (service(publish, "bastion"), service(publish, "http://127.0.0.1:1", bastionMode=True)):
        ws = over_http1(site.h1(), "/", **{"Cf-Access-Jump-Destination": origin.address})
        ws.data(b"hello")
        assert received(ws, 5) == b"hello"
        site.h1().get("/")


@every_connector
def test_a_socks_proxy_leads_where_its_rules_allow(publish: Publisher, origin: TcpOrigin) -> None:
    allowed = [{"prefix": "127.0.0.0/8", "ports": [origin.port], "allow": True}]
    site = service(publish, "socks-proxy", ipRules=allowed)
    connect = b"\x05\x01\x00\x01\x7f\x00\x00\x01"
    for port, answer in ((origin.port, 0), (1, 2)):
        ws = over_http1(site.h1(), "/")
        ws.data(b"\x05\x01\x00")
        assert received(ws, 2) == b"\x05\x00"
        ws.data(connect + port.to_bytes(2, "big"))
        reply = received(ws, 10)
        assert reply[:2] == bytes([5, answer])
        if answer == 0:
            ws.data(b"hello")
            assert received(ws, 5) == b"hello"


@every_connector
def test_proxy_type_socks_leads_to_the_rules_own_origin(publish: Publisher, origin: TcpOrigin) -> None:
    ws = over_http1(service(publish, f"tcp://{origin.address}", proxyType="socks").h1(), "/")
    ws.data(b"\x05\x01\x00")
    assert received(ws, 2) == b"\x05\x00"
    ws.data(b"\x05\x01\x00\x03\x07nowhere\x00\x01")
    assert received(ws, 10)[:2] == b"\x05\x00"
    ws.data(b"hello")
    assert received(ws, 5) == b"hello"


def test_plain_http_is_told_what_is_expected(publish: Publisher, origin: TcpOrigin) -> None:
    answer = service(publish, f"tcp://{origin.address}").get()
    assert (answer.status, b"access tcp" in answer.body) == (400, True)
