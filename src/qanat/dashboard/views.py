"""What can be watched: a view's parts, by the ids that they have in their page, and what it needs."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qanat.store.reach import Permission

if TYPE_CHECKING:
    from qanat.dashboard.desk import Desk


@dataclass(frozen=True, slots=True)
class View:
    """One page as it is watched: the same for everybody who asks for it with the same values."""

    name: str
    account_id: str
    asked: tuple[tuple[str, str], ...] = ()

    def value(self, name: str) -> str:
        """What was asked."""
        return dict(self.asked).get(name, "")


Render = Callable[["Desk", View], dict[str, str]]
ZonesOf = Callable[["Desk", View], Collection[str]]


@dataclass(frozen=True, slots=True)
class Declared:
    """`asks`: the names of values that it takes of the query; `needs`: on the account, or on every one of `zones` where a
    permission can be held on single ones."""

    render: Render
    needs: frozenset[Permission]
    asks: tuple[str, ...]
    zones: ZonesOf | None = None


VIEWS: dict[str, Declared] = {}


def watched(
    name: str, *needs: Permission, asks: tuple[str, ...] = (), zones: ZonesOf | None = None
) -> Callable[[Render], Render]:
    """Declares what renders a view's parts. `zones`: all those of which it shows anything."""

    def mark(render: Render) -> Render:
        VIEWS[name] = Declared(render, frozenset(needs), asks, zones)
        return render

    return mark
