"""`version`."""

from qanat.cli.stock.output import say
from qanat.cli.stock.session import Session


def version(session: Session) -> None:
    """Prints the version, as stock's line is read: the number is its third word."""
    from qanat import __version__
    from qanat.called import version_line

    asked = session.asked
    say(__version__ if asked.yes("short") else version_line(asked.called))
