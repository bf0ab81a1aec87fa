"""Sessions of people who signed in (security.md S35): rows, found by the hash of a secret that only their cookie has."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_hex, token_urlsafe

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from qanat.auth.tokens import is_usable, may_come_from
from qanat.control import users
from qanat.control.principal import Principal, signed_in
from qanat.control.users import Person
from qanat.errors import QanatError
from qanat.store import Actor, Store, Write
from qanat.store.models import ApiToken, SignedIn

IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)
PENDING = timedelta(minutes=5)
"""To give a second factor in."""
SEEN_EVERY = timedelta(minutes=1)
MOST_OF_USER = 50
MAX_USER_AGENT = 300
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session: `secret` goes into the cookie, and is known nowhere else. `is_pending`: a second factor is awaited."""

    secret: str = field(repr=False)
    id: str
    user_id: str
    expires_at: datetime
    is_pending: bool


@dataclass(frozen=True, slots=True)
class Current:
    """Who comes with a session's cookie. `person` is as they are now, not as they were when they signed in."""

    session: SignedIn
    person: Person
    principal: Principal


class Sessions:
    """Opens, finds and ends them. Safe for many threads; every change of a user takes effect with the next request."""

    def __init__(self, store: Store, *, idle: timedelta = IDLE, absolute: timedelta = ABSOLUTE) -> None:
        self._store = store
        self.idle = idle
        self.absolute = absolute

    def open(
        self,
        write: Write,
        user_id: str,
        *,
        way: str,
        address: str,
        user_agent: str,
        is_pending: bool = False,
        token: ApiToken | None = None,
        before: str | None = None,
    ) -> Opened:
        """A session of its own id, whatever cookie came along (`before`: that one's secret, whose session ends): nobody can make
        another use a session that they know."""
        session = write.session
        if before:
            session.execute(sql_delete(SignedIn).where(SignedIn.sha256 == secret_hash(before)))
        self._make_room(session, user_id)
        ends = write.at + (PENDING if is_pending else self.absolute)
        if token is not None and token.expires_on is not None:
            ends = min(ends, token.expires_on)
        secret = token_urlsafe(SECRET_BYTES)
        row = SignedIn(
            id=token_hex(16),
            user_id=user_id,
            token_id=token.id if token is not None else None,
            sha256=secret_hash(secret),
            way=way,
            is_pending=is_pending,
            failures=0,
            created_at=write.at,
            last_seen_at=write.at,
            expires_at=ends,
            address=address,
            user_agent="".join(each for each in user_agent if each.isprintable())[:MAX_USER_AGENT],
        )
        session.add(row)
        session.flush()
        if not is_pending:
            actor = Actor(kind="user", name=user_id, address=address)
            write.audit("user.sign_in", user_id, detail={"way": way, "session": row.id}, actor=actor)
        return Opened(secret, row.id, user_id, ends, is_pending)

    def find(self, secret: str, *, address: str) -> Current | None:
        """Who has this cookie; None: nobody any more. Notes once a minute that it was used, and from where."""
        now = self._store.clock()
        with self._store.reading() as session:
            row = self._row(session, secret)
            if row is None or row.is_pending or not self._is_live(row, now):
                return None
            person = users.get(session, row.user_id)
            token = session.get(ApiToken, row.token_id) if row.token_id is not None else None
        if person.user.disabled:
            return None
        if row.token_id is None:
            principal = signed_in(person.user.id, list(person.policies), address=address)
        elif token is not None and is_usable(token, now) and may_come_from(token, address):
            principal = Principal(token=token, address=address)
        else:
            return None
        if now - row.last_seen_at >= SEEN_EVERY or row.address != address:
            self._note(row, address)
        return Current(row, person, principal)

    def pending(self, session: Session, secret: str, now: datetime) -> SignedIn | None:
        """One that awaits a second factor."""
        row = self._row(session, secret)
        return row if row is not None and row.is_pending and now < row.expires_at else None

    def end(self, write: Write, session_id: str, *, user_id: str) -> None:
        """Signs out there. QanatError `session_unknown`: the user has no such session."""
        row = write.session.get(SignedIn, session_id)
        if row is None or row.user_id != user_id:
            raise QanatError("session_unknown", "no such session")
        write.session.delete(row)
        write.audit("user.sign_out", user_id, detail={"session": session_id})

    def end_all(self, write: Write, *, user_id: str, but: str | None = None) -> int:
        """Signs out everywhere, but there; how many sessions that were."""
        ended = users.end_sessions(write.session, user_id, but=but)
        write.audit("user.sign_out", user_id, detail={"sessions": ended, "everywhere": True})
        return ended

    def listed(self, session: Session, user_id: str) -> Sequence[SignedIn]:
        """The user's live ones, the newest first."""
        now = self._store.clock()
        rows = session.scalars(select(SignedIn).where(SignedIn.user_id == user_id, SignedIn.is_pending.is_(False)))
        return sorted((row for row in rows if self._is_live(row, now)), key=lambda row: row.created_at, reverse=True)

    def sweep(self) -> int:
        """Forgets those that are over; how many."""
        now = self._store.clock()
        over = or_(SignedIn.expires_at <= now, SignedIn.last_seen_at <= now - self.idle)
        with self._store.reading() as session:
            ids = session.scalars(select(SignedIn.id).where(over)).all()
        if ids:
            with self._store.recording() as write:
                write.session.execute(sql_delete(SignedIn).where(SignedIn.id.in_(ids), over))
        return len(ids)

    def _row(self, session: Session, secret: str) -> SignedIn | None:
        hashed = secret_hash(secret)
        row = session.scalar(select(SignedIn).where(SignedIn.sha256 == hashed))
        return row if row is not None and hmac.compare_digest(row.sha256, hashed) else None

    def _is_live(self, row: SignedIn, now: datetime) -> bool:
        return now < row.expires_at and now - row.last_seen_at < self.idle

    def _note(self, row: SignedIn, address: str) -> None:
        try:
            with self._store.recording() as write:
                kept = write.session.get(SignedIn, row.id)
                if kept is None:
                    return
                if kept.address != address:
                    actor = Actor(kind="user", name=row.user_id, address=address)
                    detail = {"session": row.id, "before": kept.address}
                    write.audit("user.session_moved", row.user_id, detail=detail, actor=actor)
                kept.last_seen_at, kept.address = write.at, address
        except QanatError:
            return  # a full disk keeps nobody from looking

    def _make_room(self, session: Session, user_id: str) -> None:
        count = session.scalar(select(func.count()).where(SignedIn.user_id == user_id)) or 0
        if count >= MOST_OF_USER:
            oldest = select(SignedIn.id).where(SignedIn.user_id == user_id).order_by(SignedIn.last_seen_at)
            ids = session.scalars(oldest.limit(count - MOST_OF_USER + 1)).all()
            session.execute(sql_delete(SignedIn).where(SignedIn.id.in_(ids)))


def secret_hash(secret: str) -> bytes:
    """What is stored of a cookie's secret."""
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


def form_token(secret: str) -> str:
    """What a form of this session carries against requests that another site made (CSRF): of the cookie's secret, which that
    site can't read, and good for no other session."""
    return hmac.new(secret.encode("utf-8", "surrogateescape"), b"qanat form", sha256).hexdigest()


def is_form_token(secret: str, given: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(form_token(secret).encode(), given.encode("utf-8", "surrogateescape"))
