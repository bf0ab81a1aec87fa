"""Stock commands in the tree of commands, for help and completion. They run before this tree is loaded."""

import sys
from typing import Annotated, Any

import typer

from qanat.cli import complete
from qanat.cli.stock.commands import COMMANDS
from qanat.cli.stock.main import main

GROUPS = {
    ("tunnel", "route"): "Public hostnames and private networks of a tunnel.",
    (
        "tunnel",
        "route",
        "ip",
    ): "Private networks behind a tunnel. They are stored and listed; their traffic is not carried yet.",
    ("tunnel", "vnet"): "Virtual networks, for private networks that overlap.",
    ("tunnel", "ingress"): "Check a connector's own ingress rules.",
    ("management",): "Tokens for the management of a tunnel's connectors.",
    ("access",): "Reach applications behind an edge: TCP, SSH, and those behind an Access login.",
}

SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

TunnelWords = Annotated[list[str] | None, typer.Argument(autocompletion=complete.tunnels)]
Words = Annotated[list[str] | None, typer.Argument()]


def add_stock_commands(app: typer.Typer, *path: str) -> None:
    """Every stock command below a group, and the groups in it."""
    for known, command in COMMANDS.items():
        if known[:-1] == path and known == command.path and not command.hidden:
            _add(app, known, command.about, is_of_tunnel="TUNNEL" in command.usage)
    for known, about in GROUPS.items():
        if known[:-1] == path:
            group = typer.Typer(no_args_is_help=True, help=about)
            add_stock_commands(group, *known)
            app.add_typer(group, name=known[-1])


def _add(app: typer.Typer, path: tuple[str, ...], about: str, *, is_of_tunnel: bool) -> None:
    def command(context: typer.Context, words: Any = None) -> None:
        sys.exit(main([*path, *(words or ()), *context.args]))

    command.__annotations__["words"] = TunnelWords if is_of_tunnel else Words
    command.__doc__ = about
    app.command(path[-1], context_settings=SETTINGS, add_help_option=False)(command)
