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


def share() -> None:
    """From now on, for engines that are made later."""
    make = Engine.__init__

    def made(self: Engine, *args: Any, **more: Any) -> None:
        make(self, *args, **more)
        kind = type(self.dialect)
        self._compiled_cache = _compiled.setdefault(kind, LRUCache(STATEMENTS))

    Engine.__init__ = made  # type: ignore[method-assign]
    DefaultDialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
    DefaultDialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
