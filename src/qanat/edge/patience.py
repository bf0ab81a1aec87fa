"""The control API's connections, each with a time for what it is expected to send, and a bound of them all: uvicorn has neither.

A connection that waits for a request may be closed at any time (RFC 9112 9.3.1), so that at the bound the one that has waited for
longest makes room: whoever holds many idle ones keeps nobody out.
"""

from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections import OrderedDict
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol

from qanat.auth.guesses import network_of

HEAD_S = 10.0
BODY_S = 60.0
ANSWER_STALL_S = 60.0
LAST_S = 0.25
"""When the server stops, for a request of a connection that has none under way: of one that was taken just before the first is on
its way as a rule, of another the next one may be there unread, and a socket that is closed on unread bytes is reset."""


class Crowd:
    """The open connections. Used by one event loop."""

    def __init__(self, most: int) -> None:
        self.is_leaving = False
        """Answers say that their connections close."""
        self._most = most
        self._most_of_one = most * 3 // 4
        self._waiting: OrderedDict[PatientProtocol, str] = OrderedDict()
        self._open: dict[PatientProtocol, str] = {}
        self._of: dict[str, int] = {}

    def join(self, protocol: "PatientProtocol", address: str) -> bool:
        """False: every other one is busy with a request."""
        owner = network_of(address)
        if self._of.get(owner, 0) >= self._most_of_one and not self._make_room(owner):
            return False
        if len(self._open) >= self._most and not self._make_room(None):
            return False
        self._open[protocol] = owner
        self._of[owner] = self._of.get(owner, 0) + 1
        self._waiting[protocol] = owner
        return True

    def _make_room(self, owner: str | None) -> bool:
        longest = next((each for each, whose in self._waiting.items() if owner in (None, whose)), None)
        if longest is None:
            return False
        self.leave(longest)
        longest.transport.abort()
        return True

    def say_goodbye(self) -> None:
        """From now on answers say that their connections close, also those to requests that are under way."""
        self.is_leaving = True
        for each in self._open:
            each.say_goodbye()

    def waits(self, protocol: "PatientProtocol", waits: bool) -> None:
        """Whether it has no request under way."""
        owner = self._open.get(protocol)
        if owner is None:
            return
        if not waits:
            self._waiting.pop(protocol, None)
        elif protocol not in self._waiting:
            self._waiting[protocol] = owner

    def leave(self, protocol: "PatientProtocol") -> None:
        """It has ended."""
        owner = self._open.pop(protocol, None)
        if owner is None:
            return
        self._waiting.pop(protocol, None)
        self._of[owner] -= 1
        if not self._of[owner]:
            del self._of[owner]


class PatientProtocol(H11Protocol):
    """One connection. `crowd` is set by a subclass for each server."""

    crowd: Crowd

    def __init__(
        self, config: Config, server_state: Any, app_state: dict[str, Any], _loop: AbstractEventLoop | None = None
    ):
        super().__init__(config, server_state, app_state, _loop)
        self._expected: object = None
        self._timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Taken, or closed at once."""
        super().connection_made(transport)
        # without an address: the engine's own, which holds the public listener's requests to bounds of their own
        if self.client is None or self.crowd.join(self, self.client[0]):
            self._expect()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its place is free."""
        self._stop_timer()
        self.crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A head or body in parts gets no more time for each part."""
        super().data_received(data)
        if self.crowd.is_leaving:
            self.say_goodbye()
        self._expect()

    def say_goodbye(self) -> None:
        """The answer to what is under way, if its head hasn't left, says that the connection closes."""
        if not self._is_under_way:
            return
        self.cycle.keep_alive = False
        # uvicorn tells only those who have asked for it, and a client that isn't told sends its next request into the end
        if CLOSE_HEADER not in self.cycle.scope["headers"]:
            self.cycle.scope["headers"] = [*self.cycle.scope["headers"], CLOSE_HEADER]

    def shutdown(self) -> None:
        """As uvicorn's own, but for a connection that has no request under way: one may be there unread."""
        self.crowd.is_leaving = True
        if self._is_under_way:
            self.say_goodbye()
            super().shutdown()
        else:
            self.loop.call_later(LAST_S, self._shut_if_idle)

    @property
    def _is_under_way(self) -> bool:
        # uvicorn's annotation hides that there is no cycle before the first request.
        return not getattr(self.cycle, "response_complete", True)

    def _shut_if_idle(self) -> None:
        if not self._is_under_way and not self.transport.is_closing():
            super().shutdown()

    def on_response_complete(self) -> None:
        """The next head may come."""
        super().on_response_complete()
        self._expect()

    def pause_writing(self) -> None:
        """The client must read its answer some time."""
        super().pause_writing()
        self._expect()

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        self._expect()

    def _expect(self) -> None:
        """Starts the time for what is to come when that is something else than before."""
        under_way = self._is_under_way
        if self.flow.write_paused:
            expected, seconds = "reading", ANSWER_STALL_S
        elif self.conn.their_state is h11.SEND_BODY:
            expected, seconds = "body", BODY_S
        elif under_way:
            expected, seconds = "", 0.0
        else:
            expected, seconds = "head", HEAD_S
        self.crowd.waits(self, not under_way)
        if expected == self._expected:
            return
        self._expected = expected
        self._stop_timer()
        if expected and not self.transport.is_closing():
            self._timer = self.loop.call_later(seconds, self._lose_patience)

    def _lose_patience(self) -> None:
        self._timer = None
        self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
