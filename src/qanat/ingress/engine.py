"""This room's door to the engine: patterns and the matching itself are the engine's, so that a preview can't differ
from live traffic."""

from typing import TYPE_CHECKING

from qanat._engine import (
    EngineError,
    IngressTable,
    OriginBounds,
    Rule,
    check_json,
    check_patterns,
    explain,
)

if TYPE_CHECKING:  # a dict, of which only the stub knows
    from qanat._engine import OriginSettings as OriginSettings
    from qanat._engine import WarpRouting as WarpRouting

__all__ = [
    "EngineError",
    "IngressTable",
    "OriginBounds",
    "Rule",
    "check_json",
    "check_patterns",
    "explain",
]
