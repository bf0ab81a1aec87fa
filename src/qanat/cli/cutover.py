"""`qanat cutover …`: hostnames from one tunnel to another, checked, watched and taken back."""

import subprocess
import time
from collections.abc import Mapping
from typing import Annotated, Any, Unpack

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.cutover_hosted import (
    CaOption,
    ConnectToOption,
    StateFileOption,
    apply_hosted,
    is_hosted,
    plan_hosted,
    resume_hosted,
    roll_back_hosted,
    show_hosted,
)
from qanat.cli.cutover_options import FromOption, HostnamesArgument, PlanOptions, ToOption, plan_body
from qanat.cli.cutover_output import print_cutover, print_gates, tell_entry
from qanat.cli.output import note, print_json, print_rows
from qanat.client import Client
from qanat.errors import QanatError

LOOK_EVERY_S = 0.5
STANDARD_ERROR = 2
"""What a command says that is run in between: standard output is for results."""
ENDS = {
    "refused": "cutover_refused",
    "rolled_back": "cutover_rolled_back",
    "stopped": "cutover_stopped",
}

app = typer.Typer(
    no_args_is_help=True,
    help="Move hostnames from one tunnel to another: checked before, watched, and taken back by itself.",
)

IdArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CUTOVER", help="Its id; by default the only one that is under way, but for records that are watched."
    ),
]


@over_api(app, "plan", account=True)
def plan(
    at: Access,
    hostnames: HostnamesArgument,
    from_: FromOption,
    to: ToOption,
    connect_to: ConnectToOption = None,
    cacert: CaOption = None,
    **options: Unpack[PlanOptions],
) -> None:
    """Ask every gate of a cutover and show its evidence; nothing is changed. Exit status 1 when one is shut."""
    with at.connect(timeout_s=300.0) as client:
        body = plan_body(at, client, hostnames, from_, to, options)
        account = at.account_id(client)
        if is_hosted(client, account):
            planned = plan_hosted(client, account, body, connect_to, cacert)
        else:
            planned = client.plan_cutover(account, body)
    if at.as_json:
        print_json(planned)
    else:
        print_gates(planned["gates"])
        note(f"version {planned['version']}" if planned.get("version") else "against the standard endpoints")
    if not planned["is_open"]:
        raise QanatError("cutover_refused", "a gate is shut; nothing was changed")


@over_api(app, "apply", account=True)
def apply(
    at: Access,
    hostnames: HostnamesArgument,
    from_: FromOption,
    to: ToOption,
    base_version: Annotated[str | None, typer.Option(help="What `plan` said: another version now is refused.")] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="With --pause: a shell command, run while requests wait (a database's promotion), then it is resumed."
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Don't wait for its end.")] = False,
    connect_to: ConnectToOption = None,
    cacert: CaOption = None,
    state_file: StateFileOption = None,
    **options: Unpack[PlanOptions],
) -> None:
    """Move the hostnames: gates, then all at once or in steps, watched, and taken back by itself when the target is worse. Exit
    status 1 when it was refused or taken back."""
    if run is not None and not options["pause"]:
        raise QanatError("usage", "it is run while requests wait: give --pause as well", where="--run")
    with at.connect() as client:
        body = plan_body(at, client, hostnames, from_, to, options)
        account = at.account_id(client)
        if is_hosted(client, account):
            apply_hosted(at, client, account, body, connect_to, cacert, state_file)
            return
        begun = client.begin_cutover(account, {**body, **({"base_version": base_version} if base_version else {})})
        if detach:
            print_json(begun) if at.as_json else note(f"cutover {begun['id']} has begun")
            return
        ended = _follow(at, client, account, begun, run)
    if at.as_json:
        print_json(ended)
    if ended["state"] in ENDS:
        raise QanatError(ENDS[ended["state"]], str(ended["why"]), hint=f"see `qanat cutover status {ended['id']}`")


@over_api(app, "status", account=True)
def status(at: Access, cutover: IdArgument = None, state_file: StateFileOption = None) -> None:
    """Show a cutover with its gates and timeline; by default those that are under way."""
    if state_file is not None:
        show_hosted(at, state_file)
        return
    with at.connect() as client:
        account = at.account_id(client)
        found = (
            [client.cutover(account, cutover)]
            if cutover is not None
            else [client.cutover(account, each["id"]) for each in client.cutovers(account, is_active=True)]
        )
    if at.as_json:
        print_json(found)
        return
    for each in found:
        print_cutover(each)
    if not found:
        note("no cutover is under way; see `qanat cutover history`")


