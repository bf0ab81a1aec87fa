"""A second factor: codes by the time (TOTP, RFC 6238) of an app, or passkeys (auth/passkeys.py); and recovery codes for who has
lost them. Each code is good once."""

import hmac
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from secrets import choice

import pyotp
from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.store import Write
from qanat.store.models import Authenticator, Passkey, RecoveryCode
from qanat.store.sealing import Sealer

STEP_S = 30
LATE_STEPS = 1
"""A clock may be so many steps off, either way."""
RECOVERY_CODES = 10
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without what is easily mistaken."""
GROUPS, OF_GROUP = 4, 4
ISSUER = "qanat"


def begin(write: Write, sealer: Sealer, user_id: str) -> str:
    """A new secret (base 32) to be shown to the user once; it counts when a code of it came back (`confirm`).

    Raises:
        QanatError: `second_factor_set`: there is one already.
    """
    row = write.session.get(Authenticator, user_id)
    if row is not None and row.confirmed_at is not None:
        raise QanatError("second_factor_set", "there is an authenticator already", hint="remove it first")
    secret = pyotp.random_base32()
    sealed = sealer.seal(secret.encode(), user_id)
    if row is None:
        row = Authenticator(id=user_id, sealed_secret=sealed, created_at=write.at, confirmed_at=None, last_step=0)
        write.session.add(row)
    else:
        row.sealed_secret, row.created_at, row.last_step = sealed, write.at, 0
    write.audit("user.second_factor_begin", user_id)
    return secret


def begun(session: Session, sealer: Sealer, user_id: str) -> str | None:
    """The secret that awaits its first code."""
    row = session.get(Authenticator, user_id)
    return sealer.open(row.sealed_secret, user_id).decode() if row is not None and row.confirmed_at is None else None


def uri(secret: str, email: str) -> str:
    """What an authenticator app reads, as text or as a QR code."""
    return pyotp.TOTP(secret, interval=STEP_S).provisioning_uri(name=email, issuer_name=ISSUER)


def confirm(write: Write, sealer: Sealer, user_id: str, code: str) -> list[str]:
    """The first code of the app: from now on a code is asked for. The recovery codes, which nobody can ask for again.

    Raises:
        QanatError: `second_factor_unknown`: none was begun; `code_refused`.
    """
    row = write.session.get(Authenticator, user_id)
    if row is None or row.confirmed_at is not None:
        raise QanatError("second_factor_unknown", "no authenticator is being set up")
    _take(row, sealer, code, write.at)
    row.confirmed_at = write.at
    codes = _new_recovery_codes(write, user_id)
    write.audit("user.second_factor", user_id)
    return codes


def take(write: Write, sealer: Sealer, user_id: str, code: str) -> str:
    """Uses a code up: `code` or `recovery`, as it was one of the app or of those.

    Raises:
        QanatError: `code_refused`: it is none, was used before, or its time is over.
    """
    plain = "".join(code.split()).replace("-", "").lower()
    if plain.isdigit():
        row = write.session.get(Authenticator, user_id)
        if row is None or row.confirmed_at is None:
            raise _refused()
        _take(row, sealer, plain, write.at)
        return "code"
    hashed = _hash(plain)
    recovery = write.session.get(RecoveryCode, (user_id, hashed))
    if recovery is None or recovery.used_at is not None or not hmac.compare_digest(recovery.sha256, hashed):
        raise _refused()
    recovery.used_at = write.at
    write.audit("user.recovery_code", user_id, detail={"left": recovery_codes_left(write.session, user_id)})
    return "recovery"


def renew_recovery_codes(write: Write, user_id: str) -> list[str]:
    """Others, and the ones before are refused. QanatError `second_factor_unknown`."""
    if not is_set(write.session, user_id):
        raise QanatError("second_factor_unknown", "there is no second factor")
    write.audit("user.recovery_codes", user_id)
    return _new_recovery_codes(write, user_id)


def remove(write: Write, user_id: str) -> None:
    """The app's: the password alone is asked for from now on, and a passkey where there are some."""
    write.session.execute(sql_delete(Authenticator).where(Authenticator.id == user_id))
    write.session.expire_all()
    forget_unused_codes(write.session, user_id)
    write.audit("user.second_factor_remove", user_id)


def is_set(session: Session, user_id: str) -> bool:
    """Whether a second factor is asked of the user."""
    passkeys = select(Passkey.id).where(Passkey.user_id == user_id).limit(1)
    return has_app(session, user_id) or session.scalar(passkeys) is not None


def has_app(session: Session, user_id: str) -> bool:
    """Whether there is an app whose codes are taken."""
    row = session.get(Authenticator, user_id)
    return row is not None and row.confirmed_at is not None


def forget_unused_codes(session: Session, user_id: str) -> None:
    """Recovery codes go with the last second factor."""
    if not is_set(session, user_id):
        session.execute(sql_delete(RecoveryCode).where(RecoveryCode.user_id == user_id))


def recovery_codes_left(session: Session, user_id: str) -> int:
    """How many are still good."""
    query = select(func.count()).where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    return session.scalar(query) or 0


def step_of(moment: datetime) -> int:
    """The number of its 30 seconds."""
    return int(moment.timestamp()) // STEP_S


def accepted_step(secret: str, code: str, now: datetime, *, after: int) -> int | None:
    """The step that the code is of, if that is now or next to it, and later than the last one that was used."""
    totp = pyotp.TOTP(secret, interval=STEP_S)
    steps = range(step_of(now) - LATE_STEPS, step_of(now) + LATE_STEPS + 1)
    # all are compared, whichever it is
    matching = [step for step in steps if hmac.compare_digest(totp.at(step * STEP_S).encode(), code.encode())]
    return next((step for step in matching if step > after), None)


def _take(row: Authenticator, sealer: Sealer, code: str, now: datetime) -> None:
    secret = sealer.open(row.sealed_secret, row.id).decode()
    step = accepted_step(secret, "".join(code.split()), now, after=row.last_step)
    if step is None:
        raise _refused()
    row.last_step = step


def _new_recovery_codes(write: Write, user_id: str) -> list[str]:
    write.session.execute(sql_delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    plain = ["".join(choice(ALPHABET) for _ in range(GROUPS * OF_GROUP)) for _ in range(RECOVERY_CODES)]
    write.session.add_all(RecoveryCode(user_id=user_id, sha256=_hash(each), used_at=None) for each in plain)
    return [_shown(each) for each in plain]


def _shown(plain: str) -> str:
    groups: Sequence[str] = [plain[at : at + OF_GROUP] for at in range(0, len(plain), OF_GROUP)]
    return "-".join(groups)


def _hash(plain: str) -> bytes:
    return sha256(plain.encode("utf-8", "surrogateescape")).digest()


def _refused() -> QanatError:
    return QanatError("code_refused", "this code isn't good, or not any more", where="code")
