"""Permission groups: what a policy grants, under the names and ids that stock clients know.

Stock groups keep their stock ids (public and stable; developers.cloudflare.com/fundamentals/api/reference/permissions), so
that a Terraform file with hard-coded ids works unchanged. Those that only qanat has, have ids of its own.
"""

from dataclasses import dataclass, replace

from qanat.store.reach import PERMISSIONS, Permission

ACCOUNT = "com.cloudflare.api.account"
ZONE = "com.cloudflare.api.account.zone"
USER = "com.cloudflare.api.user"


@dataclass(frozen=True, slots=True)
class PermissionGroup:
    """`permissions` hold on resources of the kinds `scopes`. `shows`: what an allowed group holds besides, and a denied one
    does not take away."""

    id: str
    name: str
    permissions: frozenset[Permission]
    scopes: tuple[str, ...]
    shows: frozenset[Permission] = frozenset()

    def allows(self, permission: Permission) -> bool:
        """Whether it gives the permission where it is allowed."""
        return permission in self.permissions or permission in self.shows


def _group(group_id: str, name: str, scope: str, *permissions: Permission) -> PermissionGroup:
    return PermissionGroup(group_id, name, frozenset(permissions), (scope,))


ALL = PermissionGroup("00ff3da8a00a7c0b5b4e2b2a2f5e8c11", "All Write", frozenset(PERMISSIONS), (ACCOUNT, ZONE, USER))
ZONE_READ = _group("c8fed203ed3043cba015a93ad1616f1f", "Zone Read", ZONE, "zone.read")
# Who may read a zone's records finds the zone: certbot's documented token has "DNS Write" alone, and looks zones up.
FINDS_ZONES: frozenset[Permission] = frozenset({"zone.read"})
DNS_READ = replace(_group("82e64a83756745bbbb1c9c2701bf816b", "DNS Read", ZONE, "dns.read"), shows=FINDS_ZONES)
DNS_WRITE = replace(
    _group("4755a26eedb94da69e1066d98aa820be", "DNS Write", ZONE, "dns.read", "dns.edit"), shows=FINDS_ZONES
)
TUNNEL_WRITE = _group(
    "c07321b023e944ff818fec44d8203567", "Cloudflare Tunnel Write", ACCOUNT, "tunnel.read", "tunnel.edit"
)

GROUPS: tuple[PermissionGroup, ...] = (
    # a user's own
    _group("0cc3a61731504c89b99ec1be78b77aa0", "API Tokens Read", USER, "token.read"),
    _group("686d18d5ac6c441c867cbf6771e58a0a", "API Tokens Write", USER, "token.read", "token.edit"),
    _group("8acbe5bb0d54464ab867149d7f7cf8ac", "User Details Read", USER, "user.read"),
    _group("55a5e17cc99e4a3fa1f3432d262f2e55", "User Details Write", USER, "user.read", "user.edit"),
    # accounts
    _group("eb56a6953c034b9d97dd838155666f06", "Account API Tokens Read", ACCOUNT, "token.read"),
    _group("5bc3f8b21c554832afc660159ab75fa4", "Account API Tokens Write", ACCOUNT, "token.read", "token.edit"),
    _group("c1fde68c7bcc44588cbb6ddbc16d6480", "Account Settings Read", ACCOUNT, "account.read"),
    _group("1af1fa2adc104452b74a9a3364202f20", "Account Settings Write", ACCOUNT, "account.read", "account.edit"),
    _group("efea2ab8357b47888938f101ae5e053f", "Cloudflare Tunnel Read", ACCOUNT, "tunnel.read"),
    TUNNEL_WRITE,
    _group("3b1f0c8e6d4a4f7f9a52c7d0e1b86a94", "Access: Audit Logs Read", ACCOUNT, "audit.read"),
    _group("5e0b7f39a2c84d17b6d3418c9f20ea75", "Qanat Request Lists Read", ACCOUNT, "request.read"),
    _group("e91c46d07b3f4c2a8f65d2b1307ca948", "Qanat Request Lists Write", ACCOUNT, "request.read", "request.edit"),
    _group("7d2e94b1c05f4a6e8c3391f6a8d7e250", "Qanat Edge Read", ACCOUNT, "edge.read"),
    _group("b86c17f34e9d4d0aa1f25b7c90e3d468", "Qanat Edge Write", ACCOUNT, "edge.read", "edge.edit"),
    # zones
    ZONE_READ,
    _group("e6d2666161e84845a636613608cee8d5", "Zone Write", ZONE, "zone.read", "zone.edit"),
    DNS_READ,
    DNS_WRITE,
    # all of it, and what later versions add
    ALL,
)
BY_ID = {group.id: group for group in GROUPS}


def find_groups(*, name: str | None, scope: str | None, scopes: frozenset[str]) -> list[PermissionGroup]:
    """Those of the kinds `scopes`, with this very name (whatever its case) and this scope."""
    return [
        group
        for group in GROUPS
        if scopes.intersection(group.scopes)
        and (name is None or group.name.casefold() == name.casefold())
        and (scope is None or scope in group.scopes)
    ]
