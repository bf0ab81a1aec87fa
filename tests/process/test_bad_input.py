"""Hostile tunnels and clients: a clear error, bounded memory, everyone else served on."""

import os
import socket
import ssl
import struct
import threading
import time

import pytest

from tests.support import rpc
from tests.support.connectors import QuicConnector
from tests.support.fixtures import quic_only
from tests.support.sites import Fakes, Site
from tests.support.waiting import wait_until

MIB = 1 << 20

HOSTILE_RPC = {
    "random bytes": os.urandom(4096),
    "four thousand million segments": b"\xff\xff\xff\xff" + b"\0" * 64,
    "a segment of 16 GiB": b"\0\0\0\0\xff\xff\xff\x7f" + b"\0" * 64,
    "an unfinished message": b"\0\0\0\0\x05\0\0\0" + b"\0" * 8,
    "pointer to itself": bytes.fromhex("0000000001000000fcffffff00000100"),
    "pointer out of bounds": bytes.fromhex("0000000002000000fcffffff0100ffff0000000000000000"),
    "amplified list": bytes.fromhex("0000000002000000000000000000010001000000ffffffff"),
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
}


@quic_only  # the site is a bystander
@pytest.mark.parametrize("name", HOSTILE_RPC)
def test_hostile_control_stream_is_refused_and_everybody_else_served(fakes: Fakes, site: Site, name: str) -> None:
    tunnel, _ = fakes.tunnel()
    before = fakes.edge.process.rss_bytes()
    connector = fakes.quic(tunnel, register=False)
    connector.write_control(HOSTILE_RPC[name])
    if name != "an unfinished message":
        connector.wait_ended()
    assert site.get().status == 200
    assert fakes.edge.api.connections(tunnel.id) == []
    assert fakes.edge.process.rss_bytes() - before < 32 * MIB


@quic_only  # the site is a bystander
@pytest.mark.parametrize("name", HOSTILE_RPC)
def test_hostile_answer_on_a_data_stream_is_502(fakes: Fakes, site: Site, name: str) -> None:
    async def handler(stream: object) -> None:
        stream.write(rpc.DATA + HOSTILE_RPC[name], end=True)  # type: ignore[attr-defined]

    tunnel, hostname = fakes.tunnel()
    connector = fakes.quic(tunnel, handler=handler)
    with fakes.edge.h1(hostname) as client:
        answer = client.get()
        assert answer.status == 502
        assert fakes.edge.cause(answer.request_id) in ("tunnel_protocol_error", "response_head_too_large")
        assert site.get().status == 200
        assert client.get("/again").status == 502
    assert connector.protocol.end is None, "one bad stream must not cost the connection"


@pytest.mark.parametrize("raw", [b"\xff" * 6, b"\x0a\x36\xcd\x12\xa1\x3e00", b"", b"\x52\xbb"])
def test_unknown_signature_ends_the_stream_only(fakes: Fakes, raw: bytes) -> None:
    async def handler(stream: object) -> None:
        stream.write(raw, end=True)  # type: ignore[attr-defined]

    tunnel, hostname = fakes.tunnel()
    connector = fakes.quic(tunnel, handler=handler)
    with fakes.edge.h1(hostname) as client:
        answer = client.get()
        assert answer.status == 502
        assert fakes.edge.cause(answer.request_id) == "tunnel_protocol_error"
    assert connector.protocol.end is None


def test_streams_that_a_connector_opens_beside_the_control_stream_are_refused(fakes: Fakes) -> None:
    tunnel, hostname = fakes.tunnel()
    connector = fakes.quic(tunnel)
    for _ in range(20):
        connector.write_raw(b"\xff" * 100)
    with fakes.edge.h1(hostname) as client:
        assert client.get().status == 200
    assert connector.protocol.end is None


