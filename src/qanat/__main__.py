"""`qanat` and `python -m qanat`. `tunnel run` must not load the rest of qanat, so it is told apart first."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    from qanat.connector.flags import is_run_command

    if is_run_command(given):
        from qanat.connector.process import main as run_connector

        sys.exit(run_connector(given))
    if given in (["--version"], ["-v"]):
        from qanat import __version__

        print(f"qanat {__version__}")
        return
    from qanat.cli.main import main as run_cli

    sys.exit(run_cli(given))


if __name__ == "__main__":
    main()
