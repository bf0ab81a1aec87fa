"""Named connector tokens of a tunnel, one a host: each has a secret of its own, is rotated and revoked alone, and ends when
it expires. A token is bound to its tunnel by that secret; the tunnel's own token is not one of these."""

from collections.abc import Sequence
from datetime import datetime
from secrets import token_bytes
from typing import Literal
from uuid import uuid4

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from qanat.control import connections, tunnels
from qanat.control.tunnels import SECRET_BYTES
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.models import Connection, ConnectorToken, Tunnel
from qanat.store.notices import Notice, NoticeKind
from qanat.store.sealing import Sealer

MAX_NAME = 100

Status = Literal["active", "expired", "revoked"]


def create(
    write: Write,
    sealer: Sealer,
    *,
    account_id: str,
    tunnel_id: str,
    name: str,
    expires_at: datetime | None,
) -> tuple[ConnectorToken, Tunnel]:
    """The token with its tunnel; its secret by `open_secret`.

    Raises:
        QanatError: `tunnel_unknown`, `connector_token_bad_name`, `connector_token_name_taken`,
            `connector_token_bad_expiry`, `connector_token_too_many`.
    """
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise QanatError("connector_token_bad_name", f"a name has 1 to {MAX_NAME} printable characters", where="name")
    tunnel = tunnels.get(write.session, account_id, tunnel_id)
    if expires_at is not None and expires_at <= write.at:
        raise QanatError("connector_token_bad_expiry", "this moment is over already", where="expires_at")
    if any(each.name == name for each in good(write.session, tunnel.id)):
        raise QanatError(
            "connector_token_name_taken",
            f"the tunnel has a connector token named {name!r}",
            where="name",
            hint="rotate or revoke that one, or choose another name",
        )
    token_id = str(uuid4())
    token = ConnectorToken(
        id=token_id,
        tunnel_id=tunnel.id,
        name=name,
        sealed_secret=sealer.seal(token_bytes(SECRET_BYTES), token_id),
        created_at=write.at,
        expires_at=expires_at,
        revoked_at=None,
        last_used_at=None,
        last_used_from=None,
    )
    write.session.add(token)
    write.grow("connector_tokens", tunnel.id)  # the edge compares a registration with each
    _told(write, tunnel, token, "connector_token.create", expires_at=expires_at)
    write.notice(Notice(NoticeKind.TUNNEL, tunnel_id=tunnel.id, account_id=account_id))
    return token, tunnel


def rotate(
    write: Write, sealer: Sealer, *, account_id: str, tunnel_id: str, token_id: str
) -> tuple[ConnectorToken, Tunnel]:
    """A new secret: the old one registers nothing any more, its live connections end after the grace.

    Raises:
        QanatError: `tunnel_unknown`, `connector_token_unknown` (also a revoked one).
    """
    tunnel = tunnels.get(write.session, account_id, tunnel_id)
    token = get(write.session, tunnel.id, token_id)
    if token.revoked_at is not None:
        raise QanatError("connector_token_unknown", "the connector token is revoked", where="token_id")
    token.sealed_secret = sealer.seal(token_bytes(SECRET_BYTES), token.id)
    _told(write, tunnel, token, "connector_token.rotate")
    write.notice(Notice(NoticeKind.TUNNEL_SECRET, tunnel_id=tunnel.id, account_id=account_id, token_id=token.id))
    return token, tunnel


def revoke(write: Write, *, account_id: str, tunnel_id: str, token_id: str) -> ConnectorToken:
    """Never let in again, and its connections end. A revoked one again is no error: nothing changes.

    Raises:
        QanatError: `tunnel_unknown`, `connector_token_unknown`.
    """
    tunnel = tunnels.get(write.session, account_id, tunnel_id)
    token = get(write.session, tunnel.id, token_id)
    _end(write, tunnel, token, "connector_token.revoke")
    return token


def due(session: Session, at: datetime) -> list[str]:
    """The ids of those whose time is over and that weren't ended yet."""
    return list(session.scalars(select(ConnectorToken.id).where(_is_due(at))))


