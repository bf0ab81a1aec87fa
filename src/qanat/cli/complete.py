"""Completion of names. It asks the API for a moment at most, and says nothing when that fails."""

from collections.abc import Callable

import typer

from qanat.cli.access import access_of
from qanat.client import Client
from qanat.errors import QanatError

PATIENCE_S = 2.0


def tunnels(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the account's tunnels."""

    def ask(client: Client, account: str | None) -> list[str]:
        return [tunnel.name for tunnel in client.tunnels(client.account_id(account))]

    return _asked(ctx, incomplete, ask)


def zones(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of zones."""
    return _asked(ctx, incomplete, lambda client, _account: [zone.name for zone in client.zones()])


def _asked(ctx: typer.Context, incomplete: str, ask: Callable[[Client, str | None], list[str]]) -> list[str]:
    access = access_of(ctx.params)
    try:
        with access.connect(timeout_s=PATIENCE_S) as client:
            return [name for name in ask(client, access.account_name()) if name.startswith(incomplete)]
    except QanatError:
        return []
