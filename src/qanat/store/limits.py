"""How much one account may have: it can't fill the database, or the edge's memory, at the others' expense."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from qanat.errors import QanatError
from qanat.store.models import ApiToken, ConnectorToken, Record, TeamnetRoute, Tunnel, VirtualNetwork, Zone

Kind = Literal["zones", "records", "tunnels", "api_tokens", "connector_tokens", "private_routes", "virtual_networks"]
KNOWN_OWNERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLimits:
    """The most of each kind. `records`: of a zone; `connector_tokens`: of a tunnel; `api_tokens`: of an account, and of the
    user; the others of an account. `configurations`: so many versions of a tunnel's are kept. `deleted`: so many deleted
    tunnels, private routes, virtual networks and held names of an account, and revoked connector tokens of a tunnel."""

    zones: int = 1000
    records: int = 20_000
    tunnels: int = 1000
    api_tokens: int = 500
    connector_tokens: int = 100
    private_routes: int = 1000
    virtual_networks: int = 1000
    configurations: int = 100
    deleted: int = 1000


@dataclass(frozen=True, slots=True)
class Counted:
    """What rows count. `owner`: the column that says whose they are; `code`: the refusal's."""

    code: str
    things: str
    of: str
    owner: InstrumentedAttribute[Any]
    live: ColumnElement[bool] | None = None


USER = "user:"
"""In front of a user's id, where API tokens belong to the user and no account."""

COUNTED: Mapping[Kind, Counted] = {
    "zones": Counted("zone_too_many", "zones", "account", Zone.account_id),
    "records": Counted("record_too_many", "records", "zone", Record.zone_id),
    "tunnels": Counted(
        "tunnel_too_many",
        "tunnels",
        "account",
        Tunnel.account_id,
        Tunnel.deleted_at.is_(None) & Tunnel.quick_address.is_(None),
    ),
    "api_tokens": Counted("token_too_many", "API tokens", "account", ApiToken.account_id),
    "connector_tokens": Counted(
        "connector_token_too_many",
        "connector tokens",
        "tunnel",
        ConnectorToken.tunnel_id,
        ConnectorToken.revoked_at.is_(None),
    ),
    "private_routes": Counted(
        "teamnet_route_too_many",
        "private routes",
        "account",
        TeamnetRoute.account_id,
        TeamnetRoute.deleted_at.is_(None),
    ),
    "virtual_networks": Counted(
        "virtual_network_too_many",
        "virtual networks",
        "account",
        VirtualNetwork.account_id,
        VirtualNetwork.deleted_at.is_(None),
    ),
}


class Room:
    """What is left of the limits. For the one writer: it counts rows only when what it knew to be left is used up."""

    def __init__(self, limits: AccountLimits) -> None:
        self.limits = limits
        self._left: OrderedDict[tuple[Kind, str], int] = OrderedDict()

    def take(self, session: Session, grown: Mapping[tuple[Kind, str], int]) -> None:
        """For rows that the session has added, and flushed. QanatError `…_too_many`, one code a kind."""
        for (kind, owner), number in grown.items():
            if number > 0:
                self._take(session, kind, owner, number)

    def _take(self, session: Session, kind: Kind, owner: str, number: int) -> None:
        left = self._left.pop((kind, owner), 0)
        if left < number:
            limit: int = getattr(self.limits, kind)
            left = limit - count(session, kind, owner)  # of which `number` are there already
            if left < 0:
                raise _too_many(kind, limit)
        else:
            left -= number
        self._left[kind, owner] = left
        if len(self._left) > KNOWN_OWNERS:
            self._left.popitem(last=False)


def count(session: Session, kind: Kind, owner: str) -> int:
    """How many the owner has."""
    counted = COUNTED[kind]
    query = select(func.count())
    if kind == "api_tokens" and owner.startswith(USER):
        query = query.where(ApiToken.account_id.is_(None), ApiToken.user_id == owner.removeprefix(USER))
    else:
        query = query.where(counted.owner == owner)
    if counted.live is not None:
        query = query.where(counted.live)
    return session.scalar(query.select_from(counted.owner.class_)) or 0


def most(session: Session, kind: Kind, account_id: str) -> int:
    """How many the account has; of what a zone or tunnel has, the most that one of its has."""
    counted = COUNTED[kind]
    if counted.of == "account":
        return count(session, kind, account_id)
    parent = Zone if counted.of == "zone" else Tunnel
    query = (
        select(func.count().label("number")).select_from(counted.owner.class_).join(parent, parent.id == counted.owner)
    )
    query = query.where(parent.account_id == account_id).group_by(counted.owner)
    if counted.live is not None:
        query = query.where(counted.live)
    return session.scalar(select(func.max(query.subquery().c.number))) or 0


def _too_many(kind: Kind, limit: int) -> QanatError:
    counted = COUNTED[kind]
    article = "an" if counted.of == "account" else "a"
    return QanatError(
        counted.code,
        f"{article} {counted.of} has at most {limit} {counted.things}, and this would be more",
        hint=f"delete some; whoever runs the edge can raise account_limits.{kind}",
    )
