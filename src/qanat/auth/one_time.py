"""One-time tokens, by which a user gets a password of their own: the edge's first user, an invited one, one who forgot."""

from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Literal

from sqlalchemy import delete as sql_delete
from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.control import accounts, users
from qanat.errors import QanatError
from qanat.store import Actor, Write
from qanat.store.models import OneTimeToken, User

Purpose = Literal["setup", "invitation", "reset"]
LIFETIMES: dict[Purpose, timedelta] = {
    "setup": timedelta(hours=24),
    "invitation": timedelta(days=7),
    "reset": timedelta(hours=24),
}
BYTES = 24


def new_text() -> str:
    """A new token's."""
    return token_urlsafe(BYTES)


def make(write: Write, user_id: str, purpose: Purpose, *, text: str | None = None) -> str:
    """A new one for the user; those before are refused. Its text (or `text`, made by `new_text` before) is shown once."""
    session = write.session
    session.execute(sql_delete(OneTimeToken).where(OneTimeToken.user_id == user_id))
    session.execute(sql_delete(OneTimeToken).where(OneTimeToken.expires_at <= write.at))
    text = text if text is not None else new_text()
    ends = write.at + LIFETIMES[purpose]
    row = OneTimeToken(sha256=_hash(text), user_id=user_id, purpose=purpose, created_at=write.at, expires_at=ends)
    session.add(row)
    write.audit("user.one_time_token", user_id, detail={"purpose": purpose, "expires_at": ends.isoformat()})
    return text


def find(session: Session, text: str, *, at: datetime) -> tuple[OneTimeToken, User] | None:
    """Whom it is for; None: it isn't good, or not any more."""
    row = session.scalar(select(OneTimeToken).where(OneTimeToken.sha256 == _hash(text)))
    if row is None or at >= row.expires_at:
        return None
    user = accounts.get_user(session, row.user_id)
    return None if user.disabled else (row, user)


def use(write: Write, text: str, *, password_hash: str, email: str | None = None, address: str = "") -> User:
    """Sets the password, and the address where one is given; every session of before ends, and the token is used up.

    Raises:
        QanatError: `one_time_token_refused`; `user_bad_field`: the token stays good then.
    """
    found = find(write.session, text, at=write.at)
    if found is None:
        raise refused()
    row, user = found
    actor = Actor(kind="user", name=user.id, address=address)
    if email is not None and email != user.email:
        users.check_email(email)
        taken = users.find_by_email(write.session, email)
        if taken is not None and taken.id != user.id:
            raise QanatError("user_bad_field", "another user has this address", where="email")
        user.email = email
    write.session.delete(row)
    users.set_password(write, user.id, password_hash)
    write.audit("user.one_time_token_used", user.id, detail={"purpose": row.purpose}, actor=actor)
    return user


def refused() -> QanatError:
    """The same for an unknown one, a used one and one that is over."""
    return QanatError("one_time_token_refused", "this token isn't good, or not any more", where="token")


def _hash(text: str) -> bytes:
    return sha256(text.strip().encode("utf-8", "surrogateescape")).digest()
