"""Optimistic versions: a write that names the version it was made for is refused when another one came between."""

from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy.orm import class_mapper

from qanat.errors import QanatError
from qanat.store.models import Base

CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Expected:
    """The versions of which one must be in force. Check within the write: nothing comes between then."""

    versions: frozenset[str]

    def check(self, version: str) -> None:
        """QanatError `version_stale`."""
        if version not in self.versions:
            raise QanatError(
                "version_stale",
                f"it was changed meanwhile: its version is {version} now",
                where="If-Match",
                hint="read it again, and repeat your change on that",
            )


def check_row(expected: Expected | None, row: Base, *fields: str) -> None:
    """QanatError `version_stale`: the row has none of the `row_version`s that a change was made for."""
    if expected is not None:
        expected.check(row_version(row, *fields))


def row_version(row: Base, *fields: str) -> str:
    """A name for what a row holds now, or for some of its fields: other values, other name."""
    names = fields or tuple(column.key for column in class_mapper(type(row)).column_attrs)
    values = repr([(name, getattr(row, name)) for name in sorted(names)])
    return sha256(values.encode("utf-8", "surrogatepass")).hexdigest()[:CHARACTERS]
