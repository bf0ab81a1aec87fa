"""Tickets and first flights (security.md S5, S6): a session belongs to its hostname, and nothing is taken before a handshake."""

import asyncio
import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aioquic.asyncio.client import connect as quic_connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import SessionTicket

from tests.support.edge import Edge, lasting_addresses
from tests.support.fixtures import quic_only
from tests.support.processes import clean_environment
from tests.support.sites import Site


class Client:
    """One TLS connection that keeps its session, and every byte that it sent."""

    def __init__(
        self, address: str, hostname: str, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> None:
        host, _, port = address.rpartition(":")
        self.sent = bytearray()
        self._sock = socket.create_connection((host, int(port)), timeout=10)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_hostname=hostname, session=session)
        try:
            self._run(self._tls.do_handshake)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, act: Any) -> Any:
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._sock.recv(65536)
                if not data:
                    raise ConnectionError("the edge closed") from None
                self._came.write(data)
                continue
            self._flush()
            return result

    def _flush(self) -> None:
        data = self._goes.read()
        self.sent += data
        if data:
            self._sock.sendall(data)

    @property
    def resumed(self) -> bool:
        return bool(self._tls.session_reused)

    @property
    def covers(self) -> set[str]:
        certificate: Any = self._tls.getpeercert()
        return {name for _, name in certificate["subjectAltName"]}

    def get(self, hostname: str, target: str = "/") -> bytes:
        """The answer's first bytes; tickets have come with them."""
        self._run(lambda: self._tls.write(f"GET {target} HTTP/1.1\r\nHost: {hostname}\r\n\r\n".encode()))
        answer: bytes = self._run(lambda: self._tls.read(65536))
        return answer

    def session(self) -> ssl.SSLSession:
        assert self._tls.session is not None
        assert self._tls.session.has_ticket
        return self._tls.session

    def close(self) -> None:
        self._sock.close()


def _context(edge: Edge, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(edge.ca_file))
    context.minimum_version = context.maximum_version = version
    return context


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=["1.3", "1.2"])


@pytest.mark.requirement("S5")
@quic_only
@VERSIONS
def test_a_ticket_is_good_for_its_own_hostname_only(site: Site, version: ssl.TLSVersion) -> None:
    edge, context = site.tunnelled.edge, _context(site.tunnelled.edge, version)
    own = site.hostname
    sibling = f"sibling.{own.partition('.')[2]}"  # under the same certificate
    foreign = f"tickets-{version.name[-1]}.test"
    edge.api.create_zone(foreign)

    def resumes(first: str, second: str) -> tuple[bool, set[str]]:
        with Client(edge.https, first, context) as one:
            one.get(first)
            session = one.session()
        with Client(edge.https, second, context, session) as two:
            return two.resumed, two.covers

    assert resumes(own, own)[0], "else this test shows nothing"
    for other in (sibling, foreign):
        resumed, covers = resumes(own, other)
        assert not resumed, other
        assert other in covers or f"*.{other.partition('.')[2]}" in covers


@pytest.mark.requirement("S5")
@VERSIONS
def test_a_ticket_ends_with_its_certificate(folder: Path, version: ssl.TLSVersion) -> None:
    edge = Edge(folder / "edge", **lasting_addresses())
    try:
        edge.api.create_zone("ticket.test")
        context = _context(edge, version)
        with Client(edge.https, "ticket.test", context) as one:
            one.get("ticket.test")
            session = one.session()
        with Client(edge.https, "ticket.test", context, session) as two:
            assert two.resumed, "else this test shows nothing"
        edge.stop()
        edge.restart()
        with Client(edge.https, "ticket.test", context, session) as three:
            assert not three.resumed
        edge.stop()
        for file in (edge.ca_file, edge.data_dir / "certificates" / "ca.key"):
            file.unlink()
        edge.restart()
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(edge.https, "ticket.test", context, session)
    finally:
        edge.stop()


