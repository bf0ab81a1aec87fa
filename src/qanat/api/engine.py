"""This room's door to the engine."""

from qanat._engine import check_json

__all__ = ["check_json"]
