"""The queue of messages, in the store: it survives a restart, is bounded for each channel, and is sent in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import uniform
from secrets import token_hex
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from qanat.errors import QanatError, RetryLaterError
from qanat.store.database import Write
from qanat.store.models import AlertChannel, AlertDelivery, AlertFiring

MOST_WAITING = 100
MOST_TRIES = 10
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 1800.0
KEPT = timedelta(days=30)
KEPT_FIRINGS = timedelta(days=90)
MOST_KEPT = 1000
GIVEN_UP = ("alert_refused",)
"""What comes of no further try."""


@dataclass(frozen=True, slots=True)
class Due:
    """One message to send now, of each channel the oldest."""

    id: str
    event_id: str
    message: dict[str, Any]
    created_at: datetime
    attempts: int
    channel: AlertChannel


def enqueue(
    write: Write, account_id: str, channel_ids: Sequence[str], event_id: str, message: Mapping[str, Any]
) -> tuple[int, int]:
    """For those of the channels that are there and enabled; how many messages wait now, and how many were dropped for them: where
    too many wait, the oldest."""
    queued = dropped = 0
    for channel_id in channel_ids:
        channel = write.session.get(AlertChannel, channel_id)
        if channel is None or channel.account_id != account_id or not channel.enabled:
            continue
        mine = (AlertDelivery.channel_id == channel_id, AlertDelivery.state == "waiting")
        waiting, latest = write.session.execute(
            select(func.count(), func.max(AlertDelivery.next_at)).where(*mine)
        ).one()
        if waiting >= MOST_WAITING:
            oldest = select(AlertDelivery).where(*mine).order_by(AlertDelivery.created_at, AlertDelivery.id)
            for row in write.session.scalars(oldest.limit(waiting - MOST_WAITING + 1)):
                row.state, row.finished_at = "dropped", write.at
                row.error = f"more than {MOST_WAITING} messages waited for this channel"
                channel.dropped += 1
                dropped += 1
        write.session.add(
            AlertDelivery(
                id=token_hex(16),
                account_id=account_id,
                channel_id=channel_id,
                event_id=event_id,
                message=dict(message),
                state="waiting",
                attempts=0,
                next_at=max(latest, write.at) if waiting else write.at,
                created_at=write.at,
                finished_at=None,
                error="",
            )
        )
        write.session.flush()
        queued += 1
    return queued, dropped


def due(session: Session, now: datetime, *, most: int, but: frozenset[str] = frozenset()) -> list[Due]:
    """What is sent now, one a channel; none for channels in `but`. Of a channel that was disabled nothing is."""
    heads = (
        select(AlertDelivery, AlertChannel)
        .join(AlertChannel, AlertChannel.id == AlertDelivery.channel_id)
        .where(AlertDelivery.state == "waiting", AlertDelivery.next_at <= now, AlertChannel.enabled.is_(True))
        .order_by(AlertDelivery.created_at, AlertDelivery.id)
    )
    if but:
        heads = heads.where(AlertDelivery.channel_id.not_in(but))
    found: dict[str, Due] = {}
    for row, channel in session.execute(heads.limit(most * MOST_WAITING)):
        if row.channel_id not in found and len(found) < most:
            found[row.channel_id] = Due(row.id, row.event_id, row.message, row.created_at, row.attempts, channel)
    return list(found.values())


def settle(write: Write, delivery_id: str, error: QanatError | None) -> str:
    """What came of a try: `delivered`; `waiting`, to be tried again, the longer the more often it failed; or `failed`. "" where
    it is no longer there."""
    row = write.session.get(AlertDelivery, delivery_id)
    channel = write.session.get(AlertChannel, row.channel_id) if row is not None else None
    if row is None or channel is None or row.state != "waiting":
        return ""
    row.attempts += 1
    row.error = "" if error is None else error.message[:500]
    _note(channel, write.at, row.error)
    if error is not None and error.code not in GIVEN_UP and row.attempts < MOST_TRIES:
        asked_s = error.retry_after_s if isinstance(error, RetryLaterError) else 0.0
        later = write.at + timedelta(seconds=max(wait_s(row.attempts), asked_s))
        # What waits behind it keeps its order.
        there = update(AlertDelivery).where(
            AlertDelivery.channel_id == channel.id, AlertDelivery.state == "waiting", AlertDelivery.next_at < later
        )
        row.next_at = later
        write.session.execute(there.values(next_at=later))
        return "waiting"
    row.state, row.finished_at = ("delivered" if error is None else "failed"), write.at
    write.session.flush()
    # The next one has its own tries, and the first of them now.
    behind = update(AlertDelivery).where(AlertDelivery.channel_id == channel.id, AlertDelivery.state == "waiting")
    write.session.execute(behind.values(next_at=write.at))
    return row.state


def wait_s(attempts: int) -> float:
    """Before another try after so many: doubled each time, and spread, so that those that failed together don't come together."""
    return uniform(0.5, 1.0) * min(FIRST_WAIT_S * 2.0**attempts, LONGEST_WAIT_S)


