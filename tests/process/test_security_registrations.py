"""security.md S26, S27, S33: connectors that have shown no valid secret, or break QUIC. Each with a second party: a connector of
another tunnel, whose requests and history must not notice."""

import asyncio
import base64
import json
import os
import socket
import sqlite3
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import pytest
from aioquic.asyncio.client import connect as quic_connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnectionId
from aioquic.tls import Epoch

from tests.support import rpc
from tests.support.connectors import Http2Connector, QuicConnector, QuicProtocol
from tests.support.edge import Edge
from tests.support.sites import Fakes
from tests.support.waiting import wait_until

NOBODY = "192.0.2.0/24"
"""As `limits.shared_networks`: loopback is then an address like any other."""


def token_of(token: str, *, tunnel_id: str | None = None, secret: bytes | None = None) -> str:
    fields = json.loads(base64.b64decode(token))
    if tunnel_id is not None:
        fields["t"] = tunnel_id
    if secret is not None:
        fields["s"] = base64.b64encode(secret).decode()
    return base64.b64encode(json.dumps(fields).encode()).decode()


def refusal(edge: Edge, protocol: str, token: str) -> rpc.Refused:
    kind = QuicConnector if protocol == "quic" else Http2Connector
    with pytest.raises(rpc.Refused) as refused:
        kind(edge.tunnel, edge.ca_file, token)
    return refused.value


def refusals(edge: Edge, token: str, dials: int) -> int:
    """Registers for so many tunnels that there aren't, from one thread; how many were refused."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["argotunnel"], server_name="quic.cftunnel.com")
    configuration.load_verify_locations(cafile=str(edge.ca_file))
    host, _, port = edge.tunnel.rpartition(":")
    thread = rpc.LoopThread()

    async def dial() -> bool:
        context = quic_connect(host, int(port), configuration=configuration, create_protocol=QuicProtocol)
        protocol = await context.__aenter__()
        control = protocol.next_stream()  # type: ignore[attr-defined]
        stream, task = await rpc.bridged(control.write, control.more)
        unknown = rpc.Token.parse(token_of(token, tunnel_id=str(uuid.uuid4())))
        try:
            await rpc.register(stream, unknown, connector_id=uuid.uuid4())
        except rpc.Refused:
            return True
        finally:
            task.cancel()
            protocol.close()
            ends.append(protocol.wait_closed())
        return False

    async def all_of_them() -> int:
        refused = 0
        for _ in range(dials // 15):
            refused += sum(await asyncio.gather(*(dial() for _ in range(15))))
        await asyncio.gather(*ends)
        return refused

    ends: list[Any] = []
    try:
        return thread.call(all_of_them(), timeout_s=60.0)
    finally:
        thread.stop()


def events_of(edge: Edge) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{edge.data_dir / 'qanat.db'}?mode=ro", uri=True)) as database:
        return list(database.execute("select tunnel_id, kind from events"))


@contextmanager
def served(folder: Path, **flags: str) -> Iterator[tuple[Edge, str, str]]:
    """An edge, a hostname that is served, and its tunnel's token."""
    edge = Edge(folder / "edge", **flags)
    try:
        tunnel = edge.api.create_tunnel("victim")
        edge.api.publish(edge.api.create_zone("example.test"), "app.example.test", tunnel.id)
        with QuicConnector(edge.tunnel, edge.ca_file, tunnel.token):
            wait_until(lambda: is_served(edge), "the site is served")
            yield edge, "app.example.test", tunnel.token
    finally:
        edge.stop()


def is_served(edge: Edge) -> bool:
    try:
        with edge.h1("app.example.test") as client:
            return client.get().status == 200
    except (OSError, ssl.SSLError):
        return False


@pytest.mark.requirement("S33")
@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_an_unknown_tunnel_and_a_wrong_secret_are_told_alike(fakes: Fakes, protocol: str) -> None:
    tunnel, _ = fakes.tunnel()
    unknown = str(uuid.uuid4())
    wrong = refusal(fakes.edge, protocol, token_of(tunnel.token, secret=b"x" * 32))
    nobody = refusal(fakes.edge, protocol, token_of(tunnel.token, tunnel_id=unknown))
    assert nobody.cause.replace(unknown, tunnel.id) == wrong.cause
    assert (nobody.should_retry, nobody.retry_after_s) == (wrong.should_retry, wrong.retry_after_s) == (True, 30.0)


