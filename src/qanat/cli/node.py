"""`qanat node …`: the hosts of a tunnel, which of them gets requests, and how another one takes its place."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from qanat.cli import complete, promotion_steps
from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import note, print_fields, print_json, print_rows, read_text, tell
from qanat.client import OWN_NODE, Client, Node, NodePlace, Promotion
from qanat.errors import QanatError

app = typer.Typer(
    no_args_is_help=True, help="Nodes of a tunnel: the hosts that its connector tokens name, active, standby or fenced."
)
LOOK_S = 0.05

TunnelName = Annotated[
    str | None, typer.Argument(metavar="TUNNEL", help="Name or id of the tunnel.", autocompletion=complete.tunnels)
]
NodeName = Annotated[
    str | None,
    typer.Argument(metavar="NODE", help="Name or id of its connector token; `default` for the tunnel's own."),
]
ConnectorTokenOption = Annotated[
    Path | None,
    typer.Option(
        "--connector-token-file",
        help="On the host itself: the file with its connector token, in place of an API token, TUNNEL and NODE.",
    ),
]
ReasonOption = Annotated[str, typer.Option(help="Why; kept with it.")]


class Asking(NamedTuple):
    """A client, and where it asks about the node."""

    client: Client
    place: NodePlace


@contextmanager
def _asking(
    at: Access, tunnel: str | None, node: str | None, token_file: Path | None, *, needs_node: bool = True
) -> Iterator[Asking]:
    if token_file is not None:
        if tunnel is not None or node is not None:
            raise QanatError("usage", "the connector token says which node it is", where="TUNNEL", hint="leave it out")
        with at.connect_with(read_text(token_file, where="--connector-token-file").strip()) as client:
            yield Asking(client, OWN_NODE)
        return
    if tunnel is None or (node is None and needs_node):
        missing = "TUNNEL" if tunnel is None else "NODE"
        raise QanatError("usage", f"{missing} is missing", hint="or give --connector-token-file, on the host itself")
    with at.connect() as client:
        account_id = at.account_id(client)
        tunnel_id = client.find_tunnel(account_id, tunnel).id
        yield Asking(client, NodePlace.of_tunnel(account_id, tunnel_id, _in_path(node or "")))


def _in_path(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


@over_api(app, "list", account=True)
def list_(at: Access, tunnel: TunnelName = None, connector_token_file: ConnectorTokenOption = None) -> None:
    """List a tunnel's nodes: which is active, which are reached, well, fenced, and what their role probes say."""
    with _asking(at, tunnel, None, connector_token_file, needs_node=False) as (client, place):
        found = client.nodes(place)
    if at.as_json:
        print_json(found)
        return
    mode = found.mode
    active = f", epoch {mode.epoch}, active {mode.active} since {mode.since}" if mode.active else ""
    note(f"mode {mode.mode}{active}{_automatic(mode.automatic, mode.follows_role)}")
    print_rows(
        ("NODE", "STATE", "CONNECTIONS", "OPEN", "HEALTH", "ROLE", "WHY"),
        (
            (
                each.name,
                each.state,
                each.connections if not each.suspect else f"{each.connections} ({each.suspect} suspect)",
                each.open_requests,
                each.health,
                each.role,
                each.fenced_reason or each.health_reason,
            )
            for each in found.nodes
        ),
        empty="the tunnel has no nodes",
    )


def _automatic(automatic: bool, follows_role: bool) -> str:
    how = [text for text, is_so in (("by itself", automatic), ("following the role probes", follows_role)) if is_so]
    return f", replaced {' and '.join(how)}" if how else ""


@over_api(app, "show", account=True)
def show(
    at: Access, tunnel: TunnelName = None, node: NodeName = None, connector_token_file: ConnectorTokenOption = None
) -> None:
    """Show one node."""
    with _asking(at, tunnel, node, connector_token_file) as (client, place):
        found = client.node(place)
    _print_node(at, found)


def _print_node(at: Access, node: Node) -> None:
    if at.as_json:
        print_json(node)
        return
    print_fields(
        [
            ("node", f"{node.name} ({node.id})"),
            ("state", node.state if not node.fenced_at else f"fenced by {node.fenced_by}: {node.fenced_reason}"),
            ("connections", node.connections if not node.suspect else f"{node.connections}, {node.suspect} suspect"),
            ("open requests", node.open_requests),
            ("health", f"{node.health} {node.health_reason}".strip()),
            ("role", f"{node.role} {node.role_detail}".strip()),
            ("token", node.token),
        ]
    )


