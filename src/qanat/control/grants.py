"""What a new or changed token may be given: known resources, and nothing that its giver does not hold."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from qanat.control.permissions import BY_ID
from qanat.control.policies import Policy, Resource, applies, groups_of, reach_of, resources_of
from qanat.errors import QanatError
from qanat.store.models import ApiToken
from qanat.store.reach import PERMISSIONS, Reach

MAX_POLICIES = 100
MAX_RESOURCES = 1000
MAX_BOUNDS = 100
MAX_NAME = 120

# The account that a zone belongs to; None for no such zone.
AccountOf = Callable[[str], str | None]
Network = IPv4Network | IPv6Network


def check_name(name: str) -> str:
    """QanatError `token_bad_name`."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise QanatError("token_bad_name", f"a name has 1 to {MAX_NAME} printable characters", where="name")
    return name


def check_policies(
    policies: Sequence[Policy], *, is_known: Callable[[Resource], bool], before: Iterable[Policy] = ()
) -> list[dict[str, Any]]:
    """The policies as they are stored: as they were sent, with their groups' names.

    `is_known`: whether the giver sees the resource. What stood in the policies `before` may stay, though it be gone by now.

    Raises:
        QanatError: `token_bad_policy`; `where` is the field.
    """
    if not 1 <= len(policies) <= MAX_POLICIES:
        raise _bad("policies", f"a token has 1 to {MAX_POLICIES} policies")
    stood = {key for policy in before for key, _ in resources_of(policy)}
    checked = []
    for number, policy in enumerate(policies):
        here = f"policies[{number}]"
        if policy["effect"].lower() not in ("allow", "deny"):
            raise _bad(f"{here}.effect", "the effect is `allow` or `deny`")
        groups = _check_groups(policy, here)
        resources = list(resources_of(policy))
        if not 1 <= len(resources) <= MAX_RESOURCES:
            raise _bad(f"{here}.resources", f"a policy has 1 to {MAX_RESOURCES} resources")
        for key, resource in resources:
            if resource is None or (key not in stood and not is_known(resource)):
                raise _bad(f"{here}.resources", f"{key[:120]!r} is not a resource that this token may name")
        for group in groups_of(policy):
            if not any(applies(group, resource) for _, resource in resources if resource is not None):
                raise _bad(
                    f"{here}.permission_groups",
                    f"{group.name!r} means nothing on these resources: it is for {', '.join(group.scopes)}",
                )
        checked.append({"effect": policy["effect"], "resources": policy["resources"], "permission_groups": groups})
    return checked


def _check_groups(policy: Policy, here: str) -> list[dict[str, Any]]:
    groups = []
    if not 1 <= len(policy["permission_groups"]) <= len(BY_ID):
        raise _bad(f"{here}.permission_groups", f"a policy has 1 to {len(BY_ID)} permission groups")
    for number, entry in enumerate(policy["permission_groups"]):
        group = BY_ID.get(entry["id"])
        if group is None:
            raise _bad(
                f"{here}.permission_groups[{number}].id", f"{entry['id'][:40]!r} is not a permission group of qanat's"
            )
        meta = {"meta": entry["meta"]} if entry.get("meta") else {}
        groups.append({"id": group.id, "name": group.name, **meta})
    return groups


def check_held(
    own: Sequence[Policy], given: Sequence[Policy], account_of: AccountOf, *, where: str = "policies"
) -> None:
    """QanatError `token_escalates`: `given` reaches further than `own` for some permission."""
    for permission in PERMISSIONS:
        wanted = reach_of(given, permission)
        if not wanted.is_empty and not covers(reach_of(own, permission), wanted, account_of):
            raise QanatError(
                "token_escalates",
                f"the asking token does not itself hold {permission} on all of that",
                where=where,
                hint="ask with a token that holds it",
            )


def covers(own: Reach, wanted: Reach, account_of: AccountOf) -> bool:
    """Whether all that `wanted` reaches is within `own`."""
    if wanted.user and not own.user:
        return False
    if wanted.accounts is None:
        if own.accounts is not None or not own.denied_accounts <= wanted.denied_accounts:
            return False
    elif not all(own.has_account(account_id) for account_id in wanted.accounts):
        return False
    for zone_id in own.denied_zones:
        account_id = account_of(zone_id)
        if account_id is not None and wanted.has_zone(zone_id, account_id):
            return False
    owners = {zone_id: account_of(zone_id) or "" for zone_id in wanted.zones}
    return all(own.has_zone(*each) for each in owners.items() if wanted.has_zone(*each))


def parse_networks(texts: Sequence[str], *, where: str) -> list[str]:
    """CIDRs or single addresses as they were sent. QanatError `token_bad_bounds`."""
    if len(texts) > MAX_BOUNDS:
        raise QanatError("token_bad_bounds", f"at most {MAX_BOUNDS} networks are taken", where=where)
    for number, text in enumerate(texts):
        try:
            network = ip_network(text)
            if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
                # Callers by IPv4 are known by that: it would hold for nobody.
                raise ValueError("write an IPv4 network as one")
        except ValueError as error:
            raise QanatError(
                "token_bad_bounds",
                f"{text[:60]!r} is not a valid network such as 192.0.2.0/24: {error}",
                where=f"{where}[{number}]",
            ) from None
    return list(texts)


def check_bounds(own: ApiToken, *, expires_on: datetime | None, allowed: Sequence[str], denied: Sequence[str]) -> None:
    """A bounded token gives no freer ones: not for longer, and not to more addresses. QanatError `token_escalates`."""
    if own.expires_on is not None and (expires_on is None or expires_on > own.expires_on):
        raise _freer("expires_on", f"the asking token expires on {own.expires_on.isoformat()}, and this one later")
    within = [ip_network(text) for text in own.allowed_ips]
    if within and not (allowed and all(_inside(ip_network(text), within) for text in allowed)):
        raise _freer("condition.request_ip.in", "the asking token may be used from fewer addresses than this one")
    without = [ip_network(text) for text in denied]
    if not all(_inside(ip_network(text), without) for text in own.denied_ips):
        raise _freer("condition.request_ip.not_in", "the asking token is denied addresses that this one isn't")


def _inside(inner: Network, outer: Iterable[Network]) -> bool:
    return any(inner.version == each.version and inner.subnet_of(each) for each in outer)  # type: ignore[arg-type]


def _freer(where: str, message: str) -> QanatError:
    return QanatError("token_escalates", message, where=where, hint="ask with a token without that bound")


def _bad(where: str, message: str) -> QanatError:
    return QanatError("token_bad_policy", message, where=where)
