"""`qanat tunnel run`: from its command line to a connector that runs, or what is wrong with it; the exit code."""

import os
import signal
import sys
from collections.abc import Callable, Sequence

from msgspec import structs

from qanat.called import called
from qanat.connector import flags
from qanat.connector.credentials import name_to_look_up, names_a_tunnel
from qanat.connector.handover import Predecessor
from qanat.connector.log import Log
from qanat.connector.options import log_options, read_options
from qanat.connector.process import FAILED, Process
from qanat.connector.sources import OwnTunnel, Sources, gather
from qanat.connector.start_lines import open_log
from qanat.errors import QanatError, render

USAGE = 255
"""Exit code of a command line or token that is none, as stock cloudflared's. Stock ends with 0 where a flag is unknown."""

_USAGE_CODES = ("usage", "token_missing", "token_invalid", "token_file_unreadable")


def main(
    arguments: Sequence[str],
    *,
    tunnel_id_of: Callable[[str, flags.CommandLine], str] | None = None,
    prepare: Callable[[Sources, Log], OwnTunnel] | None = None,
    beside: Callable[[Sources, Log], bool] | None = None,
) -> int:
    """Runs a connector until it is told to stop; the process's exit code. `tunnel_id_of` asks the API about a tunnel's name;
    `prepare`, where a command makes the tunnel that it runs, does so, once: who takes over runs the one that was made. `beside`
    starts what else this process does, and says whether there is any: then it may do that alone."""
    predecessor = Predecessor.found(os.environ)
    try:
        command_line = flags.read_command_line(arguments)
        if command_line.help:
            print(flags.help_text())
            return 0
        environment = _environment()
        sources = gather(command_line, environment)
        log = open_log(log_options(sources))
        # Before anything else says that it has started: whoever reads that may end it.
        end = None if beside is None or names_a_tunnel(sources) else _hear_end()
        if beside is not None and beside(sources, log) and end is not None:
            os.read(end, 1)
            return 0
        own = predecessor.tunnel if predecessor else None
        if own is None and prepare is not None:
            own = prepare(sources, log)
        sources = own.over(sources) if own else sources
        name = name_to_look_up(sources)
        if name is not None and tunnel_id_of is not None:
            sources = structs.replace(sources, tunnel=tunnel_id_of(name, command_line))
        options = read_options(sources)
    except QanatError as error:
        if predecessor:
            predecessor.tell_trouble(str(error))
        print(render(error), file=sys.stderr)
        if error.code not in _USAGE_CODES:
            return FAILED
        print(f"See '{called()} tunnel run --help'.", file=sys.stderr)
        return USAGE

    def gather_anew() -> Sources:
        read = gather(command_line, environment, path=sources.path)
        return own.over(read) if own else read

    return Process(options, sources, log, gather_anew, predecessor, own).run()


def _environment() -> dict[str, str]:
    """With the user's home: a service has none of its own, and stock asks the system then."""
    environment = dict(os.environ)
    if not environment.get("HOME"):
        environment["HOME"] = os.path.expanduser("~")  # noqa: PTH111
    return environment


def _hear_end() -> int:
    """From now on whoever ends this process writes to the pipe whose reading end this is."""
    # Not by an event: the system may hand a signal to any thread, and this one would sleep on.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    return reader
