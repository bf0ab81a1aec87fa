"""Records whose tunnel is deleted: nobody is served by them, and they hold their name, so that nobody else can claim it."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.store.models import Record, Tunnel, Zone
from qanat.store.reach import Reach


def quarantined(
    session: Session, account_id: str, *, reach: Reach, offset: int, limit: int
) -> tuple[list[tuple[Record, Tunnel]], int]:
    """A page by name, and how many there are in all. The tunnel's row stays for as long as a record names it
    (control/forgetting.py), and a tunnel of the same id can't be made again."""
    query = (
        select(Record, Tunnel)
        .join(Zone, Zone.id == Record.zone_id)
        .join(Tunnel, Tunnel.id == Record.tunnel_id)
        .where(
            Zone.account_id == account_id,
            Tunnel.deleted_at.is_not(None),
            reach.zones_where(Zone.id, Zone.account_id),
        )
    )
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(Record.id).subquery())) or 0
    rows = session.execute(query.order_by(Record.name, Record.id).offset(offset).limit(limit)).all()
    return [(row[0], row[1]) for row in rows], total
