"""What DNS answers a name with (RFC 1034 section 4.3.2, RFC 4592): the one truth of where a hostname's requests go, for the
edge's table and for `explain`. Names are in their one form; nothing here knows a database."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

Tunnel = TypeVar("Tunnel", bound=str)


def owner(hostname: str, zone: str, *, exists: Callable[[str], bool], is_cut: Callable[[str], bool]) -> str | None:
    """The name whose records answer for `hostname`, which is in `zone`: itself where it exists, else the wildcard at its closest
    encloser, the longest name above that exists. None: it is at or below a zone cut, whose side answers. That the wildcard
    exists is not asked.

    Args:
        exists: whether a name of the zone has records, or one below it has (an empty non-terminal).
        is_cut: whether a name below the apex is delegated.
    """
    encloser = zone
    for name in reversed(list(up_to(hostname, zone))):
        if is_cut(name):
            return None
        if not exists(name):
            return f"*.{encloser}"
        encloser = name
    return hostname


def zone_table(
    zone: str, names: Iterable[str], cuts: Collection[str], routes: Mapping[str, Tunnel]
) -> dict[str, Tunnel | None]:
    """A zone's part of the table of routes: its routes that no cut hides; and with None the names that exist, or are cut off,
    below a wildcard that is a route, and so are not its to answer for.

    Args:
        names: every name of the zone that has records.
        cuts: where the zone ends: names with NS records below the apex, and other zones' apexes.
        routes: tunnel by name, wildcards too.
    """
    seen = {name for name in names if not any(above in cuts for above in up_to(name, zone))}
    table: dict[str, Tunnel | None] = {name: tunnel for name, tunnel in routes.items() if name in seen}
    wildcards = {name.removeprefix("*.") for name in table if name.startswith("*.")}
    if not wildcards:
        return table
    outermost = (cut for cut in cuts if not any(above in cuts for above in list(up_to(cut, zone))[1:]))
    existing = {above for name in (*seen, *outermost) for above in up_to(name, zone)}
    for name in existing:
        if name not in table and any(above in wildcards for above in _above(name, zone)):
            table[name] = None
    return table


def up_to(name: str, zone: str = "") -> Iterator[str]:
    """The name and those above it, below the zone's apex; without a zone, all of them."""
    while name != zone and name:
        yield name
        name = name.partition(".")[2]


def _above(name: str, zone: str) -> Iterator[str]:
    """Those above it, to the apex. What a wildcard's own name is below starts above what it stands for."""
    rest = name.removeprefix("*.").partition(".")[2] if name.startswith("*.") else name.partition(".")[2]
    yield from up_to(rest, zone)
    if name != zone:
        yield zone
