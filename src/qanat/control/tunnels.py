"""Tunnels: created, renamed, rotated, softly deleted. Their secrets pass through here sealed."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import Session

from qanat.control import accounts, connections
from qanat.errors import QanatError
from qanat.ids import TunnelId
from qanat.store.database import Write
from qanat.store.models import (
    Configuration,
    Connection,
    Connector,
    ConnectorToken,
    Event,
    NodeState,
    Promotion,
    TeamnetRoute,
    Tunnel,
    TunnelRole,
)
from qanat.store.notices import Notice, NoticeKind
from qanat.store.sealing import Sealer
from qanat.store.versions import Expected, check_row, row_version

SECRET_BYTES = 32
LEAST_SECRET_CHARACTERS = 32
"""Of base64, which is what stock counts: 22 bytes have as many, and what is made here has 44."""
MAX_SECRET_BYTES = 1024
MAX_NAME = 255
VERSIONED = ("name", "config_src", "sealed_secret")
CONFIG_SOURCES = ("local", "cloudflare")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    """What a quick tunnel has besides: who asked for it, and when it ends unless it is connected then."""

    address: str
    expires_at: datetime


def create(
    write: Write,
    sealer: Sealer,
    *,
    account_id: str,
    name: str,
    secret: bytes,
    config_src: str,
    quick: Quick | None = None,
) -> Tunnel:
    """A tunnel of an account.

    Raises:
        QanatError: `tunnel_name_taken`, `tunnel_bad_name`, `tunnel_bad_secret`, `tunnel_bad_config_src`; `account_unknown`:
            it is gone; with the commit `tunnel_too_many`.
    """
    check_name(name)
    check_secret(secret)
    if config_src not in CONFIG_SOURCES:
        raise QanatError("tunnel_bad_config_src", "config_src is `local` or `cloudflare`", where="config_src")
    accounts.get(write.session, account_id)
    _check_name_free(write.session, account_id, name)
    tunnel_id = str(uuid4())
    tunnel = new_row(
        tunnel_id,
        account_id=account_id,
        name=name,
        sealed_secret=sealer.seal(secret, tunnel_id),
        config_src=config_src,
        created_at=write.at,
    )
    if quick is None:
        write.grow("tunnels", account_id)
    else:
        tunnel.quick_address = quick.address
        tunnel.quick_expires_at = quick.expires_at
    write.session.add(tunnel)
    write.audit("tunnel.create", tunnel_id, account_id=account_id, detail={"name": name, "config_src": config_src})
    write.notice(Notice(NoticeKind.TUNNEL, tunnel_id=tunnel_id, account_id=account_id))
    return tunnel


def new_row(
    tunnel_id: str, *, account_id: str, name: str, sealed_secret: bytes, config_src: str, created_at: datetime
) -> Tunnel:
    """A tunnel that nobody connected to yet."""
    return Tunnel(
        id=tunnel_id,
        account_id=account_id,
        name=name,
        sealed_secret=sealed_secret,
        config_src=config_src,
        created_at=created_at,
        deleted_at=None,
        conns_active_at=None,
        conns_inactive_at=None,
        down_reason=None,
        status="inactive",
        status_since=None,
        local_configuration=None,
        local_configuration_at=None,
        quick_address=None,
        quick_expires_at=None,
    )


def change(
    write: Write,
    sealer: Sealer,
    *,
    account_id: str,
    tunnel_id: str,
    name: str | None = None,
    secret: bytes | None = None,
    expected: Expected | None = None,
) -> Tunnel:
    """Renames, or rotates the secret. The same secret again is no rotation. `expected`: the `version` that it must
    have."""
    if name is not None:
        check_name(name)
    if secret is not None:
        check_secret(secret)
    tunnel = get(write.session, account_id, tunnel_id)
    check_row(expected, tunnel, *VERSIONED)
    renamed = name is not None and name != tunnel.name
    if name is not None and renamed:
        _check_name_free(write.session, account_id, name)
        tunnel.name = name
    rotated = secret is not None and secret != sealer.open(tunnel.sealed_secret, tunnel.id)
    if secret is not None and rotated:
        tunnel.sealed_secret = sealer.seal(secret, tunnel.id)
    write.audit(
        "tunnel.change",
        tunnel.id,
        account_id=account_id,
        detail={"name": name if renamed else None, "secret_rotated": rotated},
    )
    kind = NoticeKind.TUNNEL_SECRET if rotated else NoticeKind.TUNNEL
    write.notice(Notice(kind, tunnel_id=tunnel.id, account_id=account_id))
    return tunnel


def delete(write: Write, *, account_id: str, tunnel_id: str, cascade: bool, disconnects: bool = False) -> Tunnel:
    """Soft: the row stays, its name is free again. All that hangs on it goes, but its DNS records. One that is deleted already
    is no error: `terraform destroy` comes twice.

    Args:
        cascade: live connections end, private routes go with the tunnel.
        disconnects: live connections end, private routes still stand in the way (api.md 7.1).

    Raises:
        QanatError: `tunnel_unknown`, `tunnel_has_connections`, `tunnel_has_routes`.
    """
    tunnel = get(write.session, account_id, tunnel_id, deleted=True)
    if tunnel.deleted_at is not None:
        write.audit("tunnel.delete_again", tunnel.id, account_id=account_id, detail={"name": tunnel.name})
        return tunnel
    live = connections.count_live(write.session, tunnel.id)
    if live and not (cascade or disconnects):
        raise QanatError(
            "tunnel_has_connections",
            f"the tunnel has {live} active connections",
            where="tunnel_id",
            hint="stop its connectors, clean up its connections, or delete with cascade=true",
        )
    networks = _networks(write.session, tunnel.id)
    if networks and not cascade:
        raise QanatError(
            "tunnel_has_routes",
            f"the tunnel has {len(networks)} private network routes: {', '.join(networks[:5])}",
            where="tunnel_id",
            hint="delete them first, or delete the tunnel with cascade=true",
        )
    tunnel.deleted_at = write.at
    dropped = connections.drop_live(write, tunnel.id)
    gone = update(TeamnetRoute).where(TeamnetRoute.tunnel_id == tunnel.id, TeamnetRoute.deleted_at.is_(None))
    write.session.execute(gone.values(deleted_at=write.at))
    write.audit(
        "tunnel.delete",
        tunnel.id,
        account_id=account_id,
        detail={
            "name": tunnel.name,
            "connections": dropped,
            "routes": networks,
            "cascade": cascade,
            "disconnects": disconnects,
            **({"quick": True} if tunnel.quick_address is not None else {}),
        },
    )
    write.notice(Notice(NoticeKind.TUNNEL_DELETED, tunnel_id=tunnel.id, account_id=account_id))
    return tunnel


def forget(session: Session, tunnel_ids: Sequence[str]) -> None:
    """Deletes their rows, with all that hangs on them. For tunnels that are deleted softly already."""
    tables = (
        Connection,
        Connector,
        Configuration,
        ConnectorToken,
        TeamnetRoute,
        Event,
        TunnelRole,
        NodeState,
        Promotion,
    )
    for table in tables:
        session.execute(sql_delete(table).where(table.tunnel_id.in_(tunnel_ids)))
    session.execute(sql_delete(Tunnel).where(Tunnel.id.in_(tunnel_ids)))


def disconnect(write: Write, *, account_id: str, tunnel_id: str, connector_id: str | None = None) -> int:
    """Ends the live connections (of one connector), here at once and at the edges by the notice; how many. A deleted tunnel
    has none."""
    tunnel = get(write.session, account_id, tunnel_id, deleted=True)
    dropped = connections.drop_live(write, tunnel.id, connector_id=connector_id)
    write.audit(
        "tunnel.disconnect",
        tunnel.id,
        account_id=account_id,
        detail={"connector_id": connector_id, "connections": dropped},
    )
    write.notice(Notice(NoticeKind.DISCONNECT, tunnel_id=tunnel.id, account_id=account_id, connector_id=connector_id))
    return dropped


def version(tunnel: Tunnel) -> str:
    """Of what a client can change; connections come and go without it."""
    return row_version(tunnel, *VERSIONED)


def get(session: Session, account_id: str, tunnel_id: str, *, deleted: bool = False) -> Tunnel:
    """QanatError `tunnel_unknown`, the same for a deleted one (unless `deleted`) and another account's."""
    tunnel = session.get(Tunnel, tunnel_id)
    if tunnel is None or tunnel.account_id != account_id or (tunnel.deleted_at is not None and not deleted):
        raise QanatError("tunnel_unknown", "no such tunnel", where="tunnel_id")
    return tunnel