def note_test(write: Write, channel: AlertChannel, event_id: str, message: Mapping[str, Any], error: str) -> None:
    """A test that was sent, or failed: it is never tried again."""
    _note(channel, write.at, error)
    write.session.add(
        AlertDelivery(
            id=token_hex(16),
            account_id=channel.account_id,
            channel_id=channel.id,
            event_id=event_id,
            message=dict(message),
            state="failed" if error else "delivered",
            attempts=1,
            next_at=write.at,
            created_at=write.at,
            finished_at=write.at,
            error=error[:500],
        )
    )


def page(
    session: Session, account_id: str, *, channel_id: str | None = None, offset: int, limit: int
) -> tuple[list[AlertDelivery], int]:
    """Newest first, and how many there are."""
    wanted = [AlertDelivery.account_id == account_id]
    if channel_id is not None:
        wanted.append(AlertDelivery.channel_id == channel_id)
    total = session.scalar(select(func.count()).select_from(AlertDelivery).where(*wanted)) or 0
    query = select(AlertDelivery).where(*wanted).order_by(AlertDelivery.created_at.desc(), AlertDelivery.id)
    return list(session.scalars(query.offset(offset).limit(limit))), total


def firings(
    session: Session,
    account_id: str,
    *,
    is_open: bool | None = None,
    rule_id: str | None = None,
    offset: int,
    limit: int,
) -> tuple[list[AlertFiring], int]:
    """Those that are open first, then newest first; and how many there are."""
    wanted = [AlertFiring.account_id == account_id]
    if is_open is not None:
        wanted.append(AlertFiring.resolved_at.is_(None) if is_open else AlertFiring.resolved_at.is_not(None))
    if rule_id is not None:
        wanted.append(AlertFiring.rule_id == rule_id)
    total = session.scalar(select(func.count()).select_from(AlertFiring).where(*wanted)) or 0
    order = (AlertFiring.resolved_at.is_not(None), AlertFiring.fired_at.desc(), AlertFiring.id)
    query = select(AlertFiring).where(*wanted).order_by(*order)
    return list(session.scalars(query.offset(offset).limit(limit))), total


def waiting(session: Session, account_id: str) -> dict[str, int]:
    """How many messages wait for each channel."""
    query = select(AlertDelivery.channel_id, func.count()).where(
        AlertDelivery.account_id == account_id, AlertDelivery.state == "waiting"
    )
    return {row[0]: row[1] for row in session.execute(query.group_by(AlertDelivery.channel_id))}


def trim(write: Write) -> None:
    """Forgets what is long over."""
    session, over = write.session, AlertDelivery.state != "waiting"
    session.execute(delete(AlertDelivery).where(over, AlertDelivery.created_at < write.at - KEPT))
    session.execute(delete(AlertFiring).where(AlertFiring.resolved_at < write.at - KEPT_FIRINGS))
    counted = select(AlertDelivery.account_id).group_by(AlertDelivery.account_id).having(func.count() > MOST_KEPT)
    for account_id in session.scalars(counted).all():
        newest = select(AlertDelivery.created_at).where(AlertDelivery.account_id == account_id)
        last = session.scalar(newest.order_by(AlertDelivery.created_at.desc()).offset(MOST_KEPT).limit(1))
        mine = (AlertDelivery.account_id == account_id, over, AlertDelivery.created_at <= last)
        session.execute(delete(AlertDelivery).where(*mine))


def _note(channel: AlertChannel, at: datetime, error: str) -> None:
    channel.last_at, channel.last_error = at, error[:500]
    if not error:
        channel.delivered_at = at
