"""`/logs`: a WebSocket by which somebody follows the log (RFC 6455; messages and close codes as stock's). One thread a viewer,
which sleeps until there is a line, a message or a ping to send."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from random import random
from typing import Literal

import msgspec
from msgspec import Struct
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from qanat import structs
from qanat.connector.management.viewers import EVENTS, RANKS, Filters, Viewer, Viewers, encoded

INVALID_COMMAND = (4001, "expected start streaming as first event")
TOO_MANY = (4002, "limit exceeded for streaming sessions")
IDLE = (4003, "session was idle for too long")
UNSUPPORTED = (1003, "invalid message type was provided")

ENDED = (1000, "context closed")

PING_S = 15.0
IDLE_S = 300.0
"""Without streaming."""
GOODBYE_S = 2.0
"""For the viewer's half of a close."""
LINES_AT_ONCE = 50
LOOK_S = 1.0
"""Between two looks at what was never told."""
LARGEST_MESSAGE = 64 * 1024
MOST_UNSENT = 256 * 1024
"""Bytes; above it nothing is read of a viewer that asks and takes no answer."""

Clock = Callable[[], float]


class _Wanted(Struct):
    events: tuple[Literal["cloudflared", "http", "tcp", "udp"], ...] | None = None
    level: Literal["debug", "info", "warn", "error"] | None = None
    sampling: float | None = None

    def filters(self) -> Filters:
        """As stock reads them: a share of 0, or above 1, is all."""
        share = min(max(self.sampling or 0.0, 0.0), 1.0)
        return Filters(frozenset(self.events or ()), RANKS[self.level or "debug"], share or 1.0)


class _Message(Struct):
    type: str
    filters: msgspec.Raw = msgspec.Raw(b"null")


def follow(
    connection: socket.socket, received: bytes, viewers: Viewers, owner: str, clock: Clock = time.monotonic
) -> None:
    """Serves the WebSocket whose handshake is in `received`, to its end. `owner`: whose it is; one who comes again takes his own
    place.

    Raises:
        OSError: who asked has left.
    """
    protocol = ServerProtocol(max_size=LARGEST_MESSAGE)
    protocol.receive_data(received)
    asked = protocol.events_received()
    if not asked or not isinstance(asked[0], Request):
        return
    protocol.send_response(protocol.accept(asked[0]))
    for data in protocol.data_to_send():
        connection.sendall(data)
    if protocol.state is State.OPEN:
        with _Session(connection, protocol, viewers, owner, clock) as session:
            session.run()


class _Session:
    """One viewer's connection."""

    def __init__(
        self, connection: socket.socket, protocol: ServerProtocol, viewers: Viewers, owner: str, clock: Clock
    ) -> None:
        self._connection = connection
        self._protocol = protocol
        self._viewers = viewers
        self._owner = owner
        self._clock = clock
        self._viewer: Viewer | None = None
        self._out = bytearray()
        self._message = b""
        self._lost = 0
        self._untold = viewers.untold()
        self._next_look = clock()
        self._awake = threading.Lock()
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._woken, False)
        connection.setblocking(False)

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        with self._awake:
            os.close(self._waker)
            self._waker = -1
        os.close(self._woken)

    def run(self) -> None:
        now = self._clock()
        ping, idle, gone = now + PING_S, now + IDLE_S, now + GOODBYE_S
        poll = select.poll()  # descriptors above 1024 are common here, and select() has none
        poll.register(self._woken, select.POLLIN)
        while self._protocol.state is not State.CLOSED:
            is_open = self._protocol.state is State.OPEN
            if is_open and not self._out:
                self._fill()
                if self._viewers.ended or (self._viewer is not None and self._viewer.ended):
                    self._close(ENDED)
            self._out += b"".join(self._protocol.data_to_send())
            if self._protocol.close_rcvd is not None and not self._out:
                return
            reads = select.POLLIN if len(self._out) < MOST_UNSENT else 0
            poll.register(self._connection, reads | (select.POLLOUT if self._out else 0))
            until = gone if not is_open else ping if self._viewer else min(ping, idle)
            ready = poll.poll(max(0.0, until - self._clock()) * 1000)
            now = self._clock()
            for descriptor, _ in ready:
                if descriptor == self._woken:
                    os.read(self._woken, 4096)
                elif not self._exchange():
                    return
            if is_open and self._protocol.state is not State.OPEN:
                gone = now + GOODBYE_S
            if self._viewer or not is_open:
                idle = now + IDLE_S
            if not is_open and now >= gone:
                return
            if is_open and now >= ping:
                ping = now + PING_S
                if not self._out:  # one that takes nothing needs none
                    self._protocol.send_ping(b"")
            if is_open and now >= idle:
                self._close(IDLE)

    def _exchange(self) -> bool:
        """Moves what can be moved; false when the connection is over."""
        with suppress(BlockingIOError):
            if self._out:
                del self._out[: self._connection.send(self._out)]
        try:
            data = self._connection.recv(65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._read(event)
        return True

    def _read(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.CONT) or self._protocol.state is not State.OPEN:
            if frame.opcode is Opcode.BINARY:
                self._close(UNSUPPORTED)
            return
        self._message = (self._message if frame.opcode is Opcode.CONT else b"") + bytes(frame.data)
        if len(self._message) > LARGEST_MESSAGE:
            self._close(UNSUPPORTED)
        elif frame.fin:
            self._obey(self._message)

    def _obey(self, text: bytes) -> None:
        try:
            message = structs.decode(text, _Message)
        except (msgspec.MsgspecError, ValueError):
            return self._close(UNSUPPORTED)
        if message.type == "stop_streaming":
            return self._stop()
        if message.type != "start_streaming":
            return self._close(UNSUPPORTED)
        try:
            wanted = structs.decode(message.filters, _Wanted | None) or _Wanted()
        except (msgspec.MsgspecError, ValueError):
            return self._close(INVALID_COMMAND)
        if self._viewer:
            return self._viewers.change(self._viewer, wanted.filters())
        viewer = Viewer(wanted.filters(), self._wake, random, self._owner)
        if not self._viewers.add(viewer):
            return self._close(TOO_MANY)
        self._viewer = viewer
        return None

    def _fill(self) -> None:
        """Lines that wait become one message, the number of those that were lost among them."""
        if self._viewer is None:
            return
        lines, lost = self._viewer.take(LINES_AT_ONCE)
        self._viewers.dropped += lost
        if lines:
            lost += self._untold_since()
        if lost:
            self._lost += lost
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            told = f"{lost} log lines were dropped: they came faster than they could be told"
            fields = {"dropped": lost, "droppedInAll": self._lost}
            lines.append(encoded(now, "warn", told, EVENTS[0], fields))
        if lines:
            self._protocol.send_text(b'{"type":"logs","logs":[' + b",".join(lines) + b"]}")

    def _untold_since(self) -> int:
        """Lines about requests that nobody was told of, since the last look."""
        if self._clock() < self._next_look:
            return 0
        self._next_look = self._clock() + LOOK_S
        before, self._untold = self._untold, self._viewers.untold()
        return self._untold - before

    def _wake(self) -> None:
        with self._awake, suppress(OSError):  # it is awake already, or gone
            os.write(self._waker, b"\0")

    def _stop(self) -> None:
        if self._viewer:
            self._viewers.remove(self._viewer)
            self._viewer = None

    def _close(self, why: tuple[int, str]) -> None:
        self._stop()
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(*why)
