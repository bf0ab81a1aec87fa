"""Shares of a hostname's requests, as a cutover sets them: the tunnel that they leave, and the one that they go to."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from qanat.control import targets
from qanat.store.database import Write


def read(session: Session, zone_id: str, hostname: str) -> list[tuple[str, int]]:
    return targets.shares_of(session, zone_id, hostname)


def put(write: Write, zone_id: str, hostname: str, shares: Sequence[tuple[str, int]]) -> None:
    targets.replace(write, zone_id, hostname, shares, "none")


def clear(write: Write, zone_id: str, hostname: str) -> None:
    targets.replace(write, zone_id, hostname, (), "none")