@pytest.mark.requirement("S6")
@quic_only
@VERSIONS
def test_a_replayed_flight_reaches_the_origin_once(site: Site, version: ssl.TLSVersion) -> None:
    """Every byte of a connection that resumed a session and asked something, sent again by somebody who recorded it."""
    edge, context = site.tunnelled.edge, _context(site.tunnelled.edge, version)
    with Client(edge.https, site.hostname, context) as first:
        first.get(site.hostname)
        session = first.session()
    with Client(edge.https, site.hostname, context, session) as again:
        assert again.resumed
        assert b"200" in again.get(site.hostname, "/once")
        sent = bytes(again.sent)
    host, _, port = edge.https.rpartition(":")
    for _ in range(5):
        with socket.create_connection((host, int(port)), timeout=10) as thief:
            thief.sendall(sent)
            thief.shutdown(socket.SHUT_WR)  # else the edge waits for the rest of a handshake
            thief.settimeout(10)
            try:
                while thief.recv(65536):
                    pass
            except ConnectionError:
                pass
    with site.h1() as client:
        assert client.get("/after").status == 200
    assert [request.target for request in site.origin.requests].count("/once") == 1


@pytest.mark.requirement("S6")
@quic_only
def test_public_tickets_allow_no_early_data(site: Site, folder: Path) -> None:
    edge = site.tunnelled.edge
    kept = folder / "session.pem"
    early = folder / "early"
    early.write_bytes(f"GET /early HTTP/1.1\r\nHost: {site.hostname}\r\n\r\n".encode())
    base = ["openssl", "s_client", "-connect", edge.https, "-servername", site.hostname, "-tls1_3"]
    request = f"GET / HTTP/1.1\r\nHost: {site.hostname}\r\nConnection: close\r\n\r\n"

    def run(*more: str) -> str:
        done = subprocess.run(
            [*base, *more, "-ign_eof"],
            input=request,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=clean_environment(),
        )
        return done.stdout + done.stderr

    assert "Max Early Data: 0" in run("-sess_out", str(kept))
    said = run("-sess_in", str(kept), "-early_data", str(early))
    assert "Reused, TLSv1.3" in said
    assert "Early data was accepted" not in said
    assert "/early" not in [asked.target for asked in site.origin.requests]


def _leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """aioquic's writer of a stream that the edge answers on. Left open, it closes itself whenever Python collects it, in some
    other test, and complains then that the stream was reset."""
    with suppress(RuntimeError):
        writer.close()


@pytest.mark.requirement("S6")
def test_a_connectors_early_data_is_not_taken(edge: Edge) -> None:
    """Over QUIC a ticket may say nothing of early data; a client that sends some all the same is not heard before its
    handshake is done."""
    tickets: list[SessionTicket] = []

    async def dial(ticket: SessionTicket | None) -> tuple[bool, bool]:
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=["argotunnel"], server_name="quic.cftunnel.com", idle_timeout=5.0
        )
        configuration.load_verify_locations(cafile=str(edge.ca_file))
        configuration.session_ticket = ticket
        host, _, port = edge.tunnel.rpartition(":")
        async with quic_connect(
            host,
            int(port),
            configuration=configuration,
            session_ticket_handler=tickets.append,
            stream_handler=_leave,
            wait_connected=ticket is None,
        ) as protocol:
            if ticket is not None:
                protocol._quic.send_stream_data(protocol._quic.get_next_available_stream_id(), b"early")
                protocol.transmit()
                await protocol.wait_connected()
            await protocol.ping()
            for _ in range(100):
                if tickets:
                    break
                await asyncio.sleep(0.02)
            tls = protocol._quic.tls
            return bool(tls.session_resumed), bool(tls.early_data_accepted)

    assert asyncio.run(dial(None)) == (False, False)
    if not tickets:
        return  # no tickets at all: there is nothing to send early data with
    ticket = tickets[0]
    assert not ticket.max_early_data_size
    ticket.max_early_data_size = 0xFFFFFFFF  # as if it had said so
    resumed, accepted = asyncio.run(dial(ticket))
    assert not accepted
    assert resumed, "else this shows nothing"
