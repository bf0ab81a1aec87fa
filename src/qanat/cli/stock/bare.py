"""`tunnel` without a command: a quick tunnel, or with `--name` one that is made, routed and run."""

from collections.abc import Sequence

from qanat.cli.stock.named import named_tunnel
from qanat.cli.stock.quick_tunnel import is_wanted, quick_tunnel
from qanat.connector.command import main as run
from qanat.connector.log import Log
from qanat.connector.sources import OwnTunnel, Sources
from qanat.errors import QanatError


def main(arguments: Sequence[str]) -> int:
    """The process's exit code."""
    return run(arguments, prepare=_prepare)


def _prepare(sources: Sources, log: Log) -> OwnTunnel:
    if sources.get("name", ""):
        return named_tunnel(sources, log)
    if is_wanted(sources):
        return quick_tunnel(sources, log)
    raise _nothing_to_do(sources)


def _nothing_to_do(sources: Sources) -> QanatError:
    tunnel = sources.document.get("tunnel")
    if tunnel:
        return QanatError(
            "command_missing",
            f"use `qanat tunnel run` to start tunnel {tunnel}",
            where=sources.path,
            hint="qanat tunnel run",
        )
    if sources.get("hostname", ""):
        return QanatError(
            "command_missing",
            "Classic tunnels have been deprecated, please use Named Tunnels: a hostname is routed by `qanat tunnel route dns`",
            where=sources.place("hostname"),
            hint="give --name NAME beside it",
        )
    return QanatError(
        "command_missing",
        "You did not specify any valid additional argument to the tunnel command",
        where="tunnel",
        hint="--url http://localhost:8080 opens a quick tunnel; `qanat tunnel run NAME` runs one; `qanat tunnel --help` has more",
    )
