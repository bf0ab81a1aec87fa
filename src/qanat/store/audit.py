"""The audit chain: every write leaves one row, and each row's hash covers the row before it (security.md S38)."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, Row, Text, cast, func, select
from sqlalchemy.orm import Session

from qanat.store.models import Audit
from qanat.store.reach import Reach

START = "0" * 64
ROWS_AT_ONCE = 2000
Filters = list[ColumnElement[bool]]
"""Which rows, as `matching` says."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes: an API token (`name` is its id), a host by its connector token (of which it is the id, or the tunnel's), or
    this process itself."""

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
    last = session.execute(select(Audit.seq, Audit.hash).order_by(Audit.seq.desc()).limit(1)).one_or_none()
    seq, previous = last if last is not None else (0, START)
    row = Audit(
        seq=seq + 1,  # not the database's own counting: a sequence of PostgreSQL skips what was rolled back
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


def digest(row: Any) -> str:
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far the chain holds. Rows cut off at its end can't be seen by it: who keeps `last_seq` and `last_hash` elsewhere
    can compare."""

    count: int
    last_seq: int | None
    last_hash: str | None
    first_broken: int | None
    reason: str | None


def verify(read: Callable[[int], Sequence[Any]]) -> Verdict:
    """Walks the chain from its start; `read` gives the next rows after a `seq`, none at the end."""
    previous, last, count = START, 0, 0
    while rows := read(last):
        for row in rows:
            if row.seq != last + 1:
                reason = f"the rows from {last + 1} to {row.seq - 1} are gone"
            elif row.previous != previous:
                reason = "it does not follow the row before it"
            elif row.hash != digest(row):
                reason = "it was changed"
            else:
                previous, last, count = row.hash, row.seq, count + 1
                continue
            return Verdict(count, last or None, previous if last else None, row.seq, reason)
    return Verdict(count, last or None, previous if last else None, None, None)


def read_rows(
    session: Session, after: int, *, filters: Sequence[ColumnElement[bool]] = (), limit: int = ROWS_AT_ONCE
) -> Sequence[Row[Any]]:
    """The next rows after a `seq`, oldest first."""
    query = select(*Audit.__table__.columns).where(Audit.seq > after, *filters)
    return session.execute(query.order_by(Audit.seq).limit(limit)).all()


def list_rows(
    session: Session, *, filters: Sequence[ColumnElement[bool]], before: int | None, offset: int, limit: int
) -> tuple[list[Audit], int]:
    """A page, newest first, of what is older than `before`; and how many match in all."""
    wanted = [*filters, *([Audit.seq < before] if before is not None else [])]
    total = session.scalar(select(func.count()).select_from(Audit).where(*wanted)) or 0
    query = select(Audit).where(*wanted).order_by(Audit.seq.desc()).offset(offset).limit(limit)
    return list(session.scalars(query)), total


def matching(
    *,
    reach: Reach,
    action: str | None = None,
    actor: str | None = None,
    object_id: str | None = None,
    account_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    row_id: str | None = None,
    address: str | None = None,
) -> list[ColumnElement[bool]]:
    """Filters. `action` is one (`record.create`) or all of a kind (`record`); rows of no account need the whole reach."""
    filters = [reach.accounts_where(Audit.account_id)]
    if action is not None:
        filters.append(
            Audit.action == action if "." in action else Audit.action.startswith(f"{action}.", autoescape=True)
        )
    if actor is not None:
        filters.append(Audit.actor == actor)
    if object_id is not None:
        filters.append(Audit.object_id == object_id)
    if account_id is not None:
        filters.append(Audit.account_id == account_id)
    if row_id is not None:
        filters.append(cast(Audit.seq, Text) == row_id)
    if address is not None:
        filters.append(Audit.address == address)
    if since is not None:
        filters.append(Audit.at >= since)
    if until is not None:
        filters.append(Audit.at < until)
    return filters


def told_detail(text: str) -> dict[str, Any]:
    """A row that somebody tampered with is shown, not hidden behind a 500."""
    try:
        detail = json.loads(text)
    except ValueError:
        detail = None
    return detail if isinstance(detail, dict) else {"unreadable": text[:200]}


class ShownActor(TypedDict):
    """Who wrote."""

    kind: str
    id: str
    address: str


class Shown(TypedDict):
    """A row for readers; `digest` of its fields as stored is its `hash`."""

    seq: int
    at: str
    actor: ShownActor
    action: str
    account_id: str | None
    object_id: str
    detail: dict[str, Any]
    previous: str
    hash: str


def shown(row: Any) -> Shown:
    """`at` by RFC 3339, in UTC, with microseconds."""
    return {
        "seq": row.seq,
        "at": row.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "actor": {"kind": row.actor_kind, "id": row.actor, "address": row.address},
        "action": row.action,
        "account_id": row.account_id,
        "object_id": row.object_id,
        "detail": told_detail(row.detail),
        "previous": row.previous,
        "hash": row.hash,
    }


def lines(reading: Callable[[], AbstractContextManager[Session]], filters: Filters) -> Iterator[bytes]:
    """Rows as lines of JSON, the oldest first. A snapshot a lot: nobody's slow reading holds the database up."""
    last = 0
    while True:
        with reading() as session:
            rows = read_rows(session, last, filters=filters)
        if not rows:
            return
        last = rows[-1].seq
        yield b"".join(
            json.dumps(shown(row), separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for row in rows
        )