@pytest.mark.requirement("S33")
def test_registrations_without_a_secret_leave_no_rows_and_few_lines(folder: Path) -> None:
    with served(folder) as (edge, _, token):
        before = wait_until(lambda: events_of(edge), "the victim's own history")
        mark = edge.process.mark()
        size = len(edge.process.log())
        refused = refusals(edge, token, 150)
        assert is_served(edge)
        lines = [line for line in edge.process.since(mark) if "registration refused" in line]
        assert len(lines) <= 60 < refused == 150
        assert len(edge.process.log()) - size < 60_000
        # A refusal that belongs to a tunnel is told, and after it nothing else is waited for.
        refusal(edge, "quic", token_of(token, secret=b"x" * 32))
        wait_until(lambda: len(events_of(edge)) > len(before), "the refusal in the tunnel's history")
        tunnel_id = str(rpc.Token.parse(token).tunnel_id)
        assert events_of(edge) == [*before, (tunnel_id, "refused")]


@pytest.mark.requirement("S33")
def test_failures_make_an_address_wait_ever_longer_but_not_who_has_the_secret(folder: Path) -> None:
    with served(folder, limits_shared_networks=NOBODY) as (edge, _, token):
        waits = [refusal(edge, "http2", token_of(token, secret=b"x" * 32)).retry_after_s for _ in range(7)]
        assert waits == [30, 30, 30, 30, 60, 120, 240]
        with QuicConnector(edge.tunnel, edge.ca_file, token) as connector:
            assert connector.registered is not None
        assert is_served(edge)


# ------------------------------------------------------------------------------------------------ memory before a secret
def pour_http2(edge: Edge, seconds: float) -> None:
    """Takes the control stream and sends on it, and beside it, until the edge has had enough."""
    context = ssl.create_default_context(cafile=str(edge.ca_file))
    host, _, port = edge.tunnel.rpartition(":")
    end = time.monotonic() + seconds
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    with (
        socket.create_connection((host, int(port)), 5.0) as plain,
        context.wrap_socket(plain, server_hostname="h2.cftunnel.com") as sock,
    ):
        connection.initiate_connection()
        sock.sendall(connection.data_to_send())
        sock.settimeout(0.2)
        stream = None
        try:
            while time.monotonic() < end:
                try:
                    data = sock.recv(65536)
                    if not data:
                        return
                    for event in connection.receive_data(data):
                        if type(event).__name__ == "RequestReceived":
                            stream = event.stream_id  # type: ignore[attr-defined]
                            connection.send_headers(stream, [(":status", "200")])
                            connection.send_data(stream, bytes([0, 0, 0, 0, 0, 32, 0, 0]))
                except TimeoutError:
                    pass
                while stream is not None and connection.local_flow_control_window(stream) > 0:
                    room = min(connection.local_flow_control_window(stream), 16384)
                    connection.send_data(stream, bytes(room))
                    sock.sendall(connection.data_to_send())
                sock.sendall(connection.data_to_send())
        except OSError:
            return


@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_connections_without_a_secret_take_little_memory(folder: Path, protocol: str) -> None:
    """20 that send all that they are let, 8 MiB each if they could: it was 288 MiB."""
    with served(folder) as (edge, _, token), ExitStack() as stack:
        for _ in range(3):
            assert is_served(edge)
        before = edge.process.rss_bytes()
        worst = before
        threads = []
        if protocol == "http2":
            threads = [threading.Thread(target=pour_http2, args=(edge, 4.0)) for _ in range(20)]
            for thread in threads:
                thread.start()
        else:
            for _ in range(20):
                attacker = QuicConnector(edge.tunnel, edge.ca_file, token, register=False)
                stack.callback(attacker.close)
                attacker.write_control(bytes([0, 0, 0, 0, 0, 32, 0, 0]) + bytes(2 << 20))
        end = time.monotonic() + 4.0
        while time.monotonic() < end:
            worst = max(worst, edge.process.rss_bytes())
            assert is_served(edge)
        with Http2Connector(edge.tunnel, edge.ca_file, token) as another:
            assert another.registered is not None, "somebody with a secret registers meanwhile"
        for thread in threads:
            thread.join()
        grown = (worst - before) / (1 << 20)
        print(f"{protocol}: RSS grew by {grown:.1f} MiB")
        assert grown < 32


