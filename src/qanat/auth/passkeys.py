"""Passkeys (WebAuthn): public keys of devices, each good for one name of the dashboard. With a device that verifies its user one
signs in without a password; any is a second factor."""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_bytes

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.auth import second_factor
from qanat.control.grants import check_name
from qanat.errors import QanatError
from qanat.store import Write
from qanat.store.models import Passkey

CHALLENGE_BYTES = 32

Row = Passkey
"""As it is stored, for who has no business with rows."""


@dataclass(frozen=True, slots=True)
class Site:
    """The dashboard as the browser sees it: `rp_id` is its name, `origin` has scheme and port."""

    rp_id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a device has to sign, once. `user_id`: whose passkey it has to be; "" for anybody's."""

    value: bytes
    site: Site
    user_id: str = ""


def new_challenge(site: Site, user_id: str = "") -> Challenge:
    """For one attempt."""
    return Challenge(token_bytes(CHALLENGE_BYTES), site, user_id)


def listed(session: Session, user_id: str) -> Sequence[Passkey]:
    """The user's, the oldest first."""
    query = select(Passkey).where(Passkey.user_id == user_id)
    return session.scalars(query.order_by(Passkey.created_at, Passkey.id)).all()


def rename(write: Write, passkey_id: str, *, user_id: str, name: str) -> None:
    """QanatError `passkey_unknown`, `token_bad_name`."""
    row = _get(write.session, passkey_id, user_id)
    before, row.name = row.name, check_name(name)
    write.audit("user.passkey_rename", user_id, detail={"passkey": row.id, "name": row.name, "before": before})


def remove(write: Write, passkey_id: str, *, user_id: str) -> None:
    """It is refused from now on. With the last second factor its recovery codes go. QanatError `passkey_unknown`."""
    row = _get(write.session, passkey_id, user_id)
    write.session.delete(row)
    write.session.flush()
    second_factor.forget_unused_codes(write.session, user_id)
    write.audit("user.passkey_remove", user_id, detail={"passkey": passkey_id, "name": row.name})


def _get(session: Session, passkey_id: str, user_id: str) -> Passkey:
    row = session.get(Passkey, passkey_id)
    if row is None or row.user_id != user_id:
        raise QanatError("passkey_unknown", "no such passkey")
    return row
