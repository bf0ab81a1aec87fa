"""Who asks, and what they may touch."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from qanat.control.policies import reach_of
from qanat.errors import QanatError
from qanat.store import Actor
from qanat.store.models import ApiToken
from qanat.store.reach import PERMISSIONS, Permission, Reach

# `token` is no row when a user came with the legacy key: its kind is this, and its id the user's.
KEY_KIND = "key"
# Nor when they signed in: its policies are those of their roles.
SESSION_KIND = "session"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a token of a user or an account, and where from. `declared`: the permissions that the endpoint asks for
    (None: no endpoint asks); another one is a bug there."""

    token: ApiToken
    address: str
    declared: frozenset[Permission] | None = None
    # A policy names up to a thousand resources, and one request may ask for each of them what the caller sees.
    _reaches: dict[Permission, Reach] = field(default_factory=dict, repr=False, compare=False)

    def asking(self, permissions: Iterable[Permission]) -> "Principal":
        """This caller before an endpoint that needs `permissions`.

        Raises:
            QanatError: `permission_missing`, of records `record_permission_missing`: one is nowhere.
        """
        declared = frozenset(permissions)
        for permission in sorted(declared):
            if self._reach_of(permission).is_empty:
                raise _missing(permission)
        return replace(self, declared=declared)

    def reach(self, permission: Permission) -> Reach:
        """What may be touched. QanatError as `asking`: nothing at all."""
        if self.declared is not None and not self._declares(permission):
            raise AssertionError(f"the endpoint asks for {permission} and declares {sorted(self.declared)}")
        reach = self._reach_of(permission)
        if reach.is_empty:
            raise _missing(permission)
        return reach

    def everything(self, permission: Permission) -> None:
        """For what belongs to no account. QanatError `permission_missing`: the permission has a bound."""
        if not self.reach(permission).is_everything:
            raise _missing(permission, "on every account")

    def everything_there_is(self) -> None:
        """For what gives all of the data, or all rights. QanatError `permission_missing`: one is lacking or has a bound."""
        for permission in PERMISSIONS:
            if not self._reach_of(permission).is_everything:
                raise _missing(permission, "on every account")

    def own(self, permission: Permission) -> str:
        """The user's id, for what is the user's own; a token of an account acts for none. QanatError `permission_missing`."""
        if not self.reach(permission).user or self.token.account_id is not None:
            raise _missing(permission, "for its user")
        return self.token.user_id

    def sees_account(self, account_id: str) -> bool:
        """Whether the account, or a permission on it, is in the caller's hands at all."""
        return self.token.account_id == account_id or any(
            self._reach_of(permission).has_account(account_id) for permission in PERMISSIONS
        )

    def sees_zone(self, zone_id: str, account_id: str) -> bool:
        """As `sees_account`, for a zone of an account."""
        return self.token.account_id == account_id or any(
            self._reach_of(permission).has_zone(zone_id, account_id) for permission in PERMISSIONS
        )

    @property
    def actor(self) -> Actor:
        """As the audit log names it."""
        kind = "user" if self.token.kind in (KEY_KIND, SESSION_KIND) else "token"
        return Actor(kind=kind, name=self.token.id, address=self.address)

    def _reach_of(self, permission: Permission) -> Reach:
        if permission not in self._reaches:
            self._reaches[permission] = reach_of(self.token.policies, permission)
        return self._reaches[permission]

    def _declares(self, permission: Permission) -> bool:
        edit = permission.replace(".read", ".edit")
        return self.declared is None or permission in self.declared or edit in self.declared


def signed_in(user_id: str, policies: list[Any], *, address: str) -> Principal:
    """A user who signed in, with what their roles give."""
    token = ApiToken(
        id=user_id,
        user_id=user_id,
        account_id=None,
        kind=SESSION_KIND,
        policies=policies,
        allowed_ips=[],
        denied_ips=[],
        disabled=False,
        not_before=None,
        expires_on=None,
        last_used_from=None,
    )
    return Principal(token=token, address=address)


def _missing(permission: Permission, where: str = "") -> QanatError:
    return QanatError(
        "record_permission_missing" if permission.startswith("dns.") and not where else "permission_missing",
        f"the token may not {permission.replace('.', ' ')}{' ' + where if where else ''}",
        where="Authorization",
        hint=f"use a token with the permission {permission}",
    )
