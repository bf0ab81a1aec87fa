"""Quick tunnels: made for anybody without an account, named by words below one zone, gone soon after their connector."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from secrets import choice, token_bytes, token_hex

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from qanat.control import records, tunnels
from qanat.control.tunnels import SECRET_BYTES, Quick
from qanat.control.words import WORDS
from qanat.dns.forms import TUNNEL_SUFFIX, RecordDraft
from qanat.errors import QanatError, RetryLaterError
from qanat.store.audit import Actor
from qanat.store.database import Write
from qanat.store.models import Record, Tunnel, Zone
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer

ACTOR_KIND = "quick"
WORDS_A_NAME = 3
NAMES_TRIED = 5
UNCONNECTED = ("inactive", "down")
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


def actor(address: str) -> Actor:
    """Whoever asks for one from an address: nobody that is known."""
    return Actor(kind=ACTOR_KIND, name="quick", address=address)


def create(write: Write, sealer: Sealer, limits: QuickLimits, *, address: str) -> QuickTunnel:
    """A locally managed tunnel with its hostname.

    Args:
        address: who asks; an IPv6 one counts with its /64.

    Raises:
        QanatError: `quick_zone_missing`, `quick_too_many` (RetryLaterError).
    """
    asker = _asker(address)
    secret = token_bytes(SECRET_BYTES)
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
        raise _too_many(f"{asker} has {limits.per_address} quick tunnels, the most that one address may have", limits)
    tunnel = tunnels.create(
        write,
        sealer,
        account_id=zone.account_id,
        name=f"qt-{token_hex(10)}",
        secret=secret,
        config_src="local",
        quick=Quick(address=asker, expires_at=write.at + limits.expiry),
    )
    return QuickTunnel(tunnel=tunnel, hostname=_named(write, zone, tunnel), secret=secret)


def due(session: Session, at: datetime, *, expiry: timedelta) -> list[str]:
    """The ids of those without a connection for `expiry`."""
    idle = (
        _is_quick(deleted=False),
        Tunnel.quick_expires_at <= at,
        Tunnel.status.in_(UNCONNECTED),
        Tunnel.conns_inactive_at.is_(None) | (Tunnel.conns_inactive_at <= at - expiry),
    )
    return list(session.scalars(select(Tunnel.id).where(*idle)))


def expire(write: Write, tunnel_id: str) -> bool:
    """Deletes one; whether it was still there and unconnected."""
    tunnel = write.session.get(Tunnel, tunnel_id)
    if tunnel is None or tunnel.deleted_at is not None or tunnel.status not in UNCONNECTED:
        write.idle()
        return False
    tunnels.delete(write, account_id=tunnel.account_id, tunnel_id=tunnel.id, cascade=True)
    return True


def left_records(session: Session) -> dict[str, str]:
    """Records of those that are deleted, and their zones, by id."""
    query = select(Record.id, Record.zone_id).join(Tunnel, Tunnel.id == Record.tunnel_id)
    return {row.id: row.zone_id for row in session.execute(query.where(_is_quick(deleted=True)))}


def old(session: Session, at: datetime) -> list[str]:
    """The ids of those that were deleted long ago."""
    query = select(Tunnel.id).where(_is_quick(deleted=True), Tunnel.deleted_at < at - KEPT_AFTERWARDS)
    return list(session.scalars(query))


def forget(write: Write, tunnel_id: str) -> None:
    """Deletes what is left of a deleted one."""
    account_id = write.session.scalar(select(Tunnel.account_id).where(Tunnel.id == tunnel_id))
    tunnels.forget(write.session, [tunnel_id])
    write.audit("tunnel.forget", tunnel_id, account_id=account_id, detail={"quick": True})


def _named(write: Write, zone: Zone, tunnel: Tunnel) -> str:
    """A hostname of words that leads to the tunnel."""
    for _ in range(NAMES_TRIED):
        hostname = f"{'-'.join(choice(WORDS) for _ in range(WORDS_A_NAME))}.{zone.name}"
        draft = RecordDraft(name=f"{hostname}.", type="CNAME", content=f"{tunnel.id}{TUNNEL_SUFFIX}", proxied=True)
        try:
            records.create(write, zone.id, draft, reach=EVERYTHING)
        except QanatError as error:
            if not error.code.startswith("record_"):
                raise
            taken = error
        else:
            return hostname
    raise taken


def _is_quick(*, deleted: bool) -> ColumnElement[bool]:
    is_gone = Tunnel.deleted_at.is_not(None) if deleted else Tunnel.deleted_at.is_(None)
    return Tunnel.quick_address.is_not(None) & is_gone


def _count(session: Session, *filters: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(Tunnel)
    return session.scalar(query.where(_is_quick(deleted=False), *filters)) or 0


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
