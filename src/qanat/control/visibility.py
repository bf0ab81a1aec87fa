"""What of the store a caller sees. What isn't seen is answered as what isn't there: nobody learns what others have."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from qanat.control import accounts, tunnels
from qanat.control.principal import Principal
from qanat.errors import QanatError
from qanat.store.models import Account, Tunnel
from qanat.store.reach import Permission, Reach
from qanat.store.skipped import Skipped


def visible_account(session: Session, who: Principal, account_id: str, permission: Permission) -> Account:
    """The account, on which the caller has the permission. QanatError `account_unknown`."""
    return accounts.get(session, account_id, reach=who.reach(permission))


def visible_tunnel(
    session: Session,
    who: Principal,
    account_id: str,
    tunnel_id: str,
    permission: Permission = "tunnel.read",
    *,
    deleted: bool = False,
) -> Tunnel:
    """A tunnel of an account. `deleted`: a deleted one is found too. QanatError `account_unknown`, `tunnel_unknown`."""
    visible_account(session, who, account_id, permission)
    return tunnels.get(session, account_id, tunnel_id, deleted=deleted)


def known_tunnel(
    session: Session, who: Principal, tunnel_id: str, permission: Permission = "tunnel.read", *, deleted: bool = True
) -> Tunnel:
    """A tunnel of any account that the caller sees. Deleted ones too, whose story one may want to read.

    Raises:
        QanatError: `tunnel_unknown`, the same for another account's.
    """
    tunnel = session.get(Tunnel, tunnel_id)
    known = tunnel is not None and who.reach(permission).has_account(tunnel.account_id)
    if tunnel is None or not known or (tunnel.deleted_at is not None and not deleted):
        raise QanatError("tunnel_unknown", "no such tunnel", where="tunnel_id")
    return tunnel


def sees_request(session: Session, reach: Reach, tunnel_id: str | None) -> bool:
    """Whether a request to this tunnel may be told: one to no tunnel, or to a forgotten one, only to who sees everything."""
    if reach.is_everything:
        return True
    tunnel = session.get(Tunnel, tunnel_id) if tunnel_id else None
    return tunnel is not None and reach.has_account(tunnel.account_id)


def visible_skipped(rows: Iterable[Skipped], reach: Reach) -> list[Skipped]:
    """The rows that are left out, of the accounts that are seen."""
    return [
        row for row in rows if reach.is_everything or (row.account_id is not None and reach.has_account(row.account_id))
    ]
