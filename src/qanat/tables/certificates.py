"""Which certificates the development CA must make so that every zone and public hostname has one."""

from collections.abc import Iterable
from dataclasses import dataclass

from qanat.ids import LONGEST_NAME, Hostname


@dataclass(frozen=True, slots=True, order=True)
class LeafNames:
    """One certificate: the name that it is kept under, and the DNS names in it, in order."""

    parent: str
    names: tuple[str, ...]


def compile_leaves(
    zones: Iterable[str], hostnames: Iterable[Hostname], given: Iterable[str] = (), *, own: Iterable[str] = ()
) -> list[LeafNames]:
    """One certificate a parent name: `parent` and `*.parent`, less the names that a given certificate has.

    A hostname below a zone's own wildcard needs none of its own; `a.b.example.test` needs one for `b.example.test`. The edge's
    `own` names are nobody's parents, and need one where no given certificate covers them.
    """
    taken = frozenset(given)
    zone_names = set(zones)
    parents = set(zone_names)
    for hostname in hostnames:
        if hostname not in zone_names:
            parents.add(hostname.split(".", 1)[-1])
    leaves = []
    for parent in sorted(parents):
        names = tuple(name for name in (parent, f"*.{parent}") if name not in taken and len(name) <= LONGEST_NAME)
        if names:
            leaves.append(LeafNames(parent, names))
    for name in own:
        if name not in parents and not {name, f"*.{name.partition('.')[2]}"} & taken:
            leaves.append(LeafNames(name, (name,)))
    return leaves
