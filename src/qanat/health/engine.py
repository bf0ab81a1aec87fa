"""This room's door to the engine."""

from collections.abc import Sequence
from typing import Literal, Protocol

from qanat._engine import EngineError, ProbeAnswered

__all__ = ["EngineError", "ProbeAnswered", "ProbingEngine"]


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
    ) -> None:
        """See `qanat/_engine.pyi`."""
