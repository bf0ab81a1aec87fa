"""API tokens' rows. Their text and checks are auth/'s; here is only the hash."""

from datetime import datetime, timedelta
from secrets import token_hex

from sqlalchemy import func, select

from qanat.store import accounts
from qanat.store.audit import Actor
from qanat.store.database import Store
from qanat.store.models import ApiToken
from qanat.store.notices import Notice, NoticeKind

USE_NOTED_EVERY = timedelta(minutes=1)


def count_tokens(store: Store) -> int:
    """How many API tokens exist, of any state."""
    with store.reading() as session:
        return session.scalar(select(func.count()).select_from(ApiToken)) or 0


def create_token(
    store: Store,
    actor: Actor,
    *,
    sha256: bytes,
    name: str,
    account_id: str | None = None,
    not_before: datetime | None = None,
    expires_on: datetime | None = None,
) -> ApiToken:
    """A token of the first user."""
    with store.writing(actor) as write:
        token = ApiToken(
            id=token_hex(16),
            user_id=accounts.first_user(write.session).id,
            account_id=account_id,
            name=name,
            sha256=sha256,
            disabled=False,
            not_before=not_before,
            expires_on=expires_on,
            created_at=write.at,
            last_used_at=None,
            last_used_from=None,
        )
        write.session.add(token)
        write.audit("token.create", token.id, account_id=account_id, detail={"name": name, "expires_on": expires_on})
        write.notice(Notice(NoticeKind.API_TOKEN, account_id=account_id))
    return token


def disable_token(store: Store, actor: Actor, token_id: str) -> None:
    """From now on the token is refused. Silent when there is no such token."""
    with store.writing(actor) as write:
        token = write.session.get(ApiToken, token_id)
        if token is not None:
            token.disabled = True
        write.audit("token.disable", token_id, account_id=token.account_id if token else None)
        write.notice(Notice(NoticeKind.API_TOKEN))


def find_by_sha256(store: Store, sha256: bytes) -> ApiToken | None:
    """The token with this hash."""
    with store.reading() as session:
        return session.scalar(select(ApiToken).where(ApiToken.sha256 == sha256))


def note_use(store: Store, token: ApiToken, address: str) -> None:
    """Writes down when and from where, at most once a minute; a new address is an audit row (security.md S38)."""
    now = store.clock()
    moved = token.last_used_from != address
    if not moved and token.last_used_at is not None and now - token.last_used_at < USE_NOTED_EVERY:
        return
    with store.recording() as write:
        row = write.session.get(ApiToken, token.id)
        if row is None:
            return
        if row.last_used_from != address:
            write.actor = Actor(kind="token", name=row.id, address=address)
            write.audit("token.used_from", row.id, account_id=row.account_id, detail={"before": row.last_used_from})
        row.last_used_at = write.at
        row.last_used_from = address
