"""`qanat token …`: API tokens, and what they may touch."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from qanat.cli import complete
from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import note, print_json, print_rows, say, tell
from qanat.client import Client, Token
from qanat.client.accounts import group_of, permission_of
from qanat.client.shapes import PermissionGroup
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="API tokens. A value is shown once, when it is made.")

TokenArgument = Annotated[str, typer.Argument(metavar="TOKEN", help="Name or id of the token.")]
OwnedOption = Annotated[
    bool, typer.Option("--owned", help="Tokens that the account owns, instead of those of the token's user.")
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option("--allow", help="A permission, such as dns.edit; may be repeated. See `qanat token permissions`."),
]
ZoneOption = Annotated[
    list[str] | None,
    typer.Option(
        "--zone",
        help="Permissions of zones and records hold only in this zone; may be repeated.",
        autocompletion=complete.zones,
    ),
]
ACCOUNT = "com.cloudflare.api.account"
ZONE = "com.cloudflare.api.account.zone"
EVERY = "*"


@over_api(app, "list", account=True)
def list_(at: Access, owned: OwnedOption = False) -> None:
    """List tokens with what they may touch and when they were last used."""
    with at.connect() as client:
        tokens = client.tokens(account_id=_owner(at, client, owned))
    if at.as_json:
        print_json(tokens)
        return
    print_rows(
        ("ID", "NAME", "STATUS", "MAY", "EXPIRES", "LAST USED"),
        ((each.id, each.name, each.status, _may(each), each.expires_on, each.last_used_on) for each in tokens),
        empty="there are no tokens",
    )


@over_api(app, "create", account=True)
def create(
    at: Access,
    name: Annotated[str, typer.Argument(help="A name.")],
    allow: AllowOption = None,
    zone: ZoneOption = None,
    everything: Annotated[bool, typer.Option("--everything", help="Every permission, on every account.")] = False,
    expires_on: Annotated[str | None, typer.Option(help="When it ends, such as 2027-01-31T00:00:00Z.")] = None,
    from_address: Annotated[
        list[str] | None, typer.Option("--from", help="Only from this network (CIDR); may be repeated.")
    ] = None,
    owned: OwnedOption = False,
) -> None:
    """Make a token and print its value, once."""
    if bool(allow) == everything:
        raise QanatError("usage", "give --allow for each permission, or --everything", where="--allow")
    if everything and zone:
        raise QanatError("usage", "--everything is not bound to a zone", where="--zone")
    with at.connect() as client:
        owner = _owner(at, client, owned)
        body: dict[str, Any] = {"name": name, "policies": _policies(at, client, owner, allow or [], zone or [])}
        if expires_on is not None:
            body["expires_on"] = expires_on
        if from_address:
            body["condition"] = {"request_ip": {"in": from_address}}
        made = client.create_token(body, account_id=owner)
    _print_value(at, {"id": made.id, "name": made.name, "value": made.value}, f"made token {made.name} ({made.id})")


@over_api(app, "roll", account=True)
def roll(at: Access, token: TokenArgument, owned: OwnedOption = False) -> None:
    """Give a token a new value and print it, once; the old one is refused from now on."""
    with at.connect() as client:
        owner = _owner(at, client, owned)
        found = client.find_token(token, account_id=owner)
        value = client.roll_token(found.id, account_id=owner)
    _print_value(at, {"id": found.id, "name": found.name, "value": value}, f"rolled token {found.name} ({found.id})")


@over_api(app, "disable", account=True)
def disable(at: Access, token: TokenArgument, owned: OwnedOption = False) -> None:
    """Refuse a token from now on; `qanat token enable` takes it back."""
    _set_status(at, token, "disabled", owned)


@over_api(app, "enable", account=True)
def enable(at: Access, token: TokenArgument, owned: OwnedOption = False) -> None:
    """Let a disabled token in again."""
    _set_status(at, token, "active", owned)


@over_api(app, "delete", account=True)
def delete(at: Access, token: TokenArgument, owned: OwnedOption = False) -> None:
    """Delete a token."""
    with at.connect() as client:
        owner = _owner(at, client, owned)
        found = client.find_token(token, account_id=owner)
        client.delete_token(found.id, account_id=owner)
    tell(at.output, {"id": found.id}, f"deleted token {found.name} ({found.id})")


@over_api(app, "permissions", account=True)
def permissions(at: Access, owned: OwnedOption = False) -> None:
    """List what --allow takes."""
    with at.connect() as client:
        groups = client.permission_groups(account_id=_owner(at, client, owned))
    if at.as_json:
        print_json(groups)
        return
    print_rows(
        ("PERMISSION", "STOCK NAME", "ID"),
        ((permission_of(each), each.name, each.id) for each in groups),
        empty="the API lists none",
    )


@over_api(app, "verify")
def verify(at: Access) -> None:
    """Say whether the token that is used is good."""
    with at.connect() as client:
        found = client.verify()
    until = f", until {found.expires_on}" if found.expires_on else ""
    tell(at.output, found, f"token {found.id} is {found.status}{until}")


def _policies(
    at: Access, client: Client, owner: str | None, allow: Sequence[str], zones: Sequence[str]
) -> list[dict[str, Any]]:
    """Permissions of zones on the zones that were named, all others on the account; without any permission, everything."""
    groups = client.permission_groups(account_id=owner)
    if not allow:
        return [_policy({f"{ACCOUNT}.*": EVERY}, [group_of(groups, EVERY)])]
    wanted = [group_of(groups, permission) for permission in allow]
    of_zones = [group for group in wanted if ZONE in group.scopes] if zones else []
    of_account = [group for group in wanted if group not in of_zones]
    policies = []
    if of_zones:
        named = {f"{ZONE}.{client.zone_itself(zone).id}": EVERY for zone in zones}
        policies.append(_policy(named, of_zones))
    if of_account:
        policies.append(_policy({f"{ACCOUNT}.{at.account_id(client)}": EVERY}, of_account))
    return policies


def _policy(resources: dict[str, str], groups: Sequence[PermissionGroup]) -> dict[str, Any]:
    return {
        "effect": "allow",
        "resources": resources,
        "permission_groups": [{"id": group.id} for group in groups],
    }


def _set_status(at: Access, token: str, status: str, owned: bool) -> None:
    with at.connect() as client:
        owner = _owner(at, client, owned)
        found = client.find_token(token, account_id=owner)
        body = {
            "name": found.name,
            "policies": found.policies,
            "status": status,
            "condition": found.condition,
            "not_before": found.not_before,
            "expires_on": found.expires_on,
        }
        changed = client.change_token(found.id, body, account_id=owner)
    tell(at.output, changed, f"token {changed.name} is {changed.status}")


def _print_value(at: Access, value: dict[str, Any], what: str) -> None:
    """The value alone on standard output, so that it can be written to a file as it is."""
    if at.as_json:
        print_json(value)
        return
    note(what)
    say(value["value"])


def _may(token: Token) -> str:
    groups = [
        f"{'not ' if policy.get('effect') == 'deny' else ''}{group.get('name') or group.get('id')}"
        for policy in token.policies
        for group in policy.get("permission_groups", ())
    ]
    return ", ".join(groups)


def _owner(at: Access, client: Client, owned: bool) -> str | None:
    return at.account_id(client) if owned else None
