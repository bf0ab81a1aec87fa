"""The options of a cutover's plan, and what the API takes for them."""

from typing import Annotated, Any, TypedDict

import typer

from qanat.cli import complete
from qanat.cli.access import Access
from qanat.client import Client
from qanat.cutover.plan import GRADUAL
from qanat.errors import QanatError

HostnamesArgument = Annotated[list[str], typer.Argument(metavar="HOSTNAME...", help="The hostnames that move.")]
FromOption = Annotated[
    str,
    typer.Option(
        "--from", metavar="TUNNEL", help="Name or id of the tunnel that serves them.", autocompletion=complete.tunnels
    ),
]
ToOption = Annotated[
    str,
    typer.Option(
        "--to", metavar="TUNNEL", help="Name or id of the tunnel that they go to.", autocompletion=complete.tunnels
    ),
]


class PlanOptions(TypedDict):
    """What `plan` and `apply` take alike; None where it wasn't given."""

    steps: Annotated[
        str | None,
        typer.Option(
            help="The target's share in percent, such as 10,100; `gradual` is 1,5,25,100. By default all at once."
        ),
    ]
    path: Annotated[str | None, typer.Option(help="Path that is asked for through the target. By default /.")]
    status: Annotated[int | None, typer.Option(help="Status that it must answer. By default what the source answers.")]
    header: Annotated[
        list[str] | None,
        typer.Option("--header", help="`NAME: TEXT` that a field of the answer holds; may be repeated."),
    ]
    body: Annotated[str | None, typer.Option(help="A text that the answer's body holds.")]
    within: Annotated[float | None, typer.Option(help="Seconds to the whole answer. By default by the source's.")]
    connections: Annotated[int | None, typer.Option(help="Connections that the target has at least. By default 1.")]
    nodes: Annotated[int | None, typer.Option(help="Nodes (hosts) that they come from at least. By default 1.")]
    watch: Annotated[float | None, typer.Option(help="Seconds that each step is watched. By default 30.")]
    requests: Annotated[int | None, typer.Option(help="Requests that each step waits for. By default 100.")]
    longest: Annotated[
        float | None, typer.Option(help="Seconds that a step with fewer requests lasts. By default 300.")
    ]
    pause: Annotated[
        bool | None,
        typer.Option("--pause", help="Hold new requests before the move, until it is resumed (30 s at most)."),
    ]
    websockets: Annotated[
        str | None, typer.Option(help="`stay` or `cut`: those that are open on the old tunnel. By default stay.")
    ]
    sticky: Annotated[
        str | None,
        typer.Option(
            help="`none`, `address` or `cookie`: by what a visitor stays on its side in the steps. By default none."
        ),
    ]
    drain: Annotated[
        float | None,
        typer.Option(help="Seconds until WebSockets are cut, or open requests no longer waited for. By default 10."),
    ]


def plan_body(
    at: Access, client: Client, hostnames: list[str], from_tunnel: str, to_tunnel: str, options: PlanOptions
) -> dict[str, Any]:
    """The body of a plan. QanatError `usage`, `tunnel_unknown`."""
    account = at.account_id(client)
    check = {
        "path": options["path"],
        "status": options["status"],
        "body": options["body"],
        "within_s": options["within"],
        "headers": _headers(options["header"]) or None,
    }
    rule = {
        "step_s": options["watch"],
        "least_requests": options["requests"],
        "longest_s": _longest(options["watch"], options["longest"]),
    }
    body = {
        "from_tunnel": client.find_tunnel(account, from_tunnel).id,
        "to_tunnel": client.find_tunnel(account, to_tunnel).id,
        "hostnames": hostnames,
        "steps": _steps(options["steps"]),
        "check": _given(check) or None,
        "rule": _given(rule) or None,
        "least_connections": options["connections"],
        "least_nodes": options["nodes"],
        "hold": options["pause"],
        "websockets": options["websockets"],
        "sticky": options["sticky"],
        "drain_s": options["drain"],
    }
    return _given(body)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _longest(watch: float | None, longest: float | None) -> float | None:
    """A step that is watched for longer than the usual longest time lasts as long as it is watched."""
    return longest if longest is not None or watch is None or watch <= 300 else watch


def _steps(text: str | None) -> list[int] | None:
    if text is None:
        return None
    if text == "gradual":
        return list(GRADUAL)
    try:
        return [int(each.strip().removesuffix("%")) for each in text.split(",")]
    except ValueError:
        raise QanatError(
            "usage", f"{text!r} is not a list of percentages such as 1,5,25,100", where="--steps"
        ) from None


def _headers(given: list[str] | None) -> dict[str, str]:
    found = {}
    for each in given or ():
        name, colon, text = each.partition(":")
        if not colon or not name.strip():
            raise QanatError("usage", f"{each!r} is not `NAME: TEXT`", where="--header")
        found[name.strip()] = text.strip()
    return found
