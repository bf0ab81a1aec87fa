"""`qanat access …`, `update` and `version` in the tree of commands."""

import typer

from qanat.cli.stock_listing import GROUPS, add_stock_commands

access = typer.Typer(no_args_is_help=True, help=GROUPS["access",])
add_stock_commands(access, "access")

version = update = typer.Typer()
add_stock_commands(version)
