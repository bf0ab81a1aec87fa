"""One page of a list."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """`at`: which, from 1; `before` and `after` are the addresses of its neighbours, "" where there is none."""

    at: int
    pages: int
    total: int
    offset: int
    before: str
    after: str

    @classmethod
    def of(cls, at: int, size: int, total: int, *, path: str, name: str) -> "Paging":
        """The page `at` of `total` rows, or the last one before it."""
        pages = max(1, -(-total // size))
        at = min(max(1, at), pages)
        joint = "&" if "?" in path else "?"
        return cls(
            at=at,
            pages=pages,
            total=total,
            offset=(at - 1) * size,
            before=f"{path}{joint}{name}={at - 1}" if at > 1 else "",
            after=f"{path}{joint}{name}={at + 1}" if at < pages else "",
        )
