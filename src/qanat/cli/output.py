"""Results for people (tables) or scripts (`--output json`), and errors on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qanat.log import escape_text


class Output(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How results are printed.")]


def say(text: str) -> None:
    """One line on standard output, whatever it holds."""
    print(escape_text(text))


def print_json(value: object) -> None:
    """msgspec structs and plain values."""
    print(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))
    sys.stdout.flush()


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table; `empty` when there are no rows."""
    listed = [[Text(escape_text("" if cell is None else str(cell))) for cell in row] for row in rows]
    if not listed:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in listed:
        table.add_row(*row)
    # Piped output is for other programs: no line is broken at the width of a terminal that isn't there.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)
