"""A zone's records as lists show them: those that hold a text, of a type, proxied or not; and what else stands at a name."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Text, cast, false, or_, select
from sqlalchemy.orm import Session

from qanat.control import records
from qanat.store.models import Record

MOST_BESIDE = 20


def containing(texts: Iterable[str]) -> ColumnElement[bool]:
    """Records with one of these texts anywhere, in either case. An empty one is in none."""
    columns = (Record.name, Record.content, Record.content_key, Record.comment, cast(Record.tags, Text))
    return or_(false(), *(column.icontains(text, autoescape=True) for column in columns for text in texts if text))


def page(
    session: Session,
    zone_id: str,
    *,
    search: str = "",
    kind: str = "",
    proxied: bool | None = None,
    order: str = "name",
    offset: int,
    limit: int,
) -> tuple[list[Record], int]:
    """A page of them, and how many match in all. `kind`: a type; "" and None: any."""
    filters: list[ColumnElement[bool]] = []
    if kind:
        filters.append(Record.type == kind)
    if proxied is not None:
        filters.append(Record.proxied.is_(proxied))
    return records.page(
        session,
        zone_id,
        filters=filters,
        search=containing([search]) if search else None,
        order=order,
        offset=offset,
        limit=limit,
    )


def beside(session: Session, zone_id: str, name: str, *, but: str = "") -> list[Record]:
    """The first records at a name, but for one (an id)."""
    query = select(Record).where(Record.zone_id == zone_id, Record.name == name, Record.id != but)
    return list(session.scalars(query.order_by(Record.type, Record.id).limit(MOST_BESIDE)))
