"""This room's door to the engine."""

from collections.abc import Sequence
from typing import Literal, Protocol

from qanat._engine import EngineError, ProbeAnswered, Traffic, latency_bounds

__all__ = ["Answered", "EngineError", "ProbeAnswered", "ProbingEngine", "Traffic", "TrafficEngine", "latency_bounds"]


class Answered(Protocol):
    """What is judged of a `ProbeAnswered`."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...
    @property
    def body(self) -> bytes: ...
    @property
    def cause(self) -> str: ...
    @property
    def detail(self) -> str: ...


class TrafficEngine(Protocol):
    """What is read of an edge's traffic."""

    def traffic(self) -> Sequence[Traffic]:
        """See `qanat/_engine.pyi`."""


class ProbingEngine(Protocol):
    """What a probe needs of an edge."""

    def probe(
        self,
        *,
        probe_id: int,
        tunnel_id: str,
        token_id: str | None,
        hostname: str,
        scheme: Literal["http", "https"],
        path: str,
        method: str,
        headers: Sequence[tuple[str, str]],
        timeout_s: float,
        max_body_bytes: int,
        to_connector: bool,
        is_websocket: bool,
    ) -> None:
        """See `qanat/_engine.pyi`."""
