"""`qanat requests …`: what passes of a hostname, request by request, while somebody wants to see it."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import print_json, print_rows, say, tell

app = typer.Typer(
    no_args_is_help=True, help="Request lists: what passes of a hostname, request by request, for a while."
)

HostnameArgument = Annotated[
    str, typer.Argument(metavar="HOSTNAME", help="A public hostname of the account, or a wildcard: *.example.com.")
]


@over_api(app, "start", account=True)
def start(
    at: Access,
    hostname: HostnameArgument,
    minutes: Annotated[int, typer.Option(help="For how long, at most 60.")] = 10,
    most: Annotated[int, typer.Option(help="Requests that are kept, the newest; at most 2000.")] = 500,
) -> None:
    """List the requests of a hostname from now on. The audit log says who did."""
    with at.connect() as client:
        begun = client.begin_request_list(at.account_id(client), hostname, minutes=minutes, most=most)
    tell(at.output, begun, f"requests of {begun.hostname} are listed until {begun.until}")


@over_api(app, "stop", account=True)
def stop(at: Access, hostname: HostnameArgument) -> None:
    """End a list, and forget what it holds."""
    with at.connect() as client:
        client.end_request_list(at.account_id(client), hostname)
    tell(at.output, {"hostname": hostname}, f"requests of {hostname} are not listed any more")


@over_api(app, "list", account=True)
def list_(at: Access) -> None:
    """Show the lists that there are."""
    with at.connect() as client:
        lists = client.request_lists(at.account_id(client))
    if at.as_json:
        print_json(lists)
        return
    print_rows(
        ("HOSTNAME", "STATE", "UNTIL", "REQUESTS", "BY"),
        ((each.hostname, "on" if each.on else "over", each.until, each.requests, each.by) for each in lists),
        empty="no requests are listed",
    )


@over_api(app, "show", account=True)
def show(
    at: Access,
    hostname: HostnameArgument,
    status: Annotated[str, typer.Option(help="Only these: 404, 5xx or 400-499.")] = "",
    path: Annotated[str, typer.Option(help="Only with this text in the path.")] = "",
    method: Annotated[str, typer.Option(help="Only this method.")] = "",
    address: Annotated[str, typer.Option(help="Only of this client, or of this network.")] = "",
    limit: Annotated[int, typer.Option(help="The newest so many.")] = 50,
) -> None:
    """Show what a list holds, the newest last."""
    filters = {"status": status, "path": path, "method": method, "address": address}
    given = {name: value for name, value in filters.items() if value}
    with at.connect() as client:
        found = client.listed_requests(at.account_id(client), hostname, given, limit=limit)
    if at.as_json:
        print_json(found)
        return
    print_rows(
        ("AT", "STATUS", "METHOD", "PATH", "FROM", "NODE", "TUNNEL", "CONNECTOR", "ORIGIN", "IN ALL", "ID"),
        (
            (
                datetime.fromtimestamp(each.at, UTC).strftime("%H:%M:%S"),
                f"{each.status or '-'} {each.cause}".strip(),
                each.method,
                f"{each.path}?{each.query}" if each.query else each.path,
                each.client_ip,
                each.node,
                _ms(_tunnel_s(each.first_byte_s, each.connector_s, each.origin_s)),
                _ms(each.connector_s),
                _ms(each.origin_s if each.connector_s is not None else each.first_byte_s),
                _ms(each.duration_s),
                each.request_id,
            )
            for each in reversed(found)
        ),
        empty="no request has ended yet",
    )
    if any(each.connector_s is None and each.first_byte_s is not None for each in found):
        say("where the connector tells no times, ORIGIN is all behind the edge")


def _tunnel_s(first_byte_s: float | None, connector_s: float | None, origin_s: float | None) -> float | None:
    return None if first_byte_s is None or connector_s is None else first_byte_s - connector_s - (origin_s or 0.0)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{max(0.0, seconds) * 1000:.1f} ms"
