"""Shares of a hostname's requests, as a cutover sets them: the tunnel that they leave, and the one that they go to."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.store.database import Write


def read(session: Session, zone_id: str, hostname: str) -> list[tuple[str, int]]:
    return []


def put(write: Write, zone_id: str, hostname: str, shares: Sequence[tuple[str, int]]) -> None:
    raise QanatError("cutover_needs_edge", "this edge has no weights: all requests move at once")


def clear(write: Write, zone_id: str, hostname: str) -> None:
    return None
