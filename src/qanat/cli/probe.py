"""`qanat probe …`: whether origins answer, and how they are asked."""

from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import print_json, print_rows, tell
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="Probes: whether the origins behind public hostnames answer.")

TargetArgument = Annotated[
    str,
    typer.Argument(metavar="HOSTNAME|TUNNEL", help="A public hostname, or a tunnel (name or id): all its hostnames."),
]


@over_api(app, "list", account=True)
def list_(at: Access) -> None:
    """Show how each origin is, through each node, and what is set for it."""
    with at.connect() as client:
        account = at.account_id(client)
        health, probes = client.health(account), client.probes(account)
    if at.as_json:
        print_json({"health": health, "probes": probes})
        return
    print_rows(
        ("HOSTNAME", "TUNNEL", "NODE", "STATE", "SINCE", "WHY"),
        ((row.hostname, row.tunnel, row.node, row.state, row.since, row.why) for row in health),
        empty="no origin has been asked yet",
    )
    if probes:
        print_rows(
            ("SET FOR", "ASKS", "EXPECTS", "EVERY", "TIMEOUT", "RISE", "FALL"),
            (
                (
                    row.target,
                    f"{row.method} {row.path}" if row.enabled else "off",
                    f"{row.status} {row.body!r}" if row.body else row.status,
                    f"{row.interval_s:g} s",
                    f"{row.timeout_s:g} s",
                    row.rise,
                    row.fall,
                )
                for row in probes
            ),
            empty="",
        )


@over_api(app, "set", account=True)
def set_(
    at: Access,
    target: TargetArgument,
    path: Annotated[str | None, typer.Option(help="What to ask for, such as /up.")] = None,
    method: Annotated[str | None, typer.Option(help="GET or HEAD, say.")] = None,
    status: Annotated[str | None, typer.Option(help="Good statuses, such as 200 or 200-299,304.")] = None,
    body: Annotated[str | None, typer.Option(help="Text that must occur in the answer.")] = None,
    header: Annotated[
        list[str] | None, typer.Option(help="NAME: VALUE that the answer must have; repeat it for more.")
    ] = None,
    send: Annotated[list[str] | None, typer.Option(help="NAME: VALUE of the request; repeat it for more.")] = None,
    interval: Annotated[float | None, typer.Option(help="Seconds from one probe to the next.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that an answer may take.")] = None,
    rise: Annotated[int | None, typer.Option(help="Good answers in a row that make an ill origin well.")] = None,
    fall: Annotated[int | None, typer.Option(help="Bad answers in a row that make it ill.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Don't ask.")] = False,
    on: Annotated[bool, typer.Option("--on", help="Ask again.")] = False,
) -> None:
    """Set how a hostname's origin is asked; what isn't given stays as it is."""
    if on and off:
        raise QanatError("probe_bad", "--on and --off are opposites", where="--off")
    changes = {
        "path": path,
        "method": method,
        "status": status,
        "body": body,
        "headers": _fields(header, "--header"),
        "send": _fields(send, "--send"),
        "interval_s": interval,
        "timeout_s": timeout,
        "rise": rise,
        "fall": fall,
        "enabled": True if on else False if off else None,
    }
    with at.connect() as client:
        account = at.account_id(client)
        probe = client.set_probe(account, _target(client, account, target), changes)
    told = f"{probe.method} {probe.path} every {probe.interval_s:g} s" if probe.enabled else "no probe"
    tell(at.output, probe, f"{target}: {told}")


@over_api(app, "unset", account=True)
def unset(at: Access, target: TargetArgument) -> None:
    """Ask as if nothing had ever been set."""
    with at.connect() as client:
        account = at.account_id(client)
        client.unset_probe(account, _target(client, account, target))
    tell(at.output, {"target": target}, f"{target}: nothing is set any more")


@over_api(app, "run", account=True)
def run(
    at: Access,
    hostname: Annotated[str, typer.Argument(metavar="HOSTNAME", help="A public hostname of the account.")],
    path: Annotated[str | None, typer.Option(help="In place of what is set.")] = None,
    tunnel: Annotated[str | None, typer.Option(help="Through this tunnel, wherever the hostname leads.")] = None,
) -> None:
    """Ask once, now, through each connected node. Exit status 1 when an answer is bad."""
    with at.connect() as client:
        account = at.account_id(client)
        tunnel_id = client.find_tunnel(account, tunnel).id if tunnel is not None else None
        answers = client.run_probe(account, hostname, tunnel_id=tunnel_id, path=path)
    if at.as_json:
        print_json(answers)
    else:
        print_rows(
            ("NODE", "GOOD", "TOOK", "WHY"),
            ((row.node, "yes" if row.good else "no", f"{row.duration_s * 1000:.1f} ms", row.why) for row in answers),
            empty="no node is connected",
        )
    if not all(row.good for row in answers):
        raise typer.Exit(1)


def _target(client, account: str, target: str) -> str:  # type: ignore[no-untyped-def]  # Client: not imported at every start
    """A hostname as it is; a tunnel's id for its name."""
    return target if "." in target else client.find_tunnel(account, target).id


def _fields(given: list[str] | None, where: str) -> dict[str, str] | None:
    if not given:
        return None
    fields = {}
    for line in given:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise QanatError("probe_bad", f"{line!r} is not NAME: VALUE", where=where)
        fields[name.strip()] = value.strip()
    return fields
