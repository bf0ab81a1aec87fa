"""`qanat access …`, `management …`, `tail`, `update` and `version` in the tree of commands."""

import typer

from qanat.cli.stock_listing import GROUPS, add_stock_commands

access = typer.Typer(no_args_is_help=True, help=GROUPS["access",])
add_stock_commands(access, "access")

management = typer.Typer(no_args_is_help=True, hidden=True, help=GROUPS["management",])
add_stock_commands(management, "management")

version = update = tail = typer.Typer()
add_stock_commands(version)
