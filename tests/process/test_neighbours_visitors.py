"""security.md S22, S28, S29: one visitor of a tunnel can't hurt another, however slow, busy or many-handed it is."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.fixtures import quic_only
from tests.support.frames import FrameClient, block, headers, request
from tests.support.neighbours import (  # noqa: F401
    ATTACKER,
    FLOOR_S,
    MOST_SLICES,
    SLICES_S,
    Attacker,
    Round,
    Sample,
    Victim,
    Window,
    lab,
    measured,
    repeated,
    unharmed,
)
from tests.support.sites import Site

pytestmark = [pytest.mark.alone, pytest.mark.requirement("S22", "S28", "S29")]


@pytest.mark.case(55)
@quic_only  # it ends at the edge, so the transport behind it doesn't matter
def test_slow_heads_and_handshakes(site: Site, victim: Victim) -> None:
    """100 heads that come byte by byte, 50 connections whose handshake never begins, 20 that stop in an HTTP/2 preface."""

    @contextmanager
    def attack() -> Iterator[None]:
        with ExitStack() as stack:
            host, _, port = site.edge.https.rpartition(":")
            for _ in range(50):
                silent = socket.create_connection((host, int(port)), 10.0, (ATTACKER, 0))
                stack.callback(silent.close)
            for _ in range(20):
                half = FrameClient.dial(site.edge.https, site.hostname, site.edge.ca_file, start=False, source=ATTACKER)
                stack.callback(half.close)
                half.raw(b"PRI * HT")
            clients = []
            for _ in range(100):
                client = site.edge.h1(site.hostname, source=ATTACKER)
                stack.callback(client.close)
                client.send(b"GET / HTTP/1.1\r\nX: ")
                clients.append(client)

            def drip() -> None:
                for client in clients:
                    client.send(b"x")

            stack.enter_context(repeated(drip, per_second=3))
            yield

    unharmed(victim, attack=attack)


@quic_only  # it ends at the edge, so the transport behind it doesn't matter
def test_many_idle_connections(site: Site, victim: Victim) -> None:
    """As many from one address as it may have and more: the victim still gets new ones from its own."""

    @contextmanager
    def attack() -> Iterator[None]:
        with ExitStack() as stack:
            for number in range(300):
                try:
                    if number % 4:
                        opened = site.edge.h1(site.hostname, source=ATTACKER)
                    else:
                        opened = site.edge.h2(site.hostname, source=ATTACKER)  # type: ignore[assignment]
                except OSError:
                    continue
                stack.callback(opened.close)
            yield

    unharmed(victim, attack=attack)


class Flood:
    """One attacker's connection, opened again when the edge has closed it. `batch` makes the frames of one step from the next
    free stream's number; it takes `streams` of them."""

    def __init__(self, site: Site, batch: Callable[[int, bytes], list[Frame]], streams: int = 0) -> None:
        self.site = site
        self.batch = batch
        self.streams = streams
        self.block = block(request(site.hostname, "/flooded"))
        self.client: FrameClient | None = None
        self.next = 1
        self.opened = 0

    def step(self) -> None:
        if self.client is None:
            self.client = FrameClient.dial(
                self.site.edge.https, self.site.hostname, self.site.edge.ca_file, source=ATTACKER
            )
            self.next = 1
            self.opened += 1
        try:
            self.client.send(*self.batch(self.next, self.block))
            self.client.read(within_s=0.001)
        except OSError:
            self.close()
            raise
        self.next += 2 * self.streams
        if self.client.ended is not None:
            self.close()

    def close(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None


def rapid_resets(stream: int, data: bytes) -> list[Frame]:
    frames: list[Frame] = []
    for number in range(stream, stream + 20, 2):
        frames += [headers(number, data), RstStreamFrame(number, error_code=8)]
    return frames


def made_resets(stream: int, data: bytes) -> list[Frame]:
    """Each request is followed by what the edge must reset it for: a window update of 0 (RFC 9113 6.9)."""
    frames: list[Frame] = []
    for number in range(stream, stream + 20, 2):
        update = ExtensionFrame(8, number, flag_byte=0, body=bytes(4))
        frames += [headers(number, data, "END_HEADERS"), update]
    return frames


def empty_data(stream: int, data: bytes) -> list[Frame]:
    return [headers(stream, data, "END_HEADERS"), *(DataFrame(stream) for _ in range(30))]


def continuations(stream: int, data: bytes) -> list[Frame]:
    return [headers(stream, data, "END_STREAM"), *(ContinuationFrame(stream, data=b"") for _ in range(30))]


@pytest.mark.parametrize("what", ["resets", "made resets"])
def test_resets(site: Site, victim: Victim, what: str) -> None:
    """1 000 requests a second that are reset at once, by the client or by what it makes the edge do (MadeYouReset)."""
    batch = rapid_resets if what == "resets" else made_resets

    @contextmanager
    def attack() -> Iterator[None]:
        floods = [Flood(site, batch, streams=10) for _ in range(2)]
        with ExitStack() as stack:
            for flood in floods:
                stack.callback(flood.close)
            attacker = stack.enter_context(Attacker())
            for flood in floods:
                attacker.repeat(flood.step, per_second=50)
            yield
        assert all(flood.opened for flood in floods)

    unharmed(victim, attack=attack)


@quic_only
def test_floods_of_control_frames(site: Site, victim: Victim) -> None:
    """SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA and CONTINUATION at once, about 600 a second of each. They end at
    the edge, so the transport behind it doesn't matter."""
    kinds: list[tuple[Callable[[int, bytes], list[Frame]], int]] = [
        (lambda _s, _d: [SettingsFrame(0, settings={4: 65535}) for _ in range(30)], 0),
        (lambda _s, _d: [PingFrame(0, opaque_data=b"12345678") for _ in range(30)], 0),
        (lambda s, _d: [PriorityFrame(s + 2, depends_on=0, stream_weight=1) for _ in range(30)], 0),
        (lambda _s, _d: [WindowUpdateFrame(0, window_increment=1) for _ in range(30)], 0),
        (empty_data, 1),
        (continuations, 1),
    ]

    @contextmanager
    def attack() -> Iterator[None]:
        floods = [Flood(site, batch, streams) for batch, streams in kinds]
        with ExitStack() as stack:
            for flood in floods:
                stack.callback(flood.close)
            attacker = stack.enter_context(Attacker())
            for flood in floods:
                attacker.repeat(flood.step, per_second=20)
            yield
        assert all(flood.opened for flood in floods)

    unharmed(victim, attack=attack)


@quic_only  # it ends at the edge, so the transport behind it doesn't matter
def test_connections_that_come_and_go(site: Site, victim: Victim) -> None:
    """30 handshakes a second, each reset as soon as its request is sent."""

    def step() -> None:
        client = site.edge.h1(site.hostname, source=ATTACKER)
        client.start("GET", "/")
        client.reset()

    unharmed(victim, attack=lambda: repeated(step, per_second=30))


# ------------------------------------------------------------------------------------------------ the ruler
@quic_only
def test_the_ruler_sees_a_pause(site: Site, victim: Victim) -> None:
    """Not about the product: a suite that sees no harm must be able to see one."""

    def stop_and_go() -> None:
        site.connector.process.signal(signal.SIGSTOP)
        try:
            time.sleep(0.6)
        finally:
            site.connector.process.signal(signal.SIGCONT)

    @contextmanager
    def pause() -> Iterator[None]:
        timer = threading.Timer(0.5, stop_and_go)
        timer.start()
        yield
        timer.join()

    (seen,) = measured([victim], pause, seconds=2.2)
    assert not seen.good
    assert not seen.attacked.wrong
    assert seen.attacked.worst_s > 0.4


def test_one_failed_request_is_harm_however_fast_the_others_are() -> None:
    fast = [Sample(n / 100, 0.002, 0.001, "") for n in range(300)]
    assert Round("v", Window.of(fast), Window.of(fast)).good
    assert not Round("v", Window.of(fast), Window.of([*fast, Sample(3.0, 0.001, 0.001, "reset")])).good
    slow = [Sample(n / 100, 0.002 if n % 50 else 2 * FLOOR_S, 0.001, "") for n in range(300)]
    assert not Round("v", Window.of(fast), Window.of(slow)).good
    with pytest.raises(AssertionError):
        Window.of(fast[:50])


def test_a_machine_without_a_free_core_is_nobodys_harm_up_to_a_bound() -> None:
    def window(took_s: float, late_s: float) -> Window:
        return Window.of([Sample(n / 100, took_s, late_s, "") for n in range(300)])

    quiet = window(0.002, 0.001)
    assert Round("v", quiet, window(2 * FLOOR_S, 3 * SLICES_S)).good
    assert not Round("v", quiet, window(4 * FLOOR_S, 3 * SLICES_S)).good
    assert not Round("v", quiet, window((MOST_SLICES + 1) * FLOOR_S, 1.0)).good
