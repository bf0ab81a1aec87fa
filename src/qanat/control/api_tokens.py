"""API tokens' rows. Their text and checks are auth/'s; here is only the hash."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from qanat.control import accounts
from qanat.errors import QanatError
from qanat.store.audit import Actor
from qanat.store.database import Write
from qanat.store.limits import USER
from qanat.store.models import ApiToken
from qanat.store.notices import Notice, NoticeKind
from qanat.store.reach import Reach

Row = ApiToken
"""A token as it is stored, for who has no business with rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose a token is: an account's, or else the user's. `user_id` acts in both cases."""

    user_id: str
    account_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenContent:
    """What a token's owner may change; a change replaces all of it. `disabled` None: as before."""

    name: str
    policies: list[dict[str, Any]]
    allowed_ips: list[str] = field(default_factory=list)
    denied_ips: list[str] = field(default_factory=list)
    not_before: datetime | None = None
    expires_on: datetime | None = None
    disabled: bool | None = None


def count(session: Session) -> int:
    """How many API tokens exist, of any state."""
    return session.scalar(select(func.count()).select_from(ApiToken)) or 0


def create(
    write: Write, *, sha256: bytes, content: TokenContent, owner: Owner | None = None, kind: str = "api"
) -> ApiToken:
    """A token of its owner; without one, of the first user. QanatError `account_unknown`: the account is gone."""
    owner = owner or Owner(user_id=accounts.first_user(write.session).id)
    if owner.account_id is not None:
        accounts.get(write.session, owner.account_id)
    token = ApiToken(
        id=token_hex(16),
        user_id=owner.user_id,
        account_id=owner.account_id,
        kind=kind,
        sha256=sha256,
        disabled=bool(content.disabled),
        created_at=write.at,
        modified_at=write.at,
        last_used_at=None,
        last_used_from=None,
        **_columns(content),
    )
    write.session.add(token)
    write.grow("api_tokens", owner.account_id or f"{USER}{owner.user_id}")
    _written(write, "token.create", token, {**_told(content), "kind": kind})
    return token


# Refuses by an exception; in the writing transaction, so that what it saw of the token is what is changed.
Permit = Callable[[Session, ApiToken], None]


def change(write: Write, token_id: str, content: TokenContent, *, owner: Owner, permit: Permit) -> ApiToken:
    """The whole content anew. QanatError `token_unknown`: the owner has no such token; and what `permit` raises."""
    token = get(write.session, token_id, owner=owner)
    permit(write.session, token)
    for column, value in _columns(content).items():
        setattr(token, column, value)
    if content.disabled is not None:
        token.disabled = content.disabled
    token.modified_at = write.at
    _written(write, "token.change", token, {**_told(content), "disabled": token.disabled})
    return token


def names(session: Session, ids: Iterable[str], *, reach: Reach) -> dict[str, str]:
    """By id, of accounts within reach; of users' own tokens for who sees everything."""
    query = select(ApiToken.id, ApiToken.name).where(ApiToken.id.in_(sorted(set(ids))))
    return {str(row[0]): str(row[1]) for row in session.execute(query.where(reach.accounts_where(ApiToken.account_id)))}


def roll(write: Write, token_id: str, *, sha256: bytes, owner: Owner, permit: Permit) -> ApiToken:
    """Another text for the token; the one before is refused from now on. QanatErrors as `change`'s."""
    token = get(write.session, token_id, owner=owner)
    permit(write.session, token)
    token.sha256 = sha256
    token.modified_at = write.at
    _written(write, "token.roll", token, {"name": token.name})
    return token


def delete(write: Write, token_id: str, *, owner: Owner) -> None:
    """From now on the token is refused, and unknown. QanatError `token_unknown`."""
    token = get(write.session, token_id, owner=owner)
    write.session.delete(token)
    _written(write, "token.delete", token, {"name": token.name})


def get(session: Session, token_id: str, *, owner: Owner) -> ApiToken:
    """A token of this owner. QanatError `token_unknown`."""
    token = session.scalar(_owned(owner).where(ApiToken.id == token_id))
    if token is None:
        raise QanatError("token_unknown", "no such API token")
    return token


def page(session: Session, *, owner: Owner, descending: bool, offset: int, limit: int) -> tuple[list[ApiToken], int]:
    """A page of the owner's tokens in order of age, and how many there are in all."""
    query = _owned(owner)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    order = (ApiToken.created_at.desc(), ApiToken.id.desc()) if descending else (ApiToken.created_at, ApiToken.id)
    return list(session.scalars(query.order_by(*order).offset(offset).limit(limit))), total


def find_by_sha256(session: Session, sha256: bytes) -> ApiToken | None:
    """The token with this hash."""
    return session.scalar(select(ApiToken).where(ApiToken.sha256 == sha256))


def note_use(write: Write, token: ApiToken, address: str, *, is_new_address: bool) -> None:
    """Writes down when and from where; a new address is an audit row (security.md S38). `token` may be no row: a key."""
    row = write.session.get(ApiToken, token.id)
    if is_new_address:
        user = Actor(kind="token" if row is not None else "user", name=token.id, address=address)
        action = "token.used_from" if row is not None else "user.key_used_from"
        before = row.last_used_from if row is not None else None
        write.audit(action, token.id, account_id=token.account_id, detail={"before": before}, actor=user)
    if row is not None:
        row.last_used_at = write.at
        row.last_used_from = address


def _owned(owner: Owner) -> Select[ApiToken]:
    if owner.account_id is not None:
        return select(ApiToken).where(ApiToken.account_id == owner.account_id)
    return select(ApiToken).where(ApiToken.account_id.is_(None), ApiToken.user_id == owner.user_id)


def _columns(content: TokenContent) -> dict[str, Any]:
    return {
        "name": content.name,
        "policies": content.policies,
        "allowed_ips": content.allowed_ips,
        "denied_ips": content.denied_ips,
        "not_before": content.not_before,
        "expires_on": content.expires_on,
    }


def _told(content: TokenContent) -> dict[str, object]:
    return {**_columns(content), "policies": [_summary(policy) for policy in content.policies]}


def _summary(policy: dict[str, Any]) -> dict[str, Any]:
    return {
        "effect": policy["effect"],
        "resources": policy["resources"],
        "permission_groups": [group.get("name", group["id"]) for group in policy["permission_groups"]],
    }


def _written(write: Write, action: str, token: ApiToken, detail: dict[str, object]) -> None:
    write.audit(action, token.id, account_id=token.account_id, detail=detail)
    write.notice(Notice(NoticeKind.API_TOKEN, account_id=token.account_id))
