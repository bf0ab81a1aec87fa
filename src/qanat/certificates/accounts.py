"""Our accounts with CAs, one for each directory: the key is kept before the CA hears of it."""

from datetime import datetime
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.certificates import pem
from qanat.store import Write
from qanat.store.models import AcmeAccount
from qanat.store.sealing import Sealer


def find(session: Session, directory: str) -> AcmeAccount | None:
    """The one with this CA."""
    return session.scalar(select(AcmeAccount).where(AcmeAccount.directory == directory))


def ensure(write: Write, sealer: Sealer, directory: str, *, email: str) -> AcmeAccount:
    """The account with this CA; a new key where there is none. Another email is another account to no CA: it is noted."""
    account = find(write.session, directory)
    if account is None:
        account_id = str(uuid4())
        account = AcmeAccount(
            id=account_id,
            directory=directory,
            email=email,
            sealed_secret=sealer.seal(pem.new_key(), account_id),
            created_at=write.at,
        )
        write.session.add(account)
    account.email = email
    return account


def registered(write: Write, directory: str, url: str | None) -> None:
    """The CA's name for the account; None: it knows of none (any more), and is told of it anew."""
    account = find(write.session, directory)
    if account is not None:
        account.url = url


def pause(write: Write, directory: str, until: datetime) -> None:
    """Nothing is asked of this CA before then."""
    account = find(write.session, directory)
    if account is not None:
        account.paused_until = until
