"""This room's door to the engine."""

from qanat._engine import RequestFailed, Route, check_json

__all__ = ["RequestFailed", "Route", "check_json"]
