"""`qanat explain`: why a request failed, or where a URL would go."""

from typing import Annotated, Any

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import print_fields, print_json, print_rows

app = typer.Typer()


@over_api(app, "explain")
def explain(
    at: Access,
    what: Annotated[str, typer.Argument(metavar="URL|REQUEST_ID", help="A URL, or the id that an error page shows.")],
) -> None:
    """Say which tunnel and rule a URL would reach and why; or why a recent request failed."""
    is_url = "/" in what or "." in what
    with at.connect() as client:
        answer = client.explain(what if "://" in what else f"https://{what}") if is_url else client.failed_request(what)
    if at.as_json:
        print_json(answer)
        return
    hops = answer.pop("hops", None)
    print_fields(_flat(answer))
    if hops:
        print_rows(
            ("HOP", "AFTER", "TOOK", "WHAT"),
            ((hop["hop"], _ms(hop["at_s"]), _ms(hop["took_s"]), hop["what"]) for hop in hops),
            empty="",
        )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _flat(answer: dict[str, Any], under: str = "") -> list[tuple[str, object]]:
    """Objects within objects as dotted keys; lists of objects as numbered ones."""
    rows: list[tuple[str, object]] = []
    for key, value in answer.items():
        name = f"{under}{key}"
        if isinstance(value, dict):
            rows.extend(_flat(value, f"{name}."))
        elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
            for number, each in enumerate(value):
                rows.extend(_flat(each, f"{name}[{number}].") if isinstance(each, dict) else [(name, each)])
        else:
            rows.append((name, ", ".join(str(each) for each in value) if isinstance(value, list) else value))
    return rows