@quic_only  # the site is a bystander
def test_head_larger_than_the_limit_is_not_collected(fakes: Fakes, site: Site) -> None:
    """A connector that announces a huge ConnectResponse and keeps sending."""

    async def handler(stream: object) -> None:
        stream.write(rpc.DATA + b"\0\0\0\0" + struct.pack("<I", (64 * MIB) // 8))  # type: ignore[attr-defined]
        for _ in range(64):
            stream.write(b"\0" * MIB)  # type: ignore[attr-defined]

    tunnel, hostname = fakes.tunnel()
    fakes.quic(tunnel, handler=handler)
    before = fakes.edge.process.rss_bytes()
    with fakes.edge.h1(hostname) as client:
        assert client.get().status == 502
    assert site.get().status == 200
    assert fakes.edge.process.rss_bytes() - before < 32 * MIB


@quic_only  # the site is a bystander
def test_many_registrations_that_fail_cost_nothing(fakes: Fakes, site: Site) -> None:
    tunnel, _ = fakes.tunnel()
    wrong = QuicConnector(fakes.edge.tunnel, fakes.edge.ca_file, tunnel.token)
    wrong.close()
    before = fakes.edge.process.rss_bytes()
    token = rpc.Token.parse(tunnel.token)
    import base64
    import json

    bad = base64.b64encode(
        json.dumps({"a": token.account, "t": str(token.tunnel_id), "s": base64.b64encode(b"x" * 32).decode()}).encode()
    ).decode()
    for _ in range(30):
        with pytest.raises(rpc.Refused):
            QuicConnector(fakes.edge.tunnel, fakes.edge.ca_file, bad)
    assert site.get().status == 200
    assert fakes.edge.process.rss_bytes() - before < 32 * MIB


def initial_packets(count: int) -> list[bytes]:
    """First packets of QUIC connections that will never be finished (aioquic builds them; each has its own ids)."""
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection

    packets = []
    for _ in range(count):
        connection = QuicConnection(
            configuration=QuicConfiguration(
                is_client=True, alpn_protocols=["argotunnel"], server_name="quic.cftunnel.com"
            )
        )
        connection.connect(("127.0.0.1", 1), now=0.0)
        packets += [data for data, _ in connection.datagrams_to_send(now=0.0)]
    return packets


@pytest.mark.alone
@pytest.mark.requirement("S26")
@quic_only  # the site is a bystander
def test_flood_of_new_quic_connections_is_bounded_and_others_are_served(fakes: Fakes, site: Site) -> None:
    host, _, port = fakes.edge.tunnel.rpartition(":")
    packets = initial_packets(200)
    before = fakes.edge.process.rss_bytes()
    end = time.monotonic() + 2.5
    sent = [0]

    def flood() -> None:
        n = 0
        while time.monotonic() < end:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for packet in packets[n % 200 : n % 200 + 20]:
                    try:
                        sock.sendto(packet, (host, int(port)))
                        sent[0] += 1
                    except OSError:
                        pass
            n += 20

    thread = threading.Thread(target=flood)
    thread.start()
    slowest = 0.0
    served = 0
    try:
        with fakes.edge.h1(site.hostname) as client:
            while time.monotonic() < end:
                start = time.monotonic()
                assert client.get().status == 200
                slowest = max(slowest, time.monotonic() - start)
                served += 1
    finally:
        thread.join()
    assert sent[0] > 500
    assert served > 20
    assert slowest < 2.0
    assert fakes.edge.process.rss_bytes() - before < 96 * MIB
    tunnel, hostname = fakes.tunnel()
    fakes.quic(tunnel)
    wait_until(lambda: fakes.lab.status(hostname) == 200, "a new connector after the flood")


@pytest.mark.requirement("S26")
def test_edge_answers_no_more_than_three_times_what_it_got(fakes: Fakes) -> None:
    host, _, port = fakes.edge.tunnel.rpartition(":")
    for packet in initial_packets(4):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.3)
            sock.sendto(packet, (host, int(port)))
            got = 0
            try:
                while True:
                    got += len(sock.recv(65536))
            except TimeoutError:
                pass
            assert got <= 3 * len(packet)


@quic_only  # the site is a bystander
def test_tunnel_port_refuses_what_is_no_tunnel(fakes: Fakes, site: Site) -> None:
    host, _, port = fakes.edge.tunnel.rpartition(":")
    address = (host, int(port))
    for raw in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", os.urandom(500), b"\x16\x03\x01\xff\xff"):
        with socket.create_connection(address, 5.0) as sock:
            sock.sendall(raw)
            sock.settimeout(15.0)
            try:
                while sock.recv(4096):
                    pass
            except ConnectionError:
                pass
    context = ssl.create_default_context(cafile=str(fakes.edge.ca_file))
    with socket.create_connection(address, 5.0) as raw_sock:
        with context.wrap_socket(raw_sock, server_hostname="h2.cftunnel.com") as tls:
            tls.settimeout(15.0)
            tls.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
            try:
                while tls.recv(4096):
                    pass
            except (ConnectionError, ssl.SSLError):
                pass
    assert site.get().status == 200


@quic_only  # the site is a bystander
def test_idle_tls_handshakes_do_not_keep_anybody_out(fakes: Fakes, site: Site) -> None:
    host, _, port = fakes.edge.https.rpartition(":")
    idle = [socket.create_connection((host, int(port)), 5.0) for _ in range(200)]
    try:
        assert site.get().status == 200
    finally:
        for sock in idle:
            sock.close()
