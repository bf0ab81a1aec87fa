"""Many rows read at once, so that one that can't be read doesn't take the others along."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute, Session

from qanat.store.lots import in_lots
from qanat.store.skipped import Failure, Kind, LeftOut


def read_rows(
    session: Session, query: Select[*tuple[Any, ...]], key: InstrumentedAttribute[str], kind: Kind, left_out: LeftOut
) -> Sequence[Any]:
    """The query's rows. One that holds what no reader takes (damage, or what a newer version wrote) goes to `left_out` by
    its `key`; a database that fails for another reason raises."""
    try:
        return session.execute(query).all()
    except Exception as error:
        if not _is_of_a_row(error):
            raise
    keys = sorted(session.scalars(query.with_only_columns(key)).all())
    rows: list[Any] = []
    for some in in_lots(keys):
        rows.extend(_some(session, query, key, some, kind, left_out))
    return rows


def _some(
    session: Session,
    query: Select[*tuple[Any, ...]],
    key: InstrumentedAttribute[str],
    keys: Sequence[str],
    kind: Kind,
    left_out: LeftOut,
) -> Sequence[Any]:
    try:
        return session.execute(query.where(key.in_(keys))).all()
    except Exception as error:
        if not _is_of_a_row(error):
            raise
        if len(keys) == 1:
            left_out.add(kind, keys[0], Failure.of(error))
            return []
    half = len(keys) // 2
    return [
        *_some(session, query, key, keys[:half], kind, left_out),
        *_some(session, query, key, keys[half:], kind, left_out),
    ]


def _is_of_a_row(error: Exception) -> bool:
    """A value that SQLite holds and Python doesn't take: a column's converter fails, or a text is no UTF-8."""
    return (
        "Could not decode" in str(error.orig)
        if isinstance(error, DBAPIError)
        else isinstance(error, TypeError | ValueError)
    )
