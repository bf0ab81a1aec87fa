"""`qanat account …`."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from qanat.cli.access import Access
from qanat.cli.command import FileArgument, over_api
from qanat.cli.output import note, print_json, print_rows, read_object, read_text, say, tell
from qanat.client import ImportReport
from qanat.client.profiles import write_secret
from qanat.errors import QanatError
from qanat.ids import parse_account_id

app = typer.Typer(no_args_is_help=True, help="Accounts: what tunnels and zones belong to; and whole accounts as files.")

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name or id of the account.")]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File with the passphrase that secrets are sealed with. Else QANAT_PASSPHRASE; else it is asked for.",
    ),
]
LONG_S = 600.0
UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # in a header, in which a passphrase goes


@over_api(app, "list")
def list_(at: Access) -> None:
    """List the accounts that the token sees."""
    with at.connect() as client:
        accounts = client.accounts()
    if at.as_json:
        print_json(accounts)
        return
    print_rows(
        ("ID", "NAME", "CREATED"),
        ((each.id, each.name, each.created_on) for each in accounts),
        empty="the token sees no account",
    )


@over_api(app, "limits")
def limits(at: Access, account: AccountArgument) -> None:
    """Show what an account may have, and how much of it it has."""
    with at.connect() as client:
        rows = client.limits(client.account_id(account))
    if at.as_json:
        print_json(rows)
        return
    print_rows(
        ("NAME", "OF", "LIMIT", "USED"),
        ((row["name"], row["of"], row["limit"], row["used"]) for row in rows),
        empty="there are no limits",
    )


@over_api(app, "create")
def create(at: Access, name: Annotated[str, typer.Argument(help="A name.")]) -> None:
    """Make an account."""
    with at.connect() as client:
        made = client.create_account(name)
    tell(at.output, made, f"made account {made.name} with id {made.id}")


@over_api(app, "rename")
def rename(at: Access, account: AccountArgument, name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Rename an account."""
    with at.connect() as client:
        renamed = client.rename_account(client.account_id(account), name)
    tell(at.output, renamed, f"account {renamed.id} is named {renamed.name}")


@over_api(app, "delete")
def delete(
    at: Access,
    account: AccountArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete an account."""
    with at.connect() as client:
        found = client.find_account(account)
        if not yes:
            typer.confirm(f"Delete account {found.name} ({found.id})?", abort=True, err=True)
        client.delete_account(found.id)
    tell(at.output, {"id": found.id}, f"deleted account {found.name}")


@over_api(app, "export", account=True)
def export(
    at: Access,
    file: Annotated[Path, typer.Argument(help="Where to write it; an existing file is kept.")],
    secrets: Annotated[
        bool, typer.Option("--secrets", help="With the tunnels' secrets, sealed under a passphrase.")
    ] = False,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Write a whole account to one file: tunnels, every configuration, zones, records, private routes, tokens' names."""
    passphrase = read_passphrase(passphrase_file, twice=True) if secrets else None
    with at.connect(timeout_s=LONG_S) as client:
        document = client.export_account(at.account_id(client), passphrase=passphrase)
    write_secret(file, json.dumps(document, ensure_ascii=False, indent=1) + "\n", replace=False)
    counts = {key: len(value) for key, value in document.items() if isinstance(value, list)}
    counts["records"] = sum(len(zone.get("records", ())) for zone in document.get("zones", ()))
    listed = ", ".join(f"{number} {key.replace('_', ' ')}" for key, number in counts.items())
    tell(at.output, {"file": str(file), **counts}, f"wrote {file}: {listed}{'' if secrets else '; no secrets'}")


@over_api(app, "import", account=True)
def import_(
    at: Access,
    file: FileArgument,
    apply: Annotated[bool, typer.Option("--apply", help="Write; without it only shown.")] = False,
    passphrase_file: PassphraseFileOption = None,
    every: Annotated[bool, typer.Option("--all", help="Also list what stays as it is.")] = False,
    cutover_policy: Annotated[
        str | None,
        typer.Option(
            help="enforce, warn or off: whether a hostname may go to a tunnel that doesn't serve. By default as its zone "
            "says."
        ),
    ] = None,
) -> None:
    """Read a whole account from a file that `account export` wrote: a dry run, unless --apply. All of it, or nothing."""
    document = read_object(file)
    sealed = isinstance(document.get("secrets"), dict)
    passphrase = read_passphrase(passphrase_file, twice=False) if sealed else None
    with at.connect(timeout_s=LONG_S) as client:
        # Only where it was said on this command line: the file's account is the one that is meant otherwise.
        account_id = client.account_id(at.account) if at.account is not None else _account_of(document)
        report = client.import_account(
            account_id, document, dry_run=not apply, passphrase=passphrase, cutover_policy=cutover_policy
        )
    if at.as_json:
        print_json(report)
    else:
        print_report(report, every=every)
    if report.counts.get("conflict"):
        raise typer.Exit(1)


def _account_of(document: dict[str, Any]) -> str:
    """QanatError `export_malformed`."""
    named = document.get("account")
    try:
        return parse_account_id(str(named["id"]) if isinstance(named, dict) else "")
    except (KeyError, QanatError) as error:
        raise QanatError("export_malformed", "the file names no account", where="account.id") from error


def print_report(report: ImportReport, *, every: bool) -> None:
    """The steps, then what is left to do by hand."""
    steps = [step for step in report.steps if every or step.action != "same"]
    print_rows(
        ("ACTION", "KIND", "NAME", "ID", "WHY"),
        ((step.action, step.kind, step.name, step.id, step.reason) for step in steps),
        empty="nothing to do: everything is there as in the file",
    )
    counts = ", ".join(f"{number} {action}" for action, number in report.counts.items() if number)
    say(f"{'done' if report.applied else 'dry run, nothing was written'}: {counts or 'an empty file'}")
    if report.new_secrets:
        note("these tunnels got new secrets, and their connectors need new tokens (`qanat tunnel token NAME`):")
        for name in report.new_secrets:
            note(f"  {name}")
    if report.new_values:
        note("these API tokens have a new value that nobody knows; `qanat token roll NAME` gives one:")
        for name in report.new_values:
            note(f"  {name}")
    if report.new_users:
        note("these users have no way to sign in yet; `qanat user reset ADDRESS` gives a one-time token:")
        for name in report.new_users:
            note(f"  {name}")
    if report.new_channels:
        note("these alert channels are off, for the file has no URL or password of them; give it, and switch them on:")
        for name in report.new_channels:
            note(f"  {name}")
    if not report.applied and not report.counts.get("conflict"):
        note("repeat with --apply to write")


def read_passphrase(file: Path | None, *, twice: bool) -> str:
    """From the file, the environment, or the terminal. QanatError `passphrase_missing`, `usage`."""
    passphrase = (
        read_text(file, where="--passphrase-file").rstrip("\r\n")
        if file is not None
        else os.environ.get("QANAT_PASSPHRASE", "")
    )
    if not passphrase and file is None:
        try:
            passphrase = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)
        except typer.Abort:
            passphrase = ""
    if passphrase != passphrase.strip(" \t") or UNSENDABLE.search(passphrase):
        raise QanatError(
            "usage", "a passphrase has no space at its ends, and no control characters", where="passphrase"
        )
    if not passphrase:
        raise QanatError(
            "passphrase_missing", "no passphrase was given", hint="give --passphrase-file, or set QANAT_PASSPHRASE"
        )
    return passphrase
