"""security.md S23, S24: what one visitor leaves unread, or an origin of what one visitor sends, stops nobody else's bytes."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hyperframe.frame import SettingsFrame

from tests.support.fixtures import every_connector, quic_only
from tests.support.frames import FrameClient, block, headers, request
from tests.support.http1 import head_bytes
from tests.support.neighbours import ATTACKER, Victim, lab, repeated, unharmed  # noqa: F401
from tests.support.origin import Exchange
from tests.support.sites import Site
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.alone, pytest.mark.requirement("S23", "S24")]

MIB = 1 << 20


# ---------------------------------------------------------------------------------------- downloads unread
class Pouring:
    """An origin's script of 5 MB, and how much of it went out in all."""

    def __init__(self) -> None:
        self.sent = 0
        self._last = (0, 0.0)

    def __call__(self, exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", str(5_000_000))])
        piece = b"x" * 50_000
        for _ in range(100):
            exchange.send(piece)
            self.sent += len(piece)

    def stands(self) -> bool:
        """No more of it goes out: what may be on the way is."""
        if self.sent != self._last[0]:
            self._last = (self.sent, time.monotonic())
        return self.sent > 0 and time.monotonic() - self._last[1] > 0.3


@pytest.mark.case(55)
@every_connector
@pytest.mark.parametrize("streams", [36, 100])
def test_downloads_unread_on_one_http2_connection(site: Site, victim: Victim, streams: int) -> None:
    pour = Pouring()
    site.origin.on("/big", pour)
    address = (site.edge.https, site.hostname, site.edge.ca_file)

    @contextmanager
    def attack() -> Iterator[None]:
        with FrameClient.dial(*address, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}, source=ATTACKER) as client:
            for stream in range(streams):
                client.get(1 + 2 * stream, "/big")
            wait_until(pour.stands, "the downloads to stand still", timeout_s=60.0)
            yield

    unharmed(victim, attack=attack)


@pytest.mark.case(55)
@every_connector
def test_downloads_unread_on_many_http1_connections(site: Site, victim: Victim) -> None:
    pour = Pouring()
    site.origin.on("/big", pour)

    @contextmanager
    def attack() -> Iterator[None]:
        with ExitStack() as stack:
            for _ in range(100):
                client = site.edge.h1(site.hostname, receive_buffer=2048, source=ATTACKER)
                stack.callback(client.close)
                client.start("GET", "/big")
            wait_until(pour.stands, "the downloads to stand still", timeout_s=60.0)
            yield

    unharmed(victim, attack=attack)


@quic_only  # it ends at the edge
def test_fields_that_swell_while_nothing_is_read(site: Site, victim: Victim) -> None:
    """One field of 3 900 bytes, named by single bytes 16 000 times in each of 100 requests whose answers have no window: 62 MB
    a head where it is taken in before it is measured."""
    value = b"v" * 3900
    remembered = b"\x40\x03x-b\x7f\xbd\x1d" + value
    held: list[int] = []

    @contextmanager
    def attack() -> Iterator[None]:
        with FrameClient.dial(
            site.edge.https,
            site.hostname,
            site.edge.ca_file,
            settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0},
            source=ATTACKER,
        ) as client:
            good = block(request(site.hostname, "/small"))
            try:
                client.send(headers(1, good + remembered))
                for stream in range(3, 203, 2):
                    client.send(headers(stream, good + b"\xbe" * 16000))
            except OSError:  # thrown out
                pass
            yield
            held.append(site.edge.process.rss_bytes())

    before = site.edge.process.rss_bytes()
    unharmed(victim, attack=attack)
    grown = max(held) - before
    assert grown < 32 << 20, f"the edge grew by {grown >> 20} MiB"


# ------------------------------------------------------------------------------------------ uploads unread
class Uploader:
    """Sends of a large body what is taken, up to `most` bytes, and waits for no answer."""

    def __init__(self, site: Site, most: int) -> None:
        context = ssl.create_default_context(cafile=str(site.edge.ca_file))
        host, _, port = site.edge.https.rpartition(":")
        plain = socket.create_connection((host, int(port)), 10.0, (ATTACKER, 0))
        self.sock = context.wrap_socket(plain, server_hostname=site.hostname, do_handshake_on_connect=False)
        self.left = most
        try:
            self.sock.do_handshake()
            fields = [("Host", site.hostname), ("Content-Length", str(100_000_000))]
            self.sock.sendall(head_bytes("POST", "/unread", fields))
        except OSError:
            self.sock.close()
            raise
        self.sock.setblocking(False)

    def send(self) -> int:
        """As much as goes without waiting, up to 64 KiB; how much that was."""
        sent = 0
        if self.left > 0:
            try:
                sent = self.sock.send(b"x" * min(self.left, 65536))
            except ssl.SSLWantWriteError:
                pass
            except OSError:  # thrown out
                self.left = sent = 0
        self.left -= sent
        return sent

    def close(self) -> None:
        self.sock.close()


@pytest.mark.case(55)
def test_uploads_that_an_origin_does_not_read(site: Site, victim: Victim) -> None:
    """60 × 100 MB announced, up to 6 MiB sent. The origin's buffer is small, so that the bytes stay on the way. A stock
    connector's windows are its own: it gives its connection's back only as origins read."""
    site.origin.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    gone = threading.Event()

    def unread(exchange: Exchange) -> None:
        exchange.over = True
        gone.wait(30.0)

    site.origin.on("/unread", unread)

    @contextmanager
    def attack() -> Iterator[None]:
        gone.clear()
        uploads = [Uploader(site, 6 * MIB) for _ in range(60)]
        took: list[int] = []

        def send() -> None:
            took.append(sum(upload.send() for upload in uploads))

        try:
            with repeated(send, per_second=50):
                # until nobody takes more of them, or nothing is left to send
                wait_until(lambda: took[-3:] == [0, 0, 0], "the uploads to stand still")
                yield
        finally:
            for upload in uploads:
                upload.close()
            gone.set()

    unharmed(victim, attack=attack)
