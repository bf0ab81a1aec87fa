"""Users and their roles. Who gives or takes a role has to hold all that it grants (control/grants.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.control import accounts, roles
from qanat.control.grants import check_held
from qanat.control.policies import Policy
from qanat.control.roles import EVERY_ACCOUNT, Role
from qanat.control.zones import account_of
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.models import ApiToken, Authenticator, Membership, Passkey, RecoveryCode, SignedIn, User
from qanat.store.notices import Notice, NoticeKind
from qanat.store.reach import Reach

MOST_USERS = 1000
MAX_EMAIL = 254


@dataclass(frozen=True, slots=True)
class Person:
    """A user with their roles, by account, and whether a second factor is asked of them."""

    user: User
    roles: dict[str, Role]
    has_second_factor: bool

    @property
    def policies(self) -> list[Policy]:
        """What they hold."""
        return roles.policies(self.user.id, self.roles.items())


def get(session: Session, user_id: str) -> Person:
    """QanatError `user_unknown`."""
    return _people(session, [accounts.get_user(session, user_id)])[0]


def visible(session: Session, user_id: str, *, reach: Reach) -> Person:
    """A user with a role in an account within reach. QanatError `user_unknown`, the same for others'."""
    person = get(session, user_id)
    if not _is_visible(person, reach):
        raise QanatError("user_unknown", "no such user")
    return person


def listed(session: Session, *, reach: Reach) -> list[Person]:
    """Those with a role in an account within reach, the oldest first."""
    return [person for person in everyone(session) if _is_visible(person, reach)]


def everyone(session: Session) -> list[Person]:
    """All of the edge, the oldest first."""
    return _people(session, list(session.scalars(select(User).order_by(User.created_at, User.id))))


def find_by_email(session: Session, email: str) -> User | None:
    """Whatever its case."""
    return session.scalar(select(User).where(func.lower(User.email) == email.lower()).limit(1))


def add(write: Write, *, email: str, account_id: str, role: Role, own: Sequence[Policy]) -> Person:
    """A user with one role, and without a way to sign in yet. `own`: what whoever adds them holds.

    Raises:
        QanatError: `user_bad_field`, `user_too_many`, `account_unknown`, `token_escalates`.
    """
    session = write.session
    check_email(email)
    if find_by_email(session, email) is not None:
        raise QanatError("user_bad_field", "another user has this address", where="email")
    if (session.scalar(select(func.count()).select_from(User)) or 0) >= MOST_USERS:
        raise QanatError("user_too_many", f"an edge has at most {MOST_USERS} users", hint="remove some")
    _check_may(session, own, account_id, role)
    user = User(
        id=token_hex(16),
        email=email,
        first_name="",
        last_name="",
        key_sha256=None,
        password_hash=None,
        password_changed_at=None,
        disabled=False,
        created_at=write.at,
    )
    session.add(user)
    session.flush()
    session.add(Membership(user_id=user.id, account_id=account_id, role=role, created_at=write.at))
    write.audit("user.create", user.id, account_id=_account(account_id), detail={"email": email, "role": role})
    return Person(user, {account_id: role}, has_second_factor=False)


def set_role(write: Write, user_id: str, *, account_id: str, role: Role | None, own: Sequence[Policy]) -> Person:
    """Another role in the account, or none. What the user's own tokens hold beyond it is taken: those are disabled.

    Raises:
        QanatError: `user_unknown`, `account_unknown`; `token_escalates`: the asking one doesn't hold as much as the role that
            the user gets, or had; `user_last_owner`.
    """
    session = write.session
    before = get(session, user_id)
    had = before.roles.get(account_id)
    for each in (had, role):
        if each is not None:
            _check_may(session, own, account_id, each)
    session.execute(sql_delete(Membership).where(Membership.user_id == user_id, Membership.account_id == account_id))
    if role is not None:
        session.add(Membership(user_id=user_id, account_id=account_id, role=role, created_at=write.at))
    session.flush()
    person = get(session, user_id)
    _check_owner_left(session)
    disabled = _disable_tokens_beyond(session, person)
    if person.user.key_sha256 is not None and person.roles.get(EVERY_ACCOUNT) != "owner":
        person.user.key_sha256 = None
    detail = {"role": role, "before": had, "tokens_disabled": disabled}
    write.audit("user.role", user_id, account_id=_account(account_id), detail=detail)
    write.notice(Notice(NoticeKind.API_TOKEN))
    return person


def set_disabled(write: Write, user_id: str, *, disabled: bool, own: Sequence[Policy]) -> Person:
    """Whether the user is shut out: their sessions end and their own tokens are disabled, and stay so when they are let in again.

    Raises:
        QanatError: `user_unknown`, `token_escalates`, `user_last_owner`.
    """
    person = _mine_to_change(write.session, user_id, own)
    person.user.disabled = disabled
    write.session.flush()
    _check_owner_left(write.session)
    if disabled:
        end_sessions(write.session, user_id)
        for token in _own_tokens(write.session, user_id):
            token.disabled = True
    write.audit("user.disable" if disabled else "user.enable", user_id)
    write.notice(Notice(NoticeKind.API_TOKEN))
    return person


