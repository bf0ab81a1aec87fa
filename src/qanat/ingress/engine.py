"""This room's door to the engine: patterns and the matching itself are the engine's, so that a preview can't differ
from live traffic."""

from qanat._engine import (
    EngineError,
    IngressTable,
    OriginBounds,
    OriginSettings,
    Rule,
    check_json,
    check_patterns,
    explain,
)

__all__ = [
    "EngineError",
    "IngressTable",
    "OriginBounds",
    "OriginSettings",
    "Rule",
    "check_json",
    "check_patterns",
    "explain",
]
