"""How the connections of connectors are: what changes all the time, and is asked for when somebody looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Protocol

FRESH_S = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """One connection's. `rtt_s`: its round trip in seconds, None before the first is measured; over QUIC the smoothed one of
    packets, over HTTP/2 the shortest of the newest PINGs (the kernel's TCP_INFO would cost none, but ends at whatever stands
    between, such as a proxy: a PING comes back from the connector itself). `key_exchange`: the group of its TLS handshake, such
    as `X25519MLKEM768`; "": it isn't known."""

    rtt_s: float | None
    key_exchange: str


class LinesEngine(Protocol):
    """What is read of an edge's connections."""

    def lines(self) -> Sequence[tuple[str, float | None, str]]:
        """See `qanat/_engine.pyi`."""


class Lines:
    """Of all live connections, by id. The engine is asked once in `fresh_s` seconds at most, however many look."""

    def __init__(self, engine: LinesEngine, *, fresh_s: float = FRESH_S) -> None:
        self._engine = engine
        self._fresh_s = fresh_s
        self._lock = Lock()
        self._asked_at = float("-inf")
        self._lines: Mapping[str, Line] = {}

    def now(self) -> Mapping[str, Line]:
        """As they were a moment ago."""
        with self._lock:
            if monotonic() - self._asked_at >= self._fresh_s:
                self._lines = {each: Line(rtt_s, exchange) for each, rtt_s, exchange in self._engine.lines()}
                self._asked_at = monotonic()
            return self._lines