# ------------------------------------------------------------------------------------------------ S27
@contextmanager
def attacker(fakes: Fakes) -> Iterator[tuple[QuicConnector, Any]]:
    tunnel, _ = fakes.tunnel()
    with QuicConnector(fakes.edge.tunnel, fakes.edge.ca_file, tunnel.token) as connector:
        yield connector, connector.protocol._quic


@pytest.fixture
def second(fakes: Fakes) -> Iterator[None]:
    """Another tunnel that is served before and after."""
    tunnel, hostname = fakes.tunnel()
    fakes.quic(tunnel)

    def served() -> bool:
        with fakes.edge.h1(hostname) as client:
            return client.get().status == 200

    wait_until(served, "the second party is served")
    yield
    assert served()


@pytest.mark.requirement("S27")
def test_an_acknowledgement_of_what_was_never_sent_ends_the_connection(fakes: Fakes, second: None) -> None:
    with attacker(fakes) as (connector, quic):

        async def lie() -> None:
            space = quic._spaces[Epoch.ONE_RTT]
            space.ack_queue.add(1_000_000, 1_000_001)
            space.ack_at = 0.0
            quic.send_ping(1)
            connector.protocol.transmit()

        connector.call(lie())
        assert connector.wait_ended().error_code == 0x0A, "PROTOCOL_VIOLATION"


@pytest.mark.requirement("S27")
def test_more_connection_ids_than_allowed_end_the_connection(fakes: Fakes, second: None) -> None:
    with attacker(fakes) as (connector, quic):
        assert quic._remote_active_connection_id_limit <= 8

        async def hoard() -> None:
            for number in range(100, 110):
                quic._host_cids.append(
                    QuicConnectionId(cid=os.urandom(8), sequence_number=number, stateless_reset_token=os.urandom(16))
                )
            quic.send_ping(1)
            connector.protocol.transmit()

        connector.call(hoard())
        assert connector.wait_ended().error_code in (0x09, 0x0A)


@pytest.mark.requirement("S27")
def test_the_edge_gives_out_at_most_eight_ids_and_skips_packet_numbers(fakes: Fakes, second: None) -> None:
    """A peer that acknowledges what it has not received meets a number that was never used."""
    with attacker(fakes) as (connector, quic):
        space = quic._spaces[Epoch.ONE_RTT]
        came: set[int] = set()
        add = space.ack_queue.add

        def note(start: int, stop: int | None = None) -> None:
            came.update(range(start, stop or start + 1))
            add(start, stop)

        space.ack_queue.add = note

        async def ping() -> None:
            for number in range(20):
                quic.send_ping(number)
                connector.protocol.transmit()

        def skipped() -> bool:
            connector.call(ping())
            return len(came) > 100 and len(came) < max(came) - min(came) + 1

        wait_until(skipped, "a number that was left out")
        assert 1 + len(quic._peer_cid_available) <= 8


@pytest.mark.requirement("S27")
def test_an_unanswered_move_is_challenged_once_for_each_path(fakes: Fakes, second: None) -> None:
    """The client goes on from another port, as after a new NAT binding, and never proves that it is there."""
    with attacker(fakes) as (connector, quic):
        challenges: list[bytes] = []
        handlers = quic._QuicConnection__frame_handlers
        handlers[0x1A] = (lambda _context, _kind, buf: challenges.append(buf.pull_bytes(8)), handlers[0x1A][1])

        async def move() -> asyncio.DatagramTransport:
            loop = asyncio.get_running_loop()
            return (await loop.create_datagram_endpoint(lambda: connector.protocol, local_addr=("::", 0)))[0]

        async def back(moved: asyncio.DatagramTransport) -> None:
            connector.protocol._transport = before
            moved.close()

        before = connector.protocol._transport

        async def ping() -> None:
            for number in range(10):
                quic.send_ping(number)
                connector.protocol.transmit()

        moved = connector.call(move())

        def is_challenged() -> bool:
            connector.call(ping())
            return bool(challenges)

        try:
            wait_until(is_challenged, "a challenge")
            for _ in range(20):
                connector.call(ping())
        finally:
            connector.call(back(moved))
        assert len(set(challenges)) <= 2, "one for the new path, one for the old"
