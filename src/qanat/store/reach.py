"""What a caller may touch for one permission: accounts and single zones, as a value that queries can filter by."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, and_, false, or_, true
from sqlalchemy.orm import InstrumentedAttribute

Permission = Literal[
    "account.read",
    "account.edit",
    "zone.read",
    "zone.edit",
    "dns.read",
    "dns.edit",
    "tunnel.read",
    "tunnel.edit",
    "token.read",
    "token.edit",
    "audit.read",
    "request.read",
    "request.edit",
    "edge.read",
    "edge.edit",
    "user.read",
    "user.edit",
]
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

Column = InstrumentedAttribute[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """`accounts` None: every account. `zones`: single ones beyond those accounts. What is denied wins over both.
    `user`: what is the token's user's own, such as tokens and the key."""

    accounts: frozenset[str] | None = frozenset()
    zones: frozenset[str] = frozenset()
    denied_accounts: frozenset[str] = frozenset()
    denied_zones: frozenset[str] = frozenset()
    user: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing may be touched."""
        return self.accounts is not None and not self.accounts and not self.zones and not self.user

    @property
    def is_everything(self) -> bool:
        """Every account with all its zones."""
        return self.accounts is None and not self.denied_accounts and not self.denied_zones

    def has_account(self, account_id: str) -> bool:
        """Whether what the account itself owns may be touched."""
        return (self.accounts is None or account_id in self.accounts) and account_id not in self.denied_accounts

    def has_zone(self, zone_id: str, account_id: str) -> bool:
        """Whether a zone of an account may be touched."""
        if zone_id in self.denied_zones or account_id in self.denied_accounts:
            return False
        return zone_id in self.zones or self.has_account(account_id)

    def accounts_where(self, account_id: Column) -> ColumnElement[bool]:
        """`has_account` as a filter on a column."""
        allowed = true() if self.accounts is None else account_id.in_(sorted(self.accounts))
        if not self.denied_accounts:
            return allowed
        return and_(allowed, account_id.not_in(sorted(self.denied_accounts)))

    def zones_where(self, zone_id: Column, account_id: Column) -> ColumnElement[bool]:
        """`has_zone` as a filter on two columns."""
        allowed = or_(self.accounts_where(account_id), zone_id.in_(sorted(self.zones)) if self.zones else false())
        denied = [column.not_in(sorted(ids)) for column, ids in self._denied(zone_id, account_id) if ids]
        return and_(allowed, *denied)

    def _denied(self, zone_id: Column, account_id: Column) -> tuple[tuple[Column, frozenset[str]], ...]:
        return (zone_id, self.denied_zones), (account_id, self.denied_accounts)


EVERYTHING = Reach(accounts=None)
