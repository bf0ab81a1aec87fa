"""Results for people (tables) or scripts (`--output json`), errors on standard error, and files that are read and written."""

import codecs
import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from qanat.errors import QanatError, escape_json, escape_text


class Output(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


UNBROKEN = 10**6  # characters; no row is as long

OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How results are printed.")]


def say(text: str) -> None:
    """One line on standard output, whatever it holds."""
    print(escape_text(text))


def note(text: str) -> None:
    """One line on standard error, so that what a script reads stays clean."""
    print(escape_text(text), file=sys.stderr)


def print_json(value: object) -> None:
    """msgspec structs and plain values; what could steer a terminal is escaped as JSON has it."""
    print(escape_json(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False)))
    sys.stdout.flush()


def print_json_lines(pieces: Iterable[bytes]) -> None:
    """A stream of JSON lines in UTF-8, escaped as by `print_json`."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    for piece in pieces:
        sys.stdout.write(escape_json(decode(piece)))
    sys.stdout.flush()


def print_file(text: str) -> None:
    """What another program shall read, as it is; on a terminal escaped, line by line."""
    shown = "\n".join(escape_text(line) for line in text.split("\n")) if sys.stdout.isatty() else text
    print(shown, end="")


def tell(output: Output, value: object, text: str) -> None:
    """`value` for scripts, the lines of `text` for people."""
    if output is Output.JSON:
        print_json(value)
        return
    for line in text.split("\n"):
        say(line)


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table; `empty` when there are no rows."""
    from rich.console import Console  # not for every start
    from rich.table import Table
    from rich.text import Text

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
    Console(width=None if sys.stdout.isatty() else UNBROKEN).print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """One thing, a line a field."""
    listed = [(key, "" if value is None else str(value)) for key, value in fields]
    width = max((len(key) for key, _ in listed), default=0)
    for key, value in listed:
        say(f"{key:<{width}}  {value}")


def read_text(file: Path, *, where: str = "FILE") -> str:
    """The file, or standard input for `-`. QanatError `file_unreadable`."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise QanatError("file_unreadable", f"{file}: {reason}", where=where) from error


def read_object(file: Path, *, where: str = "FILE") -> dict[str, Any]:
    """A JSON object. QanatError `file_unreadable`, `file_not_json`."""
    try:
        document = json.loads(read_text(file, where=where))
    except (ValueError, RecursionError) as error:
        raise QanatError("file_not_json", f"{file} is not JSON: {error}", where=where) from error
    if not isinstance(document, dict):
        raise QanatError("file_not_json", f"{file} is not a JSON object", where=where)
    return document
