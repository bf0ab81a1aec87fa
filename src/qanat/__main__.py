"""`qanat` and `python -m qanat`. `tunnel run` must not load the rest of qanat, so it is told apart first."""

import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    from qanat.connector.flags import is_run_command

    if is_run_command(given):
        from qanat.connector.process import main as run_connector

        sys.exit(run_connector(given))
    called = "cloudflared" if Path(sys.argv[0]).name == "cloudflared" else "qanat"
    if given in (["--version"], ["-v"], ["-V"]):
        from qanat import __version__

        print(f"{called} version {__version__}")
        return
    from qanat.cli.stock.main import main as run_stock

    status = run_stock(given, called=called)
    if status is None:
        from qanat.cli.main import main as run_cli

        status = run_cli(given)
    sys.exit(status)


if __name__ == "__main__":
    main()
