"""Which hostnames need a certificate of a CA: those that have a record, and that no given certificate covers. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(slots=True)
class Wanted:
    """`names`: zone (id; None: the edge's own) by name. `refused`: why a name can get none, as code and reason, by name."""

    names: dict[str, str | None] = field(default_factory=dict)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)


def covers(names: Collection[str], hostname: str) -> bool:
    """Whether a certificate for `names` is good for a hostname: exact, or by a wildcard of one label (RFC 9525 6.3)."""
    if hostname in names:
        return True
    label, dot, parent = hostname.partition(".")
    return bool(label and dot) and label != "*" and f"*.{parent}" in names


def compile_wanted(
    hostnames: Mapping[str, str | None],
    given: Iterable[str] = (),
    *,
    has_dns: bool = False,
    account_of: Mapping[str, str] = MappingProxyType({}),
    most_of_account: int | None = None,
) -> Wanted:
    """One certificate a hostname; of those below a wildcard that can have one (`has_dns`: DNS-01 is set up) only the
    wildcard's. `given`: the names of all given certificates; `account_of`: by zone (id), none of which gets more than
    `most_of_account`: CAs limit all accounts of an edge together."""
    taken = frozenset(given)
    wanted = Wanted()
    counted = Counter[str]()
    for hostname, zone_id in sorted(hostnames.items()):
        if covers(taken, hostname):
            continue
        is_wildcard = hostname.startswith("*.")
        account = account_of.get(zone_id or "", "")
        if is_wildcard and not has_dns:
            reason = "a CA gives a wildcard only to who proves it by DNS (acme.dns_hook, acme.dns_api)"
            wanted.refused[hostname] = ("acme_no_challenge", reason)
        elif "." not in hostname.removeprefix("*."):
            wanted.refused[hostname] = ("acme_no_challenge", "it is no name that a CA knows")
        elif not is_wildcard and has_dns and f"*.{hostname.partition('.')[2]}" in hostnames:
            continue
        elif account and most_of_account is not None and counted[account] >= most_of_account:
            reason = f"the account has {most_of_account} certificates of CAs, the most there may be"
            wanted.refused[hostname] = ("certificate_too_many", f"{reason} (account_limits.certificates)")
        else:
            counted[account] += 1
            wanted.names[hostname] = zone_id
    return wanted
