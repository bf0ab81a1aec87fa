"""`qanat profile …` and `qanat login`: several control planes by name."""

import sys
from typing import Annotated

import typer

from qanat.cli.access import Access, ApiOption, TokenFileOption
from qanat.cli.control_plane import check_encrypted, default_api, is_same, profile_name
from qanat.cli.output import Output, OutputOption, print_json, print_rows, tell
from qanat.client import Client
from qanat.client.profiles import Profiles, read_token
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="Profiles: several control planes by name, each with its token.")
login_app = typer.Typer()

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the profile.")]
DefaultAccountOption = Annotated[
    str | None, typer.Option("--account", help="Id or name of the account that commands work in.")
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure-http", help="The address is plain HTTP in a network that is yours.")
]


@app.command("list")
def list_(output: OutputOption = Output.TEXT) -> None:
    """List profiles; the current one is marked."""
    profiles = Profiles()
    current = profiles.current()
    rows = [
        {"name": name, "api": each.api, "account": each.account, "current": name == current}
        for name, each in profiles.all().items()
    ]
    if output is Output.JSON:
        print_json(rows)
        return
    print_rows(
        ("", "NAME", "API", "ACCOUNT"),
        (("*" if row["current"] else "", row["name"], row["api"], row["account"]) for row in rows),
        empty="there are no profiles; `qanat login` makes one",
    )


@app.command("add")
def add(
    name: NameArgument,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    account: DefaultAccountOption = None,
    insecure_http: InsecureOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Keep a control plane's address and token, without asking it. The token: --token-file, or standard input."""
    address = api or default_api()
    check_encrypted(address, allowed=insecure_http)
    token = read_token(token_file) if token_file is not None else _token_from_input()
    Profiles().add(name, api=address, token=token, account=account, insecure_http=insecure_http)
    tell(output, {"name": name, "api": address}, f"added profile {name} for {address}")


@app.command("use")
def use(name: NameArgument, output: OutputOption = Output.TEXT) -> None:
    """Make a profile the one that is used when none is named."""
    Profiles().use(name)
    tell(output, {"name": name}, f"commands go to profile {name}")


@app.command("remove")
def remove(name: NameArgument, output: OutputOption = Output.TEXT) -> None:
    """Forget a profile and its token; the token itself stays good until it is deleted."""
    Profiles().remove(name)
    tell(output, {"name": name}, f"removed profile {name}")


@login_app.command("login")
def login(
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    name: Annotated[
        str | None, typer.Option("--profile", help="Name of the profile; by default the current one.")
    ] = None,
    account: DefaultAccountOption = None,
    insecure_http: InsecureOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check an API token and keep it in a profile. The token: --token-file, standard input, or it is asked for."""
    profiles = Profiles()
    chosen = name or profile_name(Access()) or "default"
    known = profiles.all().get(chosen)
    address = api or (known.api if known else default_api())
    if known and not is_same(address, known.api):
        known = None  # what was said of another address is not kept for this one
    insecure = insecure_http or bool(known and known.insecure_http)
    check_encrypted(address, allowed=insecure)
    token = read_token(token_file) if token_file is not None else _token_from_input()
    with Client(address, token) as client:
        status = client.verify()
        if status.status != "active":
            raise QanatError("api_refused", f"the token is {status.status}")
        if account is not None:
            account = client.account_id(account)
    kept = account or (known.account if known else None)
    profiles.add(chosen, api=address, token=token, account=kept, insecure_http=insecure, replace=True)
    profiles.use(chosen)
    tell(
        output,
        {"profile": chosen, "api": address, "token_id": status.id, "expires_on": status.expires_on},
        f"logged in to {address} as profile {chosen}"
        + (f"; the token is good until {status.expires_on}" if status.expires_on else ""),
    )


def _token_from_input() -> str:
    """Never from the command line, which others can read. QanatError `api_token_missing`."""
    try:
        token = (
            str(typer.prompt("API token", hide_input=True, err=True)) if sys.stdin.isatty() else sys.stdin.readline()
        )
    except typer.Abort:
        token = ""
    if not token.strip():
        raise QanatError("api_token_missing", "no API token was given", hint="give --token-file, or pipe it in")
    return token.strip()
