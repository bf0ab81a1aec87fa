"""`qanat user …`: people who sign in to the dashboard, and what they may do."""

import sys
from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import note, print_json, print_rows, say, tell
from qanat.client import Client, Person
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="Users of the dashboard: owners, admins, operators and viewers.")

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="Email address or id of the user.")]
RoleOption = Annotated[str, typer.Option("--role", help="owner, admin, operator or viewer.")]
EverywhereOption = Annotated[
    bool, typer.Option("--everywhere", help="In every account, and on the edge itself, instead of in one account.")
]
StdinOption = Annotated[
    bool,
    typer.Option(
        "--password-stdin", help="Set this password, one line of standard input, instead of making a one-time token."
    ),
]
PromptOption = Annotated[bool, typer.Option("--ask-password", help="Ask for a password, on the terminal.")]
MAX_PASSWORD = 1024


@over_api(app, "list")
def list_(at: Access) -> None:
    """List users with their roles."""
    with at.connect() as client:
        people = client.users()
        names = {each.id: each.name for each in client.accounts()} if not at.as_json else {}
    if at.as_json:
        print_json(people)
        return
    print_rows(
        ("ID", "EMAIL", "ROLES", "SIGNS IN BY", "STATE"),
        ((each.id, each.email, _roles(each, names), _ways(each), _state(each)) for each in people),
        empty="the token sees no users",
    )


@over_api(app, "add", account=True)
def add(
    at: Access,
    email: Annotated[str, typer.Argument(help="The address that they sign in with.")],
    role: RoleOption = "viewer",
    everywhere: EverywhereOption = False,
    password_stdin: StdinOption = False,
    ask_password: PromptOption = False,
) -> None:
    """Make a user, and print a one-time token by which they set a password of their own."""
    password = _password(stdin=password_stdin, ask=ask_password)
    with at.connect() as client:
        account = "*" if everywhere else at.account_id(client)
        made = client.create_user(email=email, role=role, account=account, password=password)
    _print_entering(at, made, f"made user {made.email} ({made.id}), {role}")


@over_api(app, "role", account=True)
def role_(
    at: Access,
    user: UserArgument,
    role: Annotated[str, typer.Argument(help="owner, admin, operator, viewer; or none, which takes it away.")],
    everywhere: EverywhereOption = False,
) -> None:
    """Give a user another role in an account. Tokens of theirs that hold more are disabled."""
    with at.connect() as client:
        found = client.find_user(user)
        account = "*" if everywhere else at.account_id(client)
        changed = client.set_role(found.id, account=account, role=None if role == "none" else role)
    tell(at.output, changed, f"{changed.email} is {role if role != 'none' else 'nobody'} there now")


@over_api(app, "reset")
def reset(
    at: Access,
    user: UserArgument,
    second_factor: Annotated[
        bool, typer.Option("--second-factor", help="Take the second factor away too: for who has lost it.")
    ] = False,
    password_stdin: StdinOption = False,
    ask_password: PromptOption = False,
) -> None:
    """Take a user's password away, end their sessions, and print a one-time token by which they set another one."""
    password = _password(stdin=password_stdin, ask=ask_password)
    with at.connect() as client:
        found = client.find_user(user)
        done = client.reset_user(found.id, second_factor=second_factor, password=password)
    _print_entering(at, done, f"reset user {done.email} ({done.id}); their sessions have ended")


@over_api(app, "disable")
def disable(at: Access, user: UserArgument) -> None:
    """Shut a user out from now on: sessions end, and their own tokens are disabled."""
    _set_disabled(at, user, disabled=True)


@over_api(app, "enable")
def enable(at: Access, user: UserArgument) -> None:
    """Let a user in again. Their tokens stay disabled; see `qanat token enable`."""
    _set_disabled(at, user, disabled=False)


@over_api(app, "remove")
def remove(at: Access, user: UserArgument) -> None:
    """Remove a user with their sessions and their own tokens. Tokens of accounts stay."""
    with at.connect() as client:
        found = client.find_user(user)
        client.remove_user(found.id)
    tell(at.output, {"id": found.id}, f"removed user {found.email} ({found.id})")


def _set_disabled(at: Access, user: str, *, disabled: bool) -> None:
    with at.connect() as client:
        changed = client.change_user(_id(client, user), disabled=disabled)
    tell(at.output, changed, f"user {changed.email} is {'shut out' if disabled else 'let in'}")


def _id(client: Client, user: str) -> str:
    return client.find_user(user).id


def _password(*, stdin: bool, ask: bool) -> str | None:
    """Never from the command line, which every process of the host can read."""
    if stdin and ask:
        raise QanatError("usage", "give one of --password-stdin and --ask-password", where="--ask-password")
    if stdin:
        line = sys.stdin.readline(MAX_PASSWORD).removesuffix("\n")
        if not line:
            raise QanatError("usage", "standard input has no password", where="--password-stdin")
        return line
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)) if ask else None


def _print_entering(at: Access, person: Person, what: str) -> None:
    """The one-time token alone on standard output, so that it can be handed on as it is."""
    if at.as_json:
        print_json(person)
        return
    note(what)
    if person.one_time_token:
        note("they set a password with this token, once, on the dashboard's page /enter:")
        say(person.one_time_token)


def _roles(person: Person, names: dict[str, str]) -> str:
    return ", ".join(
        f"{role} everywhere" if account == "*" else f"{role} of {names.get(account, account)}"
        for account, role in sorted(person.roles.items())
    )


def _ways(person: Person) -> str:
    if not person.has_password:
        return "nothing yet"
    return "password and code" if person.has_second_factor else "password"


def _state(person: Person) -> str:
    return "shut out" if person.disabled else "active"