def page(
    session: Session, account_id: str, *, filters: Sequence[ColumnElement[bool]], offset: int, limit: int
) -> tuple[list[Tunnel], int]:
    """A page in order of age, and how many match in all."""
    query = select(Tunnel).where(Tunnel.account_id == account_id, *filters)
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(Tunnel.id).subquery())) or 0
    ordered = query.order_by(Tunnel.created_at, Tunnel.id)
    return list(session.scalars(ordered.offset(offset).limit(limit))), total


def names(session: Session, account_id: str, tunnel_ids: Sequence[str]) -> dict[str, str]:
    """Of these tunnels of the account by id, those that are not deleted."""
    query = select(Tunnel.id, Tunnel.name).where(
        Tunnel.account_id == account_id, Tunnel.deleted_at.is_(None), Tunnel.id.in_(tunnel_ids)
    )
    return {row.id: row.name for row in session.execute(query)}


def named(session: Session, account_id: str, name: str) -> str | None:
    """The id of the account's tunnel of this name, unless it is deleted."""
    return session.scalar(
        select(Tunnel.id).where(Tunnel.account_id == account_id, Tunnel.name == name, Tunnel.deleted_at.is_(None))
    )


def choices(session: Session, account_id: str, *, most: int) -> dict[str, str]:
    """The first tunnels by name that a record may lead to: id and name."""
    query = select(Tunnel.id, Tunnel.name).where(
        Tunnel.account_id == account_id, Tunnel.deleted_at.is_(None), Tunnel.quick_address.is_(None)
    )
    return {row.id: row.name for row in session.execute(query.order_by(Tunnel.name, Tunnel.id).limit(most))}


