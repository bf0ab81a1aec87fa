"""Shares of a hostname's requests, as a cutover sets them: the tunnel that they leave, and the one that they go to."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from qanat.control import targets
from qanat.store.database import Write
from qanat.tables.routes import Sticky


def read(session: Session, zone_id: str, hostname: str) -> list[tuple[str, int]]:
    """(tunnel id, weight) as they are set; [] when none are."""
    return targets.shares_of(session, zone_id, hostname)


def put(write: Write, zone_id: str, hostname: str, shares: Sequence[tuple[str, int]], sticky: Sticky) -> None:
    """Within the cutover's own write, which has its audit row."""
    targets.replace(write, zone_id, hostname, shares, sticky)


def clear(write: Write, zone_id: str, hostname: str) -> None:
    """The record alone says where the hostname leads."""
    if targets.shares_of(write.session, zone_id, hostname):
        targets.replace(write, zone_id, hostname, (), "none")
