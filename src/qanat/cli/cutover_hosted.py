"""`qanat cutover …` against a control plane with the standard endpoints alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from qanat import structs
from qanat.cli.access import Access
from qanat.cli.cutover_output import tell_entry
from qanat.cli.output import note, print_json
from qanat.client import Client
from qanat.client.http import StandardOnlyError
from qanat.cutover.gates import is_open
from qanat.cutover.plan import Plan, checked, written
from qanat.defaults import default_data_dir
from qanat.errors import QanatError

if TYPE_CHECKING:  # they load the engine, for the matching of rules, which help needs not
    from qanat.cutover.hosted import Hosted, Progress

ConnectToOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where public names are asked, instead of what DNS says. Against standard endpoints only.",
    ),
]
CaOption = Annotated[
    Path | None, typer.Option(help="PEM file of authorities for public names. Against standard endpoints only.")
]
StateFileOption = Annotated[
    Path | None,
    typer.Option(
        help="Where a cutover against standard endpoints keeps how far it is. By default `cutovers/HOSTNAME.json` in "
        "qanat's own state directory."
    ),
]


def is_hosted(client: Client, account: str) -> bool:
    """Whether the control plane has only the standard endpoints."""
    try:
        client.cutovers(account, is_active=True)
    except StandardOnlyError:
        return True
    return False


def plan_hosted(
    client: Client, account: str, body: Mapping[str, Any], connect_to: str | None, ca_file: Path | None
) -> dict[str, Any]:
    """As the API answers a plan, without a version."""
    plan = _plan(body)
    gates, _ = _hosted(client, account, connect_to, ca_file, quiet=True).gates(plan)
    return {"is_open": is_open(gates), "plan": written(plan), "gates": msgspec.to_builtins(gates)}


def apply_hosted(
    at: Access,
    client: Client,
    account: str,
    body: Mapping[str, Any],
    connect_to: str | None,
    ca_file: Path | None,
    state_file: Path | None,
) -> None:
    """Until it is over. QanatError `cutover_refused`, `cutover_rolled_back`."""
    plan = _plan(body)
    file = state_file or default_data_dir() / "cutovers" / f"{plan.hostnames[0].replace('*', '_')}.json"
    note(f"this control plane has only the standard endpoints; how far it is, is kept in {file}")
    _ended(at, _hosted(client, account, connect_to, ca_file, quiet=at.as_json).apply(plan, file))


def resume_hosted(at: Access, state_file: Path, connect_to: str | None, ca_file: Path | None) -> None:
    """One that was broken off, to its end."""
    progress = _kept(state_file)
    with at.connect() as client:
        hosted = _hosted(client, at.account_id(client), connect_to, ca_file, quiet=at.as_json)
        _ended(at, hosted.resume(progress))


def roll_back_hosted(at: Access, state_file: Path, connect_to: str | None, ca_file: Path | None) -> None:
    """The records as they were."""
    progress = _kept(state_file)
    with at.connect() as client:
        hosted = _hosted(client, at.account_id(client), connect_to, ca_file, quiet=at.as_json)
        progress = hosted.roll_back(progress, "it was asked for")
    if at.as_json:
        print_json(_shown(progress))


def show_hosted(at: Access, state_file: Path) -> None:
    """What the file has."""
    progress = _kept(state_file)
    if at.as_json:
        print_json(_shown(progress))
        return
    for entry in progress.timeline:
        tell_entry(entry)


def _plan(body: Mapping[str, Any]) -> Plan:
    try:
        return checked(structs.convert(dict(body), Plan))
    except msgspec.ValidationError as error:
        raise QanatError("usage", str(error)) from error


def _hosted(client: Client, account: str, connect_to: str | None, ca_file: Path | None, *, quiet: bool) -> "Hosted":
    from qanat.cutover.hosted import Hosted
    from qanat.cutover.public_name import PublicName

    name = PublicName(connect_to=connect_to, ca_file=ca_file)
    return Hosted(client, account, name, tell=(lambda _entry: None) if quiet else tell_entry)


def _kept(state_file: Path) -> "Progress":
    from qanat.cutover.hosted import load

    progress = load(state_file)
    if progress is None:
        raise QanatError("cutover_unknown", f"there is no {state_file}", where="--state-file")
    return progress


def _ended(at: Access, progress: "Progress") -> None:
    if at.as_json:
        print_json(_shown(progress))
    if progress.state in ("refused", "rolled_back"):
        raise QanatError(f"cutover_{progress.state}", progress.why)


def _shown(progress: "Progress") -> dict[str, Any]:
    return {"state": progress.state, "why": progress.why, "plan": progress.plan, "timeline": progress.timeline}
