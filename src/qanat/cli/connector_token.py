"""`qanat tunnel connector-token …`: one named token a host, each rotated and revoked alone."""

from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import TunnelArgument, over_api
from qanat.cli.output import note, print_json, print_rows, say, tell
from qanat.client import Client, ConnectorToken

app = typer.Typer(no_args_is_help=True, help="Named connector tokens of a tunnel, one a host.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the connector token.")]


@over_api(app, "list", account=True)
def list_(at: Access, tunnel: TunnelArgument) -> None:
    """List a tunnel's connector tokens and when each was last used, from where."""
    with at.connect() as client:
        tokens = client.connector_tokens(_tunnel_id(at, client, tunnel))
    if at.as_json:
        print_json(tokens)
        return
    print_rows(
        ("ID", "NAME", "STATUS", "CONNECTIONS", "EXPIRES", "LAST USED", "FROM"),
        (
            (
                each.id,
                each.name,
                each.status,
                each.connections,
                each.expires_at,
                each.last_used_at,
                each.last_used_from,
            )
            for each in tokens
        ),
        empty="the tunnel has no named connector tokens; its own is `qanat tunnel token`",
    )


@over_api(app, "create", account=True)
def create(
    at: Access,
    tunnel: TunnelArgument,
    name: Annotated[str, typer.Argument(help="A name, unique in the tunnel, such as the host's.")],
    expires_at: Annotated[str | None, typer.Option(help="When it ends, such as 2027-01-31T00:00:00Z.")] = None,
) -> None:
    """Make a connector token and print it."""
    with at.connect() as client:
        made = client.create_connector_token(_tunnel_id(at, client, tunnel), name, expires_at=expires_at)
    _print_token(at, made, f"made connector token {made.name} ({made.id})")


@over_api(app, "show", account=True)
def show(at: Access, tunnel: TunnelArgument, name: NameArgument) -> None:
    """Print a connector token again."""
    with at.connect() as client:
        tunnel_id = _tunnel_id(at, client, tunnel)
        found = client.show_connector_token(tunnel_id, client.find_connector_token(tunnel_id, name).id)
    _print_token(at, found, f"connector token {found.name} ({found.id})")


@over_api(app, "rotate", account=True)
def rotate(at: Access, tunnel: TunnelArgument, name: NameArgument) -> None:
    """Give a connector token a new secret and print it; connections with the old one end after a grace."""
    with at.connect() as client:
        tunnel_id = _tunnel_id(at, client, tunnel)
        made = client.rotate_connector_token(tunnel_id, client.find_connector_token(tunnel_id, name).id)
    _print_token(at, made, f"rotated connector token {made.name} ({made.id})")


@over_api(app, "revoke", account=True)
def revoke(at: Access, tunnel: TunnelArgument, name: NameArgument) -> None:
    """Revoke a connector token: its connections end, and it is never let in again."""
    with at.connect() as client:
        tunnel_id = _tunnel_id(at, client, tunnel)
        found = client.find_connector_token(tunnel_id, name)
        client.revoke_connector_token(tunnel_id, found.id)
    tell(at.output, {"id": found.id}, f"revoked connector token {found.name} ({found.id})")


def _print_token(at: Access, token: ConnectorToken, what: str) -> None:
    """The token alone on standard output, so that it can be written to a file as it is."""
    if at.as_json:
        print_json(token)
        return
    note(what)
    say(token.token or "")


def _tunnel_id(at: Access, client: Client, tunnel: str) -> str:
    return client.find_tunnel(at.account_id(client), tunnel).id
