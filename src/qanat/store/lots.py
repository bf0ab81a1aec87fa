"""Many ids in few queries: a query names at most so many."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

IDS_A_QUERY = 500

Item = TypeVar("Item")


def in_lots(items: Sequence[Item], size: int = IDS_A_QUERY) -> Iterator[Sequence[Item]]:
    """The items in lots of at most `size`."""
    for at in range(0, len(items), size):
        yield items[at : at + size]
