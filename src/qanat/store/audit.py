"""The audit chain: every write leaves one row, and each row's hash covers the row before it (security.md S38)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.store.models import Audit

START = "0" * 64


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes: an API token (`name` is its id), or this process itself."""

    kind: str
    name: str
    address: str = ""


SYSTEM = Actor(kind="system", name="qanat")


def append(
    session: Session,
    *,
    at: datetime,
    actor: Actor,
    action: str,
    account_id: str | None,
    object_id: str,
    detail: Mapping[str, object],
) -> None:
    """Adds the row of one write; `detail` holds no secret values. The caller holds the one writer's lock."""
    previous = session.scalar(select(Audit.hash).order_by(Audit.seq.desc()).limit(1)) or START
    row = Audit(
        at=at,
        actor_kind=actor.kind,
        actor=actor.name,
        address=actor.address,
        action=action,
        account_id=account_id,
        object_id=object_id,
        detail=json.dumps(detail, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str),
        previous=previous,
        hash="",
    )
    row.hash = digest(row)
    session.add(row)


def digest(row: Audit) -> str:
    """SHA-256 over the row's fields and the hash before it."""
    fields = [
        row.previous,
        row.at.isoformat(timespec="microseconds"),
        row.actor_kind,
        row.actor,
        row.address,
        row.action,
        row.account_id,
        row.object_id,
        row.detail,
    ]
    return sha256(json.dumps(fields, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()


def first_broken(session: Session) -> int | None:
    """The `seq` of the first row that was changed, or follows a removed one; None when the chain holds."""
    previous = START
    expected = None
    for row in session.scalars(select(Audit).order_by(Audit.seq)).yield_per(1000):
        gap = expected is not None and row.seq != expected
        if gap or row.previous != previous or row.hash != digest(row):
            return row.seq
        previous, expected = row.hash, row.seq + 1
    return None
