"""Accounts and the users that tokens act for."""

from secrets import token_hex

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.store.audit import Actor
from qanat.store.database import Store
from qanat.store.models import Account, User
from qanat.store.notices import Notice, NoticeKind

OWNER_EMAIL = "owner@qanat.invalid"


def ensure_first_account(store: Store, actor: Actor, *, name: str) -> Account:
    """The oldest account; made with its owner when there is none."""
    with store.reading() as session:
        account = session.scalar(select(Account).order_by(Account.created_at, Account.id).limit(1))
    if account is not None:
        return account
    with store.writing(actor) as write:
        account = Account(id=token_hex(16), name=name, created_at=write.at)
        write.session.add(account)
        write.session.add(User(id=token_hex(16), email=OWNER_EMAIL, created_at=write.at))
        write.audit("account.create", account.id, account_id=account.id, detail={"name": name})
        write.notice(Notice(NoticeKind.ACCOUNT, account_id=account.id))
    return account


def first_user(session: Session) -> User:
    """The owner that was made with the first account."""
    user = session.scalar(select(User).order_by(User.created_at, User.id).limit(1))
    if user is None:
        raise QanatError("user_unknown", "no user exists")
    return user


def get_user(session: Session, user_id: str) -> User:
    """QanatError `user_unknown`."""
    user = session.get(User, user_id)
    if user is None:
        raise QanatError("user_unknown", "no such user")
    return user


def get_account(session: Session, account_id: str, *, only: str | None = None) -> Account:
    """The account, if it is `only` (what the caller may see). QanatError `account_unknown`, the same for both."""
    account = session.get(Account, account_id) if only in (None, account_id) else None
    if account is None:
        raise QanatError("account_unknown", "no such account", where="account_id")
    return account


def list_accounts(
    session: Session, *, only: str | None, name: str | None, descending: bool, offset: int, limit: int
) -> tuple[list[Account], int]:
    """A page of accounts in order of age, and how many there are in all."""
    query = select(Account)
    if only is not None:
        query = query.where(Account.id == only)
    if name is not None:
        query = query.where(Account.name == name)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    order = (Account.created_at.desc(), Account.id.desc()) if descending else (Account.created_at, Account.id)
    return list(session.scalars(query.order_by(*order).offset(offset).limit(limit))), total
