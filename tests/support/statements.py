"""A statement is compiled once in a test process, not once in each of its thousands of databases.

SQLAlchemy keeps compiled statements with the engine, under a key that names the engine's dialect. That is right for a program
with one database; here it was most of what a test of the API took. The tests' databases of one kind are all alike (one file
format, one server), so their dialects count as one.
"""

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

STATEMENTS = 4000

_compiled: dict[type, LRUCache[Any, Any]] = {}


def _shared(engine: Engine) -> LRUCache[Any, Any]:
    return _compiled.setdefault(type(engine.dialect), LRUCache(STATEMENTS))


def share() -> None:
    """From now on, for engines that are made later."""
    # not by another __init__: create_engine reads that one's arguments to tell whose each is
    Engine._compiled_cache = property(_shared, lambda self, value: None)  # type: ignore[assignment]
    DefaultDialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
    DefaultDialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