def expire(write: Write, token_id: str) -> bool:
    """Ends one whose time is over, as if revoked then; whether it was still to be ended."""
    token = write.session.scalar(select(ConnectorToken).where(ConnectorToken.id == token_id, _is_due(write.at)))
    if token is None:
        write.idle()
        return False
    _end(write, write.session.get_one(Tunnel, token.tunnel_id), token, "connector_token.expire")
    return True


def get(session: Session, tunnel_id: str, token_id: str) -> ConnectorToken:
    """A revoked one too. QanatError `connector_token_unknown`."""
    token = session.get(ConnectorToken, token_id)
    if token is None or token.tunnel_id != tunnel_id:
        raise QanatError("connector_token_unknown", "no such connector token", where="token_id")
    return token


def good(session: Session, tunnel_id: str) -> list[ConnectorToken]:
    """Those that aren't revoked, in order of age: what the edge lets in, once what has expired is sorted out."""
    query = select(ConnectorToken).where(ConnectorToken.tunnel_id == tunnel_id, ConnectorToken.revoked_at.is_(None))
    return list(session.scalars(query.order_by(ConnectorToken.created_at, ConnectorToken.id)))


def page(session: Session, tunnel_id: str, *, offset: int, limit: int) -> tuple[list[ConnectorToken], int]:
    """A page in order of age, revoked ones too, and how many there are in all."""
    query = select(ConnectorToken).where(ConnectorToken.tunnel_id == tunnel_id)
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(ConnectorToken.id).subquery())) or 0
    ordered = query.order_by(ConnectorToken.created_at, ConnectorToken.id)
    return list(session.scalars(ordered.offset(offset).limit(limit))), total


def every(session: Session, tunnel_id: str) -> list[ConnectorToken]:
    """Revoked ones too."""
    return list(session.scalars(select(ConnectorToken).where(ConnectorToken.tunnel_id == tunnel_id)))


def live_connections(session: Session, tokens: Sequence[ConnectorToken]) -> dict[str, int]:
    """How many connections each token holds now; one without any is left out."""
    rows = session.execute(
        select(Connection.token_id, func.count())
        .where(Connection.token_id.in_([token.id for token in tokens]), Connection.lost_at.is_(None))
        .group_by(Connection.token_id)
    )
    return {row[0]: row[1] for row in rows}


def status_of(token: ConnectorToken, at: datetime) -> Status:
    """What became of it."""
    if token.expires_at is not None and token.expires_at <= (token.revoked_at or at):
        return "expired"
    return "active" if token.revoked_at is None else "revoked"


def open_secret(sealer: Sealer, token: ConnectorToken) -> bytes:
    """The raw secret; it is sealed to the token's id."""
    return sealer.open(token.sealed_secret, token.id)


def _is_due(at: datetime) -> ColumnElement[bool]:
    return ConnectorToken.revoked_at.is_(None) & (ConnectorToken.expires_at <= at)


def _end(write: Write, tunnel: Tunnel, token: ConnectorToken, action: str) -> None:
    dropped = 0
    if token.revoked_at is None:
        token.revoked_at = write.at
        dropped = connections.drop_live(write, tunnel.id, token_id=token.id)
    _told(write, tunnel, token, action, connections=dropped)
    # first the table without its secret, so that none of the dropped ones is let in again
    write.notice(Notice(NoticeKind.TUNNEL, tunnel_id=tunnel.id, account_id=tunnel.account_id))
    write.notice(Notice(NoticeKind.DISCONNECT, tunnel_id=tunnel.id, account_id=tunnel.account_id, token_id=token.id))


def _told(write: Write, tunnel: Tunnel, token: ConnectorToken, action: str, **more: object) -> None:
    detail = {
        "tunnel_id": tunnel.id,
        "name": token.name,
        **{key: each for key, each in more.items() if each is not None},
    }
    write.audit(action, token.id, account_id=tunnel.account_id, detail=detail)