def remove(write: Write, user_id: str, *, own: Sequence[Policy], heir: str) -> None:
    """The user with their sessions and their own tokens. Tokens of accounts that they made stay, and act for `heir`, who removes.

    Raises:
        QanatError: `user_unknown`, `token_escalates`, `user_last_owner`; `user_is_self`.
    """
    session = write.session
    person = _mine_to_change(session, user_id, own)
    if user_id == heir:
        raise QanatError("user_is_self", "nobody removes themselves", hint="let another owner do it")
    for token in session.scalars(select(ApiToken).where(ApiToken.user_id == user_id)):
        if token.account_id is None:
            session.delete(token)
        else:
            token.user_id = heir
    session.flush()
    session.delete(person.user)
    session.flush()
    _check_owner_left(session)
    write.audit("user.remove", user_id, detail={"email": person.user.email})
    write.notice(Notice(NoticeKind.API_TOKEN))


def set_password(write: Write, user_id: str, password_hash: str, *, keep_session: str | None = None) -> None:
    """Another password; every session but that one ends. QanatError `user_unknown`."""
    user = accounts.get_user(write.session, user_id)
    user.password_hash = password_hash
    user.password_changed_at = write.at
    ended = end_sessions(write.session, user_id, but=keep_session)
    write.audit("user.password", user_id, detail={"sessions_ended": ended})


def forget_password(write: Write, user_id: str, *, own: Sequence[Policy], second_factor: bool) -> Person:
    """Takes the password away, with `second_factor` app, passkeys and recovery codes as well, and ends all sessions: for a
    one-time token to follow.

    Raises:
        QanatError: `user_unknown`, `token_escalates`.
    """
    person = _mine_to_change(write.session, user_id, own)
    person.user.password_hash = None
    if second_factor:
        owned = ((Authenticator, Authenticator.id), (Passkey, Passkey.user_id), (RecoveryCode, RecoveryCode.user_id))
        for model, owner in owned:
            write.session.execute(sql_delete(model).where(owner == user_id))
    end_sessions(write.session, user_id)
    write.audit("user.reset", user_id, detail={"second_factor": second_factor})
    return person


def end_sessions(session: Session, user_id: str, *, but: str | None = None) -> int:
    """Signs the user out everywhere, but there; how many sessions that were."""
    query = select(SignedIn).where(SignedIn.user_id == user_id)
    rows = [row for row in session.scalars(query) if row.id != but]
    for row in rows:
        session.delete(row)
    session.flush()
    return len(rows)


def nobody_signs_in(session: Session) -> bool:
    """Whether no user has a password: the edge is new, or was only ever used by tokens."""
    return session.scalar(select(User.id).where(User.password_hash.is_not(None)).limit(1)) is None


def check_email(email: str) -> str:
    """QanatError `user_bad_field`."""
    local, at, domain = email.partition("@")
    is_good = bool(local and at and domain) and len(email) <= MAX_EMAIL and email.isascii() and email.isprintable()
    if not is_good or " " in email or "@" in domain:
        raise QanatError("user_bad_field", "not an email address in ASCII", where="email")
    return email


def _people(session: Session, users: Sequence[User]) -> list[Person]:
    ids = [user.id for user in users]
    found: dict[str, dict[str, Role]] = {}
    for row in session.scalars(select(Membership).where(Membership.user_id.in_(ids))):
        found.setdefault(row.user_id, {})[row.account_id] = roles.check(row.role)
    confirmed = select(Authenticator.id).where(Authenticator.id.in_(ids), Authenticator.confirmed_at.is_not(None))
    passkeys = select(Passkey.user_id).where(Passkey.user_id.in_(ids))
    factors = {*session.scalars(confirmed), *session.scalars(passkeys)}
    return [Person(user, found.get(user.id, {}), user.id in factors) for user in users]


def _is_visible(person: Person, reach: Reach) -> bool:
    return reach.is_everything or any(
        account_id != EVERY_ACCOUNT and reach.has_account(account_id) for account_id in person.roles
    )


def _check_may(session: Session, own: Sequence[Policy], account_id: str, role: Role) -> None:
    if account_id != EVERY_ACCOUNT:
        accounts.get(session, account_id)
    check_held(own, roles.granting(account_id, role), account_of(session), where="role")


def _mine_to_change(session: Session, user_id: str, own: Sequence[Policy]) -> Person:
    person = get(session, user_id)
    for account_id, role in person.roles.items():
        _check_may(session, own, account_id, role)
    return person


def is_last_owner(session: Session, user_id: str) -> bool:
    """Whether nobody else owns the edge."""
    return _owners(session) == [user_id]


def _owners(session: Session) -> list[str]:
    owners = select(Membership.user_id).join(User, User.id == Membership.user_id)
    owners = owners.where(Membership.account_id == EVERY_ACCOUNT, Membership.role == "owner", User.disabled.is_(False))
    return list(session.scalars(owners.limit(2)))


def _check_owner_left(session: Session) -> None:
    if not _owners(session):
        raise QanatError(
            "user_last_owner", "this is the last owner of the edge", hint="make another user an owner of it first"
        )


def _own_tokens(session: Session, user_id: str) -> Sequence[ApiToken]:
    query = select(ApiToken).where(ApiToken.user_id == user_id, ApiToken.account_id.is_(None))
    return session.scalars(query.order_by(ApiToken.created_at)).all()


def _disable_tokens_beyond(session: Session, person: Person) -> list[str]:
    disabled = []
    for token in _own_tokens(session, person.user.id):
        try:
            check_held(person.policies, token.policies, account_of(session))
        except QanatError:
            if not token.disabled:
                token.disabled = True
                disabled.append(token.id)
    return disabled


def _account(account_id: str) -> str | None:
    return None if account_id == EVERY_ACCOUNT else account_id
