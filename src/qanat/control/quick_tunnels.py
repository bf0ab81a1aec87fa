"""Quick tunnels: made for anybody without an account, named by words below one zone, gone soon after their connector."""

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from secrets import choice, token_bytes, token_hex

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from qanat.control import records
from qanat.control.tunnels import SECRET_BYTES, add_tunnel, forget_tunnels, remove_tunnel
from qanat.control.words import WORDS
from qanat.dns.forms import TUNNEL_SUFFIX, RecordDraft
from qanat.errors import QanatError, RetryLaterError
from qanat.store.audit import SYSTEM, Actor
from qanat.store.database import Store
from qanat.store.models import Record, Tunnel, Zone
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from qanat.store.skipped import SkippedRows, each_alone

ACTOR_KIND = "quick"
WORDS_A_NAME = 3
NAMES_TRIED = 5
KEPT_AFTERWARDS = timedelta(days=1)
"""So long a connector of a deleted one is told so, instead of that there is no such tunnel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickLimits:
    """`zone`: the names lie below it, the tunnels are its account's. `per_address`, `in_all`: how many there may be at once.
    `expiry`: for so long one is kept without a connection."""

    zone: str
    per_address: int
    in_all: int
    expiry: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickTunnel:
    """A new one, with what its connector needs."""

    tunnel: Tunnel
    hostname: str
    secret: bytes


def create_quick(store: Store, sealer: Sealer, limits: QuickLimits, *, address: str) -> QuickTunnel:
    """A locally managed tunnel with its hostname.

    Args:
        address: who asks; an IPv6 one counts with its /64.

    Raises:
        QanatError: `quick_zone_missing`, `quick_too_many` (RetryLaterError).
    """
    actor = Actor(kind=ACTOR_KIND, name="quick", address=address)
    asker = _asker(address)
    secret = token_bytes(SECRET_BYTES)
    with store.writing(actor) as write:
        zone = write.session.scalar(select(Zone).where(Zone.name == limits.zone))
        if zone is None:
            raise QanatError(
                "quick_zone_missing",
                f"the zone of quick tunnels, {limits.zone}, is not on this server",
                where="control.quick_tunnels.zone",
                hint="create the zone",
            )
        if _count(write.session) >= limits.in_all:
            raise _too_many("there are too many quick tunnels right now", limits)
        if _count(write.session, Tunnel.quick_address == asker) >= limits.per_address:
            raise _too_many(
                f"{asker} has {limits.per_address} quick tunnels, the most that one address may have", limits
            )
        tunnel = add_tunnel(
            write,
            sealer,
            account_id=zone.account_id,
            name=f"qt-{token_hex(10)}",
            secret=secret,
            config_src="local",
            quick_address=asker,
            quick_expires_at=write.at + limits.expiry,
        )
    for attempt in range(NAMES_TRIED):
        hostname = f"{'-'.join(choice(WORDS) for _ in range(WORDS_A_NAME))}.{zone.name}"
        draft = RecordDraft(name=f"{hostname}.", type="CNAME", content=f"{tunnel.id}{TUNNEL_SUFFIX}", proxied=True)
        try:
            records.create_record(store, actor, zone.id, draft, reach=EVERYTHING)
            return QuickTunnel(tunnel=tunnel, hostname=hostname, secret=secret)
        except QanatError as error:
            if attempt == NAMES_TRIED - 1 or not error.code.startswith("record_"):
                _remove(store, tunnel.id)
                raise
    raise AssertionError("the last attempt returns or raises")


def expire_quick(store: Store, skipped: SkippedRows | None = None, *, expiry: timedelta) -> int:
    """Deletes those without a connection for `expiry`, and what is left of those that are deleted; how many were deleted. One
    that can't be deleted is noted, and stays alone."""
    now = store.clock()
    idle = (
        Tunnel.quick_address.is_not(None),
        Tunnel.deleted_at.is_(None),
        Tunnel.quick_expires_at <= now,
        Tunnel.status.in_(("inactive", "down")),
        Tunnel.conns_inactive_at.is_(None) | (Tunnel.conns_inactive_at <= now - expiry),
    )
    with store.reading() as session:
        due = list(session.scalars(select(Tunnel.id).where(*idle)))
        deleted = Tunnel.quick_address.is_not(None) & Tunnel.deleted_at.is_not(None)
        old = list(session.scalars(select(Tunnel.id).where(deleted, Tunnel.deleted_at < now - KEPT_AFTERWARDS)))
    removed = each_alone("quick_tunnel", due, lambda tunnel_id: _remove(store, tunnel_id), skipped)
    with store.reading() as session:
        rows = session.execute(
            select(Record.zone_id, Record.id).join(Tunnel, Tunnel.id == Record.tunnel_id).where(deleted)
        ).all()
    zones = {record_id: zone_id for zone_id, record_id in rows}
    each_alone("quick_tunnel", zones, lambda record_id: _drop_record(store, zones[record_id], record_id), skipped)
    each_alone("quick_tunnel", old, lambda tunnel_id: _forget(store, tunnel_id), skipped)
    return removed


def _drop_record(store: Store, zone_id: str, record_id: str) -> bool:
    records.delete_record(store, SYSTEM, zone_id, record_id, reach=EVERYTHING)
    return True


def _remove(store: Store, tunnel_id: str) -> bool:
    """Whether it was still there and unconnected."""
    with store.recording() as write:
        tunnel = write.session.get(Tunnel, tunnel_id)
        if tunnel is None or tunnel.deleted_at is not None or tunnel.status not in ("inactive", "down"):
            return False
        remove_tunnel(write, tunnel, detail={"quick": True})
    return True


def _forget(store: Store, tunnel_id: str) -> bool:
    with store.writing(SYSTEM) as write:
        account_id = write.session.scalar(select(Tunnel.account_id).where(Tunnel.id == tunnel_id))
        forget_tunnels(write.session, [tunnel_id])
        write.audit("tunnel.forget", tunnel_id, account_id=account_id, detail={"quick": True})
    return True


def _count(session: Session, *filters: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(Tunnel)
    return session.scalar(query.where(Tunnel.quick_address.is_not(None), Tunnel.deleted_at.is_(None), *filters)) or 0


def _too_many(message: str, limits: QuickLimits) -> RetryLaterError:
    return RetryLaterError(
        "quick_too_many",
        message,
        retry_after_s=limits.expiry.total_seconds(),
        hint="stop some, or make a tunnel of an account",
    )


def _asker(address: str) -> str:
    """A person has a whole /64 of IPv6 addresses."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address or "unknown"
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or ip_network(f"{parsed}/64", strict=False))
    return str(parsed)