@over_api(app, "promote", account=True)
def promote(
    at: Access,
    tunnel: TunnelName = None,
    node: NodeName = None,
    connector_token_file: ConnectorTokenOption = None,
    before: Annotated[
        list[str] | None,
        typer.Option(help="A command that runs here when nothing is open on the old node; if it fails, all is undone."),
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(help="A command that runs here when the node is active, before requests go on."),
    ] = None,
    hold: Annotated[float, typer.Option(help="So many seconds requests wait at most, all in all; up to 30.")] = 30.0,
    drain: Annotated[
        float, typer.Option(help="Of these, for what is open on the old node; then it is cut, WebSockets anyway.")
    ] = 10.0,
    most_held: Annotated[int, typer.Option(help="More requests than these are answered 503 meanwhile.")] = 1000,
    force: Annotated[
        bool, typer.Option("--force", help="At once: what is open on the old node is cut, and it is fenced.")
    ] = False,
    epoch: Annotated[int | None, typer.Option(help="Refuse when the epoch is another one.")] = None,
    reason: ReasonOption = "",
) -> None:
    """Make a node the active one. Requests wait meanwhile, and none fails.

    A command is split into words as by a shell, and run without one. It gets QANAT_PROMOTION, QANAT_FROM_NODE,
    QANAT_TO_NODE and, after the flip, QANAT_EPOCH.
    """
    commands = {
        "before": promotion_steps.commands(before, "--before"),
        "after": promotion_steps.commands(after, "--after"),
    }
    if force and (before or after):
        raise QanatError("usage", "a promotion by force waits for no commands", where="--force")
    asked = {
        "force": force,
        "reason": reason,
        "epoch": epoch,
        "hold_s": hold,
        "drain_s": min(drain, hold),
        "most_held": most_held,
        "before": bool(commands["before"]),
        "after": bool(commands["after"]),
    }
    with _asking(at, tunnel, node, connector_token_file) as (client, place):
        begun = client.promote(place, asked)
        done = _followed(client, place, begun, commands, hold)
    if done.state == "undone":
        raise QanatError("promotion_undone", f"{done.undo_reason}; {done.from_node} is active as before")
    waited = f", {done.held} requests had waited" if done.held else ""
    cut = f", {done.cut} were cut" if done.cut else ""
    tell(at.output, done, f"{done.to_node} is active, epoch {done.epoch}{waited}{cut}")
    if done.step_error:
        raise QanatError("promotion_step_failed", f"after the flip: {done.step_error}", where="--after")


def _followed(
    client: Client, place: NodePlace, promotion: Promotion, commands: promotion_steps.Steps, hold_s: float
) -> Promotion:
    """Until it is over; runs what is to be run meanwhile."""
    done: set[str] = set()
    end = time.monotonic() + hold_s
    try:
        while not promotion.is_over:
            state = promotion.state
            if state in commands and state not in done:
                done.add(state)
                error = promotion_steps.run(commands[state], promotion, within_s=end - time.monotonic())
                client.advance_promotion(place, promotion.id, state, error=error)
            time.sleep(LOOK_S)
            promotion = client.promotion(place, promotion.id)
    except KeyboardInterrupt:
        client.undo_promotion(place, promotion.id, reason="interrupted")
        raise QanatError("promotion_undone", "interrupted") from None
    return promotion


@over_api(app, "drain", account=True)
def drain_(
    at: Access,
    tunnel: TunnelName = None,
    node: NodeName = None,
    connector_token_file: ConnectorTokenOption = None,
    timeout: Annotated[
        float, typer.Option(help="So many seconds it is waited for what is open; 0: not at all.")
    ] = 30.0,
    reason: ReasonOption = "",
) -> None:
    """Take a node out of service: no new requests from now on; waits until what is open has ended. `unfence` takes it back."""
    with _asking(at, tunnel, node, connector_token_file) as (client, place):
        found = client.drain(place, reason=reason)
        end = time.monotonic() + timeout
        while found.open_requests and time.monotonic() < end:
            time.sleep(LOOK_S)
            found = client.node(place)
    left = f"; {found.open_requests} requests are still open" if found.open_requests else ""
    tell(at.output, found, f"{found.name} gets no new requests{left}")


@over_api(app, "fence", account=True)
def fence(
    at: Access,
    tunnel: TunnelName = None,
    node: NodeName = None,
    connector_token_file: ConnectorTokenOption = None,
    reason: ReasonOption = "",
) -> None:
    """Cut a node off: no requests from now on, and what is open on it ends."""
    with _asking(at, tunnel, node, connector_token_file) as (client, place):
        found = client.fence(place, reason=reason)
    tell(at.output, found, f"{found.name} is fenced")


@over_api(app, "unfence", account=True)
def unfence(
    at: Access, tunnel: TunnelName = None, node: NodeName = None, connector_token_file: ConnectorTokenOption = None
) -> None:
    """Let a node take part again: as a standby, or in mode replicas for requests at once."""
    with _asking(at, tunnel, node, connector_token_file) as (client, place):
        found = client.unfence(place)
    tell(at.output, found, f"{found.name} is not fenced: {found.state}")


@over_api(app, "promotions", account=True)
def promotions(at: Access, tunnel: TunnelName = None) -> None:
    """List a tunnel's promotions, newest first, and what came of them."""
    with _asking(at, tunnel, None, None, needs_node=False) as (client, place):
        rows = client.promotions(place)
    if at.as_json:
        print_json(rows)
        return
    print_rows(
        ("STARTED", "KIND", "FROM", "TO", "STATE", "EPOCH", "HELD", "CUT", "WHY"),
        (
            (
                each.started_at,
                each.kind,
                each.from_node,
                each.to_node,
                each.state,
                each.epoch,
                each.held,
                each.cut,
                each.undo_reason or each.reason,
            )
            for each in rows
        ),
        empty="there were none",
    )
