"""Roles: what a user may do in an account, as the permission groups that API tokens are granted too. Pure."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

from qanat.control.permissions import ACCOUNT, ALL, GROUPS, USER, PermissionGroup
from qanat.control.policies import ANY, Policy
from qanat.errors import QanatError

Role = Literal["owner", "admin", "operator", "viewer"]
ROLES: tuple[Role, ...] = get_args(Role)
EVERY_ACCOUNT = ANY

_OF_ACCOUNTS = [group for group in GROUPS if USER not in group.scopes]
_OWN = [group for group in GROUPS if group.scopes == (USER,)]


def _named(*names: str) -> tuple[PermissionGroup, ...]:
    by_name = {group.name: group for group in _OF_ACCOUNTS}
    return tuple(by_name[name] for name in names)


_READS = ("Account Settings Read", "Cloudflare Tunnel Read", "Zone Read", "DNS Read", "Qanat Edge Read")
GRANTS: Mapping[Role, tuple[PermissionGroup, ...]] = MappingProxyType(
    {
        "owner": (ALL,),
        "admin": tuple(group for group in _OF_ACCOUNTS if group.name != "Qanat Edge Write"),
        "operator": _named(
            *_READS, "Cloudflare Tunnel Write", "DNS Write", "Access: Audit Logs Read", "Qanat Request Lists Write"
        ),
        "viewer": _named(*_READS),
    }
)
TOLD: Mapping[Role, str] = MappingProxyType(
    {
        "owner": "may do everything, also to users, backups and keys",
        "admin": "may change everything but the edge itself, and manage admins, operators and viewers",
        "operator": "may change tunnels, records, cutovers and nodes, see requests and logs, and read the audit log",
        "viewer": "may look at tunnels, zones, records, health and traffic, and change nothing",
    }
)


def check(role: str) -> Role:
    """QanatError `user_bad_role`."""
    for each in ROLES:
        if role == each:
            return each
    raise QanatError("user_bad_role", f"{role[:40]!r} is not one of {', '.join(ROLES)}", where="role")


def policies(user_id: str, memberships: Iterable[tuple[str, str]]) -> list[Policy]:
    """What a user holds: of each (account, role) the role's grants, and what is their own (details, tokens)."""
    granted = [
        _allow({f"{ACCOUNT}.{account_id}": ANY}, GRANTS[check(role)]) for account_id, role in sorted(memberships)
    ]
    return [*granted, _allow({f"{USER}.{user_id}": ANY}, _OWN)]


def granting(account_id: str, role: Role) -> list[Policy]:
    """What a role gives in an account: who gives it has to hold as much."""
    return [_allow({f"{ACCOUNT}.{account_id}": ANY}, GRANTS[role])]


def _allow(resources: dict[str, Any], groups: Iterable[PermissionGroup]) -> Policy:
    return {
        "effect": "allow",
        "resources": resources,
        "permission_groups": [{"id": group.id, "name": group.name} for group in groups],
    }
