"""Pages (api.md 0.5): from 1, clamped and never refused; a page past the end is empty."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated

from fastapi import Depends, Query
from fastapi.routing import APIRoute
from pydantic import WithJsonSchema
from starlette.datastructures import QueryParams

from qanat.api.http.shapes import ResultInfo

DEFAULT_PER_PAGE = 100
MAX_PER_PAGE = 5000
MAX_PAGE = 10**9
LONG_PAGE = 1000
"""Rows that take long to gather and to write out."""


@dataclass(frozen=True, slots=True)
class Page:
    """What was asked for, as it is served."""

    number: int = 1
    per_page: int = DEFAULT_PER_PAGE

    @property
    def offset(self) -> int:
        """Rows before this page."""
        return (self.number - 1) * self.per_page

    def info(self, *, count: int, total: int) -> ResultInfo:
        """`result_info`; all zero but `page` and `per_page` for an empty list."""
        return {
            "page": self.number if total else 1,
            "per_page": self.per_page,
            "count": count,
            "total_count": total,
            "total_pages": ceil(total / self.per_page),
        }


def is_long(query: bytes) -> bool:
    """Whether a query asks for a `LONG_PAGE`."""
    asked = QueryParams(query)
    return parse_page(None, asked.get("per_page")).per_page >= LONG_PAGE


def parse_page(page: str | None, per_page: str | None) -> Page:
    """`1` and `1.0` are 1; what isn't a number, or is too small or large, is the nearest good one."""
    return Page(_number(page, 1, MAX_PAGE), _number(per_page, DEFAULT_PER_PAGE, MAX_PER_PAGE))


def _number(text: str | None, default: int, most: int) -> int:
    try:
        value = float(text) if text else float(default)
        return min(max(int(value), 1), most)
    except (ValueError, OverflowError):
        return default


PageNumber = Annotated[
    str | None,
    WithJsonSchema({"type": "number"}),
    Query(description="From 1 (default); a page past the end is empty."),
]
PerPage = Annotated[
    str | None,
    WithJsonSchema({"type": "number"}),
    Query(
        description=f"1 to {MAX_PER_PAGE}, {DEFAULT_PER_PAGE} when absent; anything else is the nearest good number."
    ),
]


async def _page(page: PageNumber = None, per_page: PerPage = None) -> Page:
    return parse_page(page, per_page)


AskedPage = Annotated[Page, Depends(_page)]


def takes_page(route: APIRoute) -> bool:
    """Whether a list is asked for page by page."""
    return any(each.call is _page for each in route.dependant.dependencies)
