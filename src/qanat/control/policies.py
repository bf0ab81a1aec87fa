"""A token's policies in the stock shape, and the reach that follows from them for one permission.

A policy allows or denies its permission groups on its resources. What is denied wins, whichever policy says so. Edit
implies read; whoever is denied to read is denied to edit. An account's resource holds the account's zones as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qanat.control.permissions import (
    ACCOUNT,
    ALL,
    BY_ID,
    DNS_WRITE,
    TUNNEL_WRITE,
    USER,
    ZONE,
    ZONE_READ,
    PermissionGroup,
)
from qanat.store.reach import Permission, Reach

Policy = Mapping[str, Any]
ANY = "*"
ZONE_PERMISSIONS = ("zone.", "dns.")


@dataclass(frozen=True, slots=True)
class Resource:
    """What a policy's key names; `id` "*": all of that kind, of the account `account_id` where one is named."""

    kind: Literal["account", "zone", "user"]
    id: str
    account_id: str | None = None


def parse_resource(key: str) -> Resource | None:
    """`com.cloudflare.api.account.<id>`, `….account.zone.<id>` or `com.cloudflare.api.user.<id>`; None for others."""
    for kind, prefix in (("zone", ZONE), ("account", ACCOUNT), ("user", USER)):
        found = key.removeprefix(prefix + ".")
        if found != key and found and "." not in found:
            return Resource(kind, found)  # type: ignore[arg-type]  # mypy widens the literals of a tuple
    return None


def resources_of(policy: Policy) -> Iterable[tuple[str, Resource | None]]:
    """The policy's resources with the text that named each; None for a text that names none."""
    for key, value in policy["resources"].items():
        resource = parse_resource(key)
        if value == ANY:
            yield key, resource
        elif isinstance(value, Mapping) and resource is not None and resource.kind == "account" and value:
            for inner, star in value.items():
                nested = parse_resource(inner)
                whole = nested is not None and nested.kind == "zone" and star == ANY
                yield f"{key}: {inner}", Resource("zone", nested.id, resource.id) if nested and whole else None
        else:
            yield key, None


def groups_of(policy: Policy) -> list[PermissionGroup]:
    """The policy's known permission groups."""
    found = (BY_ID.get(str(entry.get("id"))) for entry in policy["permission_groups"])
    return [group for group in found if group is not None]


def applies(group: PermissionGroup, resource: Resource) -> bool:
    """Whether a group means anything on a resource: those of zones do on accounts, for the zones in them."""
    scopes = {"account": (ACCOUNT, ZONE), "zone": (ZONE,), "user": (USER,)}[resource.kind]
    return any(scope in group.scopes for scope in scopes)


def reach_of(policies: Iterable[Policy], permission: Permission) -> Reach:
    """What the policies allow for a permission, less what they deny."""
    allowed, denied = _Collected(), _Collected()
    read = permission.replace(".edit", ".read")
    for policy in policies:
        denies = policy["effect"].lower() == "deny"
        groups = [
            group
            for group in groups_of(policy)
            # Denying to write leaves reading; denying to read takes both.
            if (_takes(group, permission, read) if denies else group.allows(permission))
        ]
        if groups:
            for _, resource in resources_of(policy):
                if resource is not None:
                    (denied if denies else allowed).add(resource, groups, permission)
    if denied.everything:
        allowed.everything, allowed.accounts, allowed.zones = False, set(), set()
    return Reach(
        accounts=None if allowed.everything else frozenset(allowed.accounts - denied.accounts),
        zones=frozenset(allowed.zones - denied.zones),
        denied_accounts=frozenset(denied.accounts),
        denied_zones=frozenset(denied.zones),
        user=allowed.user and not denied.user,
    )


def _takes(group: PermissionGroup, permission: Permission, read: str) -> bool:
    """Whether denying the group denies the permission: a "Write" group denies to edit only."""
    if any(each.endswith(".edit") for each in group.permissions) and group is not ALL:
        return permission in group.permissions and permission.endswith(".edit")
    return permission in group.permissions or read in group.permissions


@dataclass(slots=True)
class _Collected:
    everything: bool = False
    accounts: set[str] = field(default_factory=set)
    zones: set[str] = field(default_factory=set)
    user: bool = False

    def add(self, resource: Resource, groups: Iterable[PermissionGroup], permission: Permission) -> None:
        scopes = {scope for group in groups for scope in group.scopes if applies(group, resource)}
        of_zones = permission.startswith(ZONE_PERMISSIONS)
        if resource.kind == "user":
            self.user = self.user or USER in scopes
        elif resource.kind == "account":
            if ACCOUNT in scopes or (ZONE in scopes and of_zones):
                self._add_account(resource.id)
            # The one token that holds everything holds its user's own as well.
            self.user = self.user or (resource.id == ANY and USER in scopes)
        elif ZONE in scopes and of_zones:
            if resource.id != ANY:
                self.zones.add(resource.id)
            else:
                self._add_account(resource.account_id or ANY)

    def _add_account(self, account_id: str) -> None:
        if account_id == ANY:
            self.everything = True
        else:
            self.accounts.add(account_id)


def _allow(resources: dict[str, Any], *groups: PermissionGroup) -> dict[str, Any]:
    return {
        "effect": "allow",
        "resources": resources,
        "permission_groups": [{"id": group.id, "name": group.name} for group in groups],
    }


EVERYTHING_POLICY: dict[str, Any] = _allow({f"{ACCOUNT}.{ANY}": ANY}, ALL)


def account_policy(account_id: str) -> dict[str, Any]:
    """Every permission on one account and its zones."""
    return _allow({f"{ACCOUNT}.{account_id}": ANY}, ALL)


def origin_certificate_policies(account_id: str, zone_id: str) -> list[dict[str, Any]]:
    """Tunnels and routes of the account, records of one zone (api.md 4.2)."""
    return [
        _allow({f"{ACCOUNT}.{account_id}": ANY}, TUNNEL_WRITE),
        _allow({f"{ZONE}.{zone_id}": ANY}, ZONE_READ, DNS_WRITE),
    ]
