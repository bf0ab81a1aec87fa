"""Virtual networks of private routes: each account has one that is the default, made when it is first asked for."""

from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from qanat.control import accounts
from qanat.errors import QanatError
from qanat.store.audit import SYSTEM
from qanat.store.database import Write
from qanat.store.models import TeamnetRoute, VirtualNetwork

DEFAULT_NAME = "default"
MAX_NAME = 100
MAX_COMMENT = 256


def ensure_default(write: Write, account_id: str) -> VirtualNetwork:
    """The account's default network, made by the system itself when there is none."""
    found = default(write.session, account_id)
    if found is not None:
        return found
    names = set(write.session.scalars(select(VirtualNetwork.name).where(_live(account_id))))
    name = next(name for number in range(len(names) + 1) if (name := _default_name(number)) not in names)
    network = _made(write, account_id, name, "", is_default=True)
    write.audit("virtual_network.create", network.id, account_id=account_id, detail=_shown(network), actor=SYSTEM)
    return network


def create(write: Write, *, account_id: str, name: str, comment: str, is_default: bool) -> VirtualNetwork:
    """QanatError `virtual_network_bad_name`, `virtual_network_name_taken`."""
    _check(name, comment)
    ensure_default(write, account_id)
    _check_free(write.session, account_id, name)
    if is_default:
        _take_default(write, account_id)
    network = _made(write, account_id, name, comment, is_default=is_default)
    write.grow("virtual_networks", account_id)
    _told(write, network, "virtual_network.create")
    return network


def change(
    write: Write,
    *,
    account_id: str,
    network_id: str,
    name: str | None = None,
    comment: str | None = None,
    is_default: bool | None = None,
) -> VirtualNetwork:
    """Sets what is given. Another one becomes the default only by being made it.

    Raises:
        QanatError: `virtual_network_unknown`, `virtual_network_bad_name`, `virtual_network_name_taken`,
            `virtual_network_is_default`.
    """
    _check(name, comment)
    network = get(write.session, account_id, network_id)
    before = _shown(network)
    if name is not None and name != network.name:
        _check_free(write.session, account_id, name)
        network.name = name
    if comment is not None:
        network.comment = comment
    if is_default is False and network.is_default:
        raise QanatError(
            "virtual_network_is_default",
            "an account has one default virtual network",
            where="is_default_network",
            hint="make another one the default",
        )
    if is_default and not network.is_default:
        _take_default(write, account_id)
        network.is_default = True
    _told(write, network, "virtual_network.change", before=before)
    return network


def delete(write: Write, *, account_id: str, network_id: str, force: bool) -> VirtualNetwork:
    """`force`: its routes go with it. One that is deleted already again is no error.

    Raises:
        QanatError: `virtual_network_unknown`, `virtual_network_is_default`, `virtual_network_in_use`.
    """
    network = get(write.session, account_id, network_id, deleted=True)
    if network.deleted_at is not None:
        _told(write, network, "virtual_network.delete_again")
        return network
    if network.is_default:
        raise QanatError(
            "virtual_network_is_default",
            "the default virtual network can't be deleted",
            where="virtual_network_id",
            hint="make another one the default first",
        )
    live = (TeamnetRoute.virtual_network_id == network.id) & TeamnetRoute.deleted_at.is_(None)
    routes = list(write.session.scalars(select(TeamnetRoute.network).where(live)))
    if routes and not force:
        raise QanatError(
            "virtual_network_in_use",
            f"the virtual network has {len(routes)} routes",
            where="virtual_network_id",
            hint="delete them first, or delete it with force=true",
        )
    write.session.execute(update(TeamnetRoute).where(live).values(deleted_at=write.at))
    network.deleted_at = write.at
    _told(write, network, "virtual_network.delete", routes=routes)
    return network


def get(session: Session, account_id: str, network_id: str, *, deleted: bool = False) -> VirtualNetwork:
    """QanatError `virtual_network_unknown`; `deleted`: a deleted one is found too."""
    network = session.get(VirtualNetwork, network_id)
    if network is None or network.account_id != account_id or (network.deleted_at is not None and not deleted):
        raise QanatError("virtual_network_unknown", "no such virtual network", where="virtual_network_id")
    return network


def default(session: Session, account_id: str) -> VirtualNetwork | None:
    """None until it was first asked for."""
    return session.scalar(select(VirtualNetwork).where(_live(account_id), VirtualNetwork.is_default.is_(True)).limit(1))


def listed(session: Session, account_id: str, *, filters: Sequence[ColumnElement[bool]]) -> list[VirtualNetwork]:
    """In order of age, deleted ones too unless a filter says otherwise."""
    query = select(VirtualNetwork).where(VirtualNetwork.account_id == account_id, *filters)
    return list(session.scalars(query.order_by(VirtualNetwork.created_at, VirtualNetwork.id)))


def _live(account_id: str) -> ColumnElement[bool]:
    return (VirtualNetwork.account_id == account_id) & VirtualNetwork.deleted_at.is_(None)


def _default_name(number: int) -> str:
    return f"{DEFAULT_NAME}-{number}" if number else DEFAULT_NAME


def _made(write: Write, account_id: str, name: str, comment: str, *, is_default: bool) -> VirtualNetwork:
    accounts.get(write.session, account_id)  # it may have gone since it was looked at
    network = VirtualNetwork(
        id=str(uuid4()),
        account_id=account_id,
        name=name,
        comment=comment,
        is_default=is_default,
        created_at=write.at,
        deleted_at=None,
    )
    write.session.add(network)
    return network


def _take_default(write: Write, account_id: str) -> None:
    others = update(VirtualNetwork).where(VirtualNetwork.account_id == account_id, VirtualNetwork.is_default.is_(True))
    write.session.execute(others.values(is_default=False))


def _check(name: str | None, comment: str | None) -> None:
    if name is not None and not (name.strip() and len(name) <= MAX_NAME and name.isprintable()):
        raise QanatError("virtual_network_bad_name", f"a name has 1 to {MAX_NAME} printable characters", where="name")
    if comment is not None and len(comment) > MAX_COMMENT:
        raise QanatError("virtual_network_bad_name", f"a comment has at most {MAX_COMMENT} characters", where="comment")


def _check_free(session: Session, account_id: str, name: str) -> None:
    taken = select(VirtualNetwork.id).where(_live(account_id), VirtualNetwork.name == name).limit(1)
    if session.scalar(taken) is not None:
        raise QanatError(
            "virtual_network_name_taken", "You already have a virtual network with this name", where="name"
        )


def _shown(network: VirtualNetwork) -> dict[str, object]:
    return {"name": network.name, "comment": network.comment, "is_default": network.is_default}


def _told(write: Write, network: VirtualNetwork, action: str, **more: object) -> None:
    write.audit(action, network.id, account_id=network.account_id, detail={**_shown(network), **more})
