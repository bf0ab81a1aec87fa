"""This room's door to the engine: patterns and the matching itself are the engine's, so that a preview can't differ
from live traffic."""

from qanat._engine import EngineError, IngressTable, OriginSettings, Rule, check_pattern

__all__ = ["EngineError", "IngressTable", "OriginSettings", "Rule", "check_pattern"]
