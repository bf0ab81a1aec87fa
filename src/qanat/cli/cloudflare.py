"""`qanat import cloudflare`."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.control_plane import check_encrypted
from qanat.cli.output import note, print_json, print_rows, say
from qanat.client import Client
from qanat.client.cloudflare import API, Report, Takeover, Wanted
from qanat.client.profiles import read_token, write_secret
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="Take over what another control plane has.")

VARIABLES = ("QANAT_FROM_TOKEN", "CLOUDFLARE_API_TOKEN")
RETRIES = 5


@app.callback()
def _group() -> None:
    """Take over what another control plane has."""


@over_api(app, "cloudflare", account=True)
def cloudflare(
    at: Access,
    zone: Annotated[
        list[str] | None, typer.Option("--zone", help="A zone to take over with its records; may be repeated.")
    ] = None,
    all_zones: Annotated[bool, typer.Option("--all-zones", help="Every zone of the account.")] = False,
    tunnel: Annotated[
        list[str] | None, typer.Option("--tunnel", help="Only this tunnel, by name or id; may be repeated.")
    ] = None,
    from_api: Annotated[str, typer.Option("--from-api", help="Address of the API that is read.")] = API,
    from_token_file: Annotated[
        Path | None,
        typer.Option(
            "--from-token-file",
            help="File with the token for it. Else QANAT_FROM_TOKEN or CLOUDFLARE_API_TOKEN; else it is asked for.",
        ),
    ] = None,
    from_account: Annotated[
        str | None, typer.Option("--from-account", help="Account there, by id or name, when the token sees several.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Change what is here in another form.")] = False,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="Folder that the tunnels' new connector tokens are written to.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write; without it only shown.")] = False,
) -> None:
    """Take over tunnels with all that is theirs, zones and records from a Cloudflare account. A dry run, unless --apply.

    A token that may read is enough. Tunnels' secrets are not read: each gets a new connector token.
    """
    check_encrypted(from_api, allowed=False)
    token = _source_token(from_token_file)
    wanted = Wanted(
        tunnels=frozenset(tunnel) if tunnel else None,
        zones=None if all_zones else frozenset(each.lower() for each in zone or ()),
        overwrite=overwrite,
        apply=apply,
    )
    with Client(from_api, token, retries=RETRIES) as source, at.connect() as target:
        source_account = source.account_id(from_account)
        target_account = at.account_id(target)
        if (source.base_url, source_account) == (target.base_url, target_account):
            raise QanatError("usage", "the account can't be taken over from itself", where="--from-api")
        report = Takeover(source, source_account, target, target_account, wanted).run()
        files = _write_tokens(report, target, target_account, tokens) if apply and tokens is not None else {}
    if at.as_json:
        print_json(
            {
                "applied": report.applied,
                "counts": report.counts(),
                "steps": [
                    {"kind": step.kind, "name": step.name, "action": step.action, "reason": step.reason}
                    for step in report.steps
                ],
                "tunnels": [
                    {"name": name, "id": tunnel_id, "command": _command(name, files, at)}
                    for name, tunnel_id in report.tunnels.items()
                ],
            }
        )
    else:
        _print(at, report, files, has_zones=all_zones or bool(zone))
    if report.counts().get("refused"):
        raise typer.Exit(1)


def _print(at: Access, report: Report, files: dict[str, Path], *, has_zones: bool) -> None:
    print_rows(
        ("ACTION", "KIND", "NAME", "WHY"),
        ((step.action, step.kind, step.name, step.reason) for step in report.steps),
        empty="the account there has nothing to take over",
    )
    counts = ", ".join(f"{number} {action}" for action, number in report.counts().items())
    say(f"{'done' if report.applied else 'dry run, nothing was written'}: {counts or 'nothing'}")
    if not has_zones:
        note("no zone was named: give --zone NAME or --all-zones to take records over too")
    if report.tunnels and report.applied:
        note(
            "run each tunnel's connector on its host with its new token (EDGE: your edge's tunnel listener, host:port):"
        )
        for name in report.tunnels:
            note(f"  {_command(name, files, at)}")
    if not report.applied:
        note("repeat with --apply to write")


def _command(name: str, files: dict[str, Path], at: Access) -> str:
    file = files.get(name)
    if file is not None:
        return f"cloudflared tunnel --edge EDGE run --token-file {_quoted(str(file))}"
    slug = f"{_slug(name)}.token"
    where = (("--api", at.api), ("--profile", at.profile), ("--token-file", at.token_file), ("--account", at.account))
    flags = "".join(f" {flag} {_quoted(str(value))}" for flag, value in where if value is not None)
    make = f"(umask 077; qanat tunnel token {_quoted(name)}{flags} > {slug})"
    return f"{make}; cloudflared tunnel --edge EDGE run --token-file {slug}"


def _write_tokens(report: Report, target: Client, account_id: str, folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise QanatError("file_unwritable", f"{folder}: {error.strerror}", where="--tokens") from error
    for name, tunnel_id in report.tunnels.items():
        if tunnel_id is None:
            continue
        file = folder / f"{_slug(name)}.token"
        if file in files.values():
            file = folder / f"{_slug(name)}-{tunnel_id}.token"
        write_secret(file, target.connector_token(account_id, tunnel_id) + "\n", replace=True)
        files[name] = file
    return files


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "tunnel"


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _source_token(file: Path | None) -> str:
    """Never from the command line. QanatError `api_token_missing`."""
    if file is not None:
        return read_token(file)
    for variable in VARIABLES:
        if from_environment := os.environ.get(variable, "").strip():
            return from_environment
    if sys.stdin.isatty():
        return str(typer.prompt("API token of the other account", hide_input=True, err=True)).strip()
    raise QanatError(
        "api_token_missing",
        "no token for the other account was given",
        hint=f"set {VARIABLES[0]}, or give --from-token-file",
    )