def existed_at(moment: datetime) -> ColumnElement[bool]:
    """The filter: created before, and not deleted before."""
    return (Tunnel.created_at <= moment) & (Tunnel.deleted_at.is_(None) | (Tunnel.deleted_at > moment))


def open_secret(sealer: Sealer, tunnel: Tunnel) -> bytes:
    """The raw secret."""
    return sealer.open(tunnel.sealed_secret, TunnelId(tunnel.id))


def token_text(tunnel: Tunnel, secret: bytes, found_by: Mapping[str, str]) -> str:
    """The token of api.md 4.1: the same every time, until the secret changes, or what `found_by` says of the edge."""
    fields = {"a": tunnel.account_id, "t": tunnel.id, "s": base64.b64encode(secret).decode(), **found_by}
    return base64.b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()


def check_name(name: str) -> None:
    """QanatError `tunnel_bad_name`: empty, too long, with control characters, or a UUID (it would shadow an id)."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise QanatError(
            "tunnel_bad_name", f"a name has 1 to {MAX_NAME} printable characters", where="name", hint="rename it"
        )
    try:
        UUID(name)
    except ValueError:
        return
    raise QanatError("tunnel_bad_name", "a tunnel's name can't be a UUID", where="name", hint="choose a word")


def check_secret(secret: bytes) -> None:
    """QanatError `tunnel_bad_secret`."""
    characters = (len(secret) + 2) // 3 * 4
    if characters < LEAST_SECRET_CHARACTERS or len(secret) > MAX_SECRET_BYTES:
        raise QanatError(
            "tunnel_bad_secret",
            f"a tunnel secret has at least {LEAST_SECRET_CHARACTERS} characters of base64, and at most "
            f"{MAX_SECRET_BYTES} bytes in them",
            where="tunnel_secret",
            hint="leave it out, and a good one is made",
        )


def _networks(session: Session, tunnel_id: str) -> list[str]:
    query = select(TeamnetRoute.network).where(TeamnetRoute.tunnel_id == tunnel_id, TeamnetRoute.deleted_at.is_(None))
    return sorted(session.scalars(query))


def _check_name_free(session: Session, account_id: str, name: str) -> None:
    if named(session, account_id, name) is not None:
        raise QanatError(
            "tunnel_name_taken", "You already have a tunnel with this name", where="name", hint="choose another name"
        )