@over_api(app, "history", account=True)
def history(
    at: Access, hostname: Annotated[str | None, typer.Argument(metavar="HOSTNAME", help="Only those of it.")] = None
) -> None:
    """List cutovers, newest first."""
    with at.connect() as client:
        found = client.cutovers(at.account_id(client), hostname=hostname)
    if at.as_json:
        print_json(found)
        return
    print_rows(
        ("ID", "STATE", "SHARE", "HOSTNAMES", "BEGAN", "ENDED", "WHY"),
        (
            (
                each["id"],
                each["state"],
                f"{each['share']} %",
                ", ".join(each["hostnames"]),
                each["created_at"],
                each["finished_at"],
                each["why"],
            )
            for each in found
        ),
        empty="there were no cutovers",
    )


@over_api(app, "pause", account=True)
def pause(at: Access, cutover: IdArgument = None) -> None:
    """Take no further step until it is resumed; it is watched, and taken back if need be, all the same."""
    _act(at, cutover, "pause")


@over_api(app, "resume", account=True)
def resume(
    at: Access,
    cutover: IdArgument = None,
    connect_to: ConnectToOption = None,
    cacert: CaOption = None,
    state_file: StateFileOption = None,
) -> None:
    """Go on with one that is paused, or that holds requests."""
    if state_file is not None:
        resume_hosted(at, state_file, connect_to, cacert)
        return
    _act(at, cutover, "resume")


@over_api(app, "rollback", account=True)
def rollback(
    at: Access,
    cutover: IdArgument = None,
    force: Annotated[bool, typer.Option("--force", help="Although the old tunnel has no connection.")] = False,
    connect_to: ConnectToOption = None,
    cacert: CaOption = None,
    state_file: StateFileOption = None,
) -> None:
    """Put the records back exactly as they were, also after it was done."""
    if state_file is not None:
        roll_back_hosted(at, state_file, connect_to, cacert)
        return
    _act(at, cutover, "rollback", force=force)


def _act(at: Access, cutover: str | None, act: str, *, force: bool = False) -> None:
    with at.connect() as client:
        account = at.account_id(client)
        changed = client.act_on_cutover(account, cutover or _only(client, account), act, force=force)
    if at.as_json:
        print_json(changed)
        return
    tell_entry(changed["timeline"][-1])


def _only(client: Client, account: str) -> str:
    """The one that was asked for. What is only watched, since other hands repointed a record, is to be named."""
    active = client.cutovers(account, is_active=True)
    found = [each for each in active if each["plan"].get("watch") is None]
    if len(found) != 1:
        watched = len(active) - len(found)
        also = f", and {watched} repointed record{'s are' if watched > 1 else ' is'} watched" if watched else ""
        raise QanatError(
            "cutover_unknown",
            f"{len(found) or 'no'} cutovers are under way{also}",
            where="CUTOVER",
            hint="name one: see `qanat cutover history`",
        )
    return str(found[0]["id"])


def _follow(at: Access, client: Client, account: str, begun: Mapping[str, Any], run: str | None) -> Mapping[str, Any]:
    """Tells its timeline until it is over; in between, what is to be run while requests wait."""
    shown, was_run = 0, False
    row = begun
    try:
        while True:
            for entry in row["timeline"][shown:]:
                if not at.as_json:
                    tell_entry(entry)
                if entry["event"] == "held" and not was_run:
                    was_run = True
                    _while_held(client, account, str(row["id"]), run)
            shown = len(row["timeline"])
            if row["finished_at"] is not None:
                return row
            time.sleep(LOOK_EVERY_S)
            row = client.cutover(account, str(begun["id"]))
    except KeyboardInterrupt:
        note(f"cutover {begun['id']} goes on by itself: `qanat cutover status` shows it, `rollback` takes it back")
        raise typer.Exit(130) from None


def _while_held(client: Client, account: str, cutover_id: str, run: str | None) -> None:
    if run is None:
        note(f"requests wait; `qanat cutover resume {cutover_id}` moves them, and within 30 s they go on as before")
        return
    done = subprocess.run(["/bin/sh", "-c", run], stdout=STANDARD_ERROR, check=False)
    if done.returncode == 0:
        client.act_on_cutover(account, cutover_id, "resume")
        return
    note(f"the command ended with {done.returncode}: nothing is moved")
    client.act_on_cutover(account, cutover_id, "rollback", force=True)
