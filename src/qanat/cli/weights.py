"""`qanat record weights`: a hostname that leads to several tunnels."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from qanat.cli.access import Access
from qanat.cli.output import print_json, print_rows, say
from qanat.errors import QanatError


class Sticky(StrEnum):
    """What a visitor stays with its tunnel by."""

    NONE = "none"
    ADDRESS = "address"
    COOKIE = "cookie"


def weights(
    at: Access,
    hostname: Annotated[str, typer.Argument(help="The public hostname, such as app.example.com.")],
    shares: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TUNNEL=WEIGHT]...", help="Each tunnel, by name or id, and its part. None: show them."),
    ] = None,
    sticky: Annotated[Sticky, typer.Option(help="What a visitor stays with its tunnel by.")] = Sticky.NONE,
    clear: Annotated[
        bool, typer.Option("--clear", help="No weights any more: its record says where it leads.")
    ] = False,
    cutover_policy: Annotated[
        str | None,
        typer.Option(
            help="enforce, warn or off: whether a tunnel that doesn't serve may get more of it. By default as its zone "
            "says."
        ),
    ] = None,
) -> None:
    """Show or set the tunnels that a hostname leads to, with their weights, in one step: `web=95 web-new=5`."""
    if clear and shares:
        raise QanatError("usage", "give either weights or --clear", where="--clear")
    with at.connect() as client:
        account_id = at.account_id(client)
        if clear:
            found = client.clear_targets(account_id, hostname, cutover_policy=cutover_policy)
        elif shares:
            parsed = [_parsed(text) for text in shares]
            targets: list[dict[str, str | int]] = [
                {"tunnel_id": client.find_tunnel(account_id, name).id, "weight": weight} for name, weight in parsed
            ]
            found = client.put_targets(
                account_id, hostname, targets, sticky=sticky.value, cutover_policy=cutover_policy
            )
        else:
            found = client.targets(account_id, hostname)
    _show(at, found)


def _parsed(text: str) -> tuple[str, int]:
    name, equals, weight = text.rpartition("=")
    if not (name and equals and weight.isascii() and weight.isdigit()):
        raise QanatError("usage", f"{text} is not TUNNEL=WEIGHT, such as web=95", where="TUNNEL=WEIGHT")
    return name, int(weight)


def _show(at: Access, found: dict[str, Any]) -> None:
    if at.as_json:
        print_json(found)
        return
    if found["is_overruled"]:
        say("its record was repointed to a tunnel without a weight: the weights don't count")
    kept = f", sticky by {found['sticky']}" if found["sticky"] != "none" else ""
    say(f"{found['hostname']}{kept}")
    print_rows(
        ("TUNNEL", "ID", "WEIGHT", "PERCENT"),
        ((each["tunnel_name"], each["tunnel_id"], each["weight"], f"{each['percent']:g}") for each in found["targets"]),
        empty="it leads nowhere",
    )
