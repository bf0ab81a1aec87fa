"""Runs a stock command, and ends as stock does: 0, 1 for what failed, 255 for a wrong command line."""

import sys
from collections.abc import Sequence
from importlib import import_module

from qanat.cli.stock.command_line import Invocation, UsageError, find, help_text
from qanat.cli.stock.commands import COMMANDS
from qanat.errors import QanatError, escape_text

FAILED = 1
USAGE = 255
INTERRUPTED = 130


def main(arguments: Sequence[str], *, called: str = "qanat") -> int | None:
    """The exit status, or None when the command is none of stock's."""
    try:
        found = find(arguments, COMMANDS, called=called)
        if found is None:
            return None
        if found.help:
            print(help_text(found.command))
            return 0
        return _run(found)
    except QanatError as error:
        tell(error)
        return USAGE if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED


def _run(found: Invocation) -> int:
    from qanat.cli.stock.session import Session

    module, _, function = found.command.place.partition(":")
    session = Session(found)
    try:
        status = getattr(import_module(f"{__package__}.{module}"), function)(session)
    finally:
        session.close()
    return status if isinstance(status, int) else 0


def tell(error: QanatError) -> None:
    """The message as it is, since scripts know stock's; then the fix."""
    place = f"{error.where}: " if error.where and error.where not in error.message else ""
    for line in f"{place}{error.message}".split("\n"):
        print(escape_text(line), file=sys.stderr)
    if error.hint:
        print(escape_text(f"  fix: {error.hint}"), file=sys.stderr)
