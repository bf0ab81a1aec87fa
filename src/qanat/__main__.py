"""`qanat` and `python -m qanat`. `tunnel run` must not load the rest of qanat, so it is told apart first."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qanat.lean import load_without

if TYPE_CHECKING:
    from qanat.connector.flags import CommandLine
    from qanat.connector.log import Log
    from qanat.connector.sources import Sources


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # From Python 3.11 on msgspec has no use for it, which is 1.5 MB of a connector's memory.
    load_without("msgspec", "typing_extensions")
    from qanat.connector.flags import is_bare_command, is_run_command

    if is_run_command(given) or (not given and _has_configuration_file()):
        from qanat.connector.command import main as run_connector

        beside = None if given else _forwarders
        sys.exit(run_connector(given or ["tunnel", "run"], tunnel_id_of=_tunnel_id_of, beside=beside))
    if is_bare_command(given):
        from qanat.cli.stock.bare import main as run_bare

        sys.exit(run_bare(given))
    from qanat.called import called, version_line

    if given in (["--version"], ["-v"], ["-V"]):
        print(version_line(called()))
        return
    from qanat.cli.stock.main import main as run_stock

    status = run_stock(given, called=called())
    if status is None:
        from qanat.cli.main import main as run_cli

        status = run_cli(given)
    sys.exit(status)


def _forwarders(sources: "Sources", log: "Log") -> bool:
    """Of the file that a service runs by. Nothing is loaded for one without."""
    if not sources.document.get("forwarders"):
        return False
    from qanat.cli.stock.forwarders import start

    return start(sources, log)


def _has_configuration_file() -> bool:
    """Started without a word, as by an old unit, a connector runs by the file that is there; without one, help is printed."""
    import os

    from qanat.connector.sources import find_file

    return find_file(os.environ.get("HOME") or os.path.expanduser("~")) is not None  # noqa: PTH111


def _tunnel_id_of(name: str, line: "CommandLine") -> str:
    """Asks the API, by cert.pem or as any other command does, for the tunnel of a name."""
    from qanat.called import called
    from qanat.cli.stock.command_line import Invocation
    from qanat.cli.stock.commands import COMMANDS
    from qanat.cli.stock.session import Session

    session = Session(Invocation(COMMANDS["tunnel", "info"], (name,), {}, line.values, called()))
    try:
        return session.tunnel_id(name)
    finally:
        session.close()


if __name__ == "__main__":
    main()
