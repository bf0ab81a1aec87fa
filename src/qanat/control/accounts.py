"""Accounts and the users that tokens act for."""

from collections.abc import Collection
from secrets import token_hex
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.models import (
    Account,
    ApiToken,
    Configuration,
    Connection,
    Connector,
    ConnectorToken,
    Event,
    Membership,
    Probe,
    TeamnetRoute,
    Tunnel,
    User,
    VirtualNetwork,
    Zone,
)
from qanat.store.notices import Notice, NoticeKind
from qanat.store.reach import EVERYTHING, Reach

OWNER_EMAIL = "owner@qanat.invalid"
MAX_NAME = 100


def first_account(session: Session) -> Account | None:
    """The oldest account; None in a new database."""
    return session.scalar(select(Account).order_by(Account.created_at, Account.id).limit(1))


def create_first(write: Write, *, name: str) -> Account:
    """A new database's account, with its owner."""
    user = User(id=token_hex(16), email=OWNER_EMAIL, first_name="", last_name="", key_sha256=None, created_at=write.at)
    write.session.add(user)
    write.session.flush()
    write.session.add(Membership(user_id=user.id, account_id="*", role="owner", created_at=write.at))
    return _add(write, name, {})


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


def get(session: Session, account_id: str, *, reach: Reach = EVERYTHING) -> Account:
    """The account, if it is within reach. QanatError `account_unknown`, the same for both."""
    account = session.get(Account, account_id) if reach.has_account(account_id) else None
    if account is None:
        raise QanatError("account_unknown", "no such account", where="account_id")
    return account


def page(
    session: Session, *, reach: Reach, name: str | None, descending: bool, offset: int, limit: int | None
) -> tuple[list[Account], int]:
    """A page of accounts in order of age, and how many there are in all."""
    query = select(Account).where(reach.accounts_where(Account.id))
    if name is not None:
        query = query.where(Account.name == name)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    order = (Account.created_at.desc(), Account.id.desc()) if descending else (Account.created_at, Account.id)
    return list(session.scalars(query.order_by(*order).offset(offset).limit(limit))), total


def of_zones(session: Session, zone_ids: Collection[str]) -> list[Account]:
    """The accounts that single zones belong to, in order of age."""
    if not zone_ids:
        return []
    owners = select(Zone.account_id).where(Zone.id.in_(sorted(zone_ids)))
    query = select(Account).where(Account.id.in_(owners)).order_by(Account.created_at, Account.id)
    return list(session.scalars(query))


def create(write: Write, *, name: str, settings: dict[str, Any] | None = None) -> Account:
    """QanatError `account_bad_name`. Names needn't differ."""
    return _add(write, check_name(name), settings or {})


def change(write: Write, account_id: str, *, reach: Reach, name: str, settings: dict[str, Any] | None) -> Account:
    """Another name, and the settings that are given; None leaves them. QanatError `account_unknown`, `account_bad_name`."""
    account = get(write.session, account_id, reach=reach)
    account.name = check_name(name)
    if settings is not None:
        # A new value, since a changed dict would not be noticed.
        account.settings = {**account.settings, **settings}
    write.audit(
        "account.change", account.id, account_id=account.id, detail={"name": name, "settings": account.settings}
    )
    return account


def delete(write: Write, account_id: str, *, reach: Reach) -> None:
    """Deletes an account that owns nothing any more, with what is left of its deleted tunnels.

    Raises:
        QanatError: `account_unknown`; `account_in_use`: it owns things, or it is the only one.
    """
    session = write.session
    account = get(session, account_id, reach=reach)
    left = [f"{count} {what}" for what, count in _owned(session, account_id) if count]
    if not left and (session.scalar(select(func.count()).select_from(Account)) or 0) < 2:
        left = ["nothing, but is the only account"]
    if left:
        raise QanatError("account_in_use", f"the account can't be deleted: it has {', '.join(left)}")
    tunnels = select(Tunnel.id).where(Tunnel.account_id == account_id)
    for model in (Configuration, Connection, Connector, ConnectorToken, Event, TeamnetRoute):
        session.execute(sql_delete(model).where(model.tunnel_id.in_(tunnels)))
    for owned in (Membership, Probe, Tunnel, VirtualNetwork):
        session.execute(sql_delete(owned).where(owned.account_id == account_id))
    session.delete(account)
    write.audit("account.delete", account_id, account_id=account_id, detail={"name": account.name})


def _add(write: Write, name: str, settings: dict[str, Any]) -> Account:
    account = Account(id=token_hex(16), name=name, settings=settings, created_at=write.at)
    write.session.add(account)
    write.audit("account.create", account.id, account_id=account.id, detail={"name": name})
    return account


def _owned(session: Session, account_id: str) -> list[tuple[str, int]]:
    live_routes = (TeamnetRoute.account_id == account_id, TeamnetRoute.deleted_at.is_(None))
    counted = {
        "zones": select(func.count()).select_from(Zone).where(Zone.account_id == account_id),
        "tunnels": select(func.count())
        .select_from(Tunnel)
        .where(Tunnel.account_id == account_id, Tunnel.deleted_at.is_(None)),
        "private routes": select(func.count()).select_from(TeamnetRoute).where(*live_routes),
        "API tokens": select(func.count()).select_from(ApiToken).where(ApiToken.account_id == account_id),
    }
    return [(what, session.scalar(query) or 0) for what, query in counted.items()]


def deletes_disconnect(account: Account, token_kind: str) -> bool:
    """Whether DELETE of a tunnel with live connections ends them, unasked (api.md 7.1-7). By default for API tokens; never
    for those of an origin certificate, so that `cloudflared tunnel delete` keeps its check."""
    return token_kind != "origin_cert" and bool(account.settings.get("delete_disconnects", True))


def check_name(name: str) -> str:
    """QanatError `account_bad_name`."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise QanatError("account_bad_name", f"a name has 1 to {MAX_NAME} printable characters", where="name")
    return name


def find_by_key(session: Session, sha256: bytes) -> User | None:
    """The user whose legacy key has this hash, unless they are shut out."""
    return session.scalar(select(User).where(User.key_sha256 == sha256, User.disabled.is_(False)))


def change_user(write: Write, user_id: str, changes: dict[str, str]) -> User:
    """`email`, `first_name`, `last_name`, as far as given. QanatError `user_bad_field`: the address is another user's."""
    user = get_user(write.session, user_id)
    email = changes.get("email", user.email)
    taken = select(User.id).where(func.lower(User.email) == email.lower(), User.id != user_id)
    if write.session.scalar(taken.limit(1)) is not None:
        raise QanatError("user_bad_field", "another user has this address", where="email")
    for column, value in changes.items():
        setattr(user, column, value)
    write.audit("user.change", user.id, detail=changes)
    write.notice(Notice(NoticeKind.API_TOKEN))
    return user


def set_key(write: Write, user_id: str, sha256: bytes | None) -> None:
    """Another legacy key for the user, or none; the one before is refused from now on."""
    user = get_user(write.session, user_id)
    user.key_sha256 = sha256
    write.audit("user.key" if sha256 is not None else "user.key_delete", user.id)
    write.notice(Notice(NoticeKind.API_TOKEN))
