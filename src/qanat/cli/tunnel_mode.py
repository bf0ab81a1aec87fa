"""`qanat tunnel mode`: whether all nodes of a tunnel get requests, or one."""

from typing import Annotated, Any, Literal

import typer

from qanat.cli.access import Access
from qanat.cli.command import TunnelArgument
from qanat.cli.output import print_json, say
from qanat.client import TunnelMode


def mode(
    at: Access,
    tunnel: TunnelArgument,
    mode: Annotated[
        Literal["replicas", "active-standby"] | None, typer.Argument(help="Without one, the mode is shown.")
    ] = None,
    active: Annotated[str | None, typer.Option(help="The node that shall be active, where that isn't plain.")] = None,
    automatic: Annotated[
        bool | None,
        typer.Option("--automatic/--no-automatic", help="Whether an active that is gone or ill is replaced by itself."),
    ] = None,
    follow_role: Annotated[
        bool | None,
        typer.Option(
            "--follow-role/--no-follow-role", help="Whether the node whose role probe says active is promoted."
        ),
    ] = None,
    failover_after: Annotated[float | None, typer.Option(help="For so many seconds the active must be gone.")] = None,
    hold_down: Annotated[
        float | None, typer.Option(help="For so many seconds after a promotion an ill active stays.")
    ] = None,
    most: Annotated[int | None, typer.Option(help="So many automatic promotions at most, in --per seconds.")] = None,
    per: Annotated[float | None, typer.Option(help="See --most.")] = None,
    keep_standby: Annotated[
        bool | None,
        typer.Option("--keep-standby/--fence-old", help="Whether an active that was replaced at once may come back."),
    ] = None,
) -> None:
    """Show or set a tunnel's mode: `replicas` (all nodes get requests) or `active-standby` (one does)."""
    settings: dict[str, Any] = {
        "active": active,
        "automatic": automatic,
        "follows_role": follow_role,
        "failover_after_s": failover_after,
        "hold_down_s": hold_down,
        "max_promotions": most,
        "per_s": per,
        "keeps_standby": keep_standby,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    with at.connect() as client:
        account_id = at.account_id(client)
        tunnel_id = client.find_tunnel(account_id, tunnel).id
        found = client.tunnel_mode(account_id, tunnel_id)
        if mode is not None or given:
            found = client.put_tunnel_mode(account_id, tunnel_id, {"mode": mode or found.mode, **given})
    _print(at, found)


def _print(at: Access, mode: TunnelMode) -> None:
    if at.as_json:
        print_json(mode)
        return
    say(f"mode {mode.mode}")
    if mode.active is None:
        return
    say(f"active {mode.active}, epoch {mode.epoch}, since {mode.since} ({mode.reason})")
    if mode.automatic:
        say(
            f"replaced by itself when gone for {mode.failover_after_s:g} s, or ill; not within {mode.hold_down_s:g} s of a "
            f"promotion if ill, at most {mode.max_promotions} times in {mode.per_s:g} s"
        )
    if mode.follows_role:
        say("the node whose role probe says active is promoted")
    say(f"an active that is replaced at once {'stays a standby' if mode.keeps_standby else 'is fenced'}")
