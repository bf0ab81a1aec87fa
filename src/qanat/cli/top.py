"""`qanat top`: what passes, live."""

import sys
from collections.abc import Sequence
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import print_json, print_rows
from qanat.errors import escape_text

if TYPE_CHECKING:
    from rich.table import Table

    from qanat.client.shapes import Traffic

app = typer.Typer()

COLUMNS = (
    "HOSTNAME",
    "TUNNEL",
    "NODE",
    "STATE",
    "REQ/S",
    "2XX",
    "3XX",
    "4XX",
    "5XX",
    "FAILED",
    "P50",
    "P95",
    "IN/S",
    "OUT/S",
)
Row = tuple[str, ...]


@over_api(app, "top", account=True)
def top(
    at: Access,
    every: Annotated[float, typer.Option(min=0.2, max=60.0, help="Seconds between two looks.")] = 2.0,
    most: Annotated[int, typer.Option("--rows", min=1, max=1000, help="Most rows.")] = 40,
    once: Annotated[bool, typer.Option("--once", help="One look, and no more.")] = False,
) -> None:
    """Show what passes by hostname and node, busiest first: live on a terminal, else one table; with `--output json` one object.
    Rates are of the time between two looks, latencies of the last minute."""
    with at.connect() as client:
        account = at.account_id(client)
        before, since = client.traffic(account), monotonic()
        if not (sys.stdout.isatty() and not once and not at.as_json):
            sleep(every)
            now = client.traffic(account)
            past = monotonic() - since
            if at.as_json:
                print_json(
                    {"seconds": round(past, 3), "rows": [_numbers(old, new, past) for old, new in _pairs(before, now)]}
                )
            else:
                print_rows(COLUMNS, rows(before, now, past, most), empty="nothing has passed yet")
            return
        from rich.live import Live  # not for every start

        with Live(_table([]), screen=True, auto_refresh=False) as live:
            while True:
                sleep(every)
                now, at_once = client.traffic(account), monotonic()
                live.update(_table(rows(before, now, at_once - since, most)), refresh=True)
                before, since = now, at_once


def rows(before: "Sequence[Traffic]", now: "Sequence[Traffic]", past_s: float, most: int) -> list[Row]:
    """The table's, busiest first."""
    pairs = sorted(
        _pairs(before, now),
        key=lambda pair: (-(pair[1].requests - pair[0].requests), -pair[1].requests, pair[1].hostname),
    )
    found = []
    for old, new in pairs[:most]:
        classes = [str(now - then) if now - then else "" for then, now in zip(old.statuses, new.statuses, strict=True)]
        found.append(
            (
                new.hostname,
                new.tunnel,
                new.node or "(none)",
                new.state,
                f"{(new.requests - old.requests) / past_s:.1f}",
                *classes[1:],
                str((new.edge_made - old.edge_made) + (new.cut - old.cut) or ""),
                _time(new.p50_s),
                _time(new.p95_s),
                _bytes((new.bytes_in - old.bytes_in) / past_s),
                _bytes((new.bytes_out - old.bytes_out) / past_s),
            )
        )
    return found


def _pairs(before: "Sequence[Traffic]", now: "Sequence[Traffic]") -> "list[tuple[Traffic, Traffic]]":
    """Each row with what it was; one that is new, or began anew, with nothing."""
    from msgspec.structs import replace

    zero = {
        "requests": 0, "statuses": [0] * 5, "edge_made": 0, "cut": 0, "client_failed": 0,
        "refused": 0, "timed_out": 0, "bytes_in": 0, "bytes_out": 0,
    }  # fmt: skip
    known = {(row.hostname, row.tunnel_id, row.node): row for row in before}
    pairs = []
    for row in now:
        old = known.get((row.hostname, row.tunnel_id, row.node))
        pairs.append((old if old is not None and old.requests <= row.requests else replace(row, **zero), row))
    return pairs


def _numbers(old: "Traffic", new: "Traffic", past_s: float) -> dict[str, object]:
    from msgspec import to_builtins

    return {**to_builtins(new), "requests_per_second": round((new.requests - old.requests) / past_s, 3)}


def _table(found: Sequence[Row]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number < 4 else "right", no_wrap=True)
    for row in found:
        style = "red" if row[3] == "unhealthy" else ""
        table.add_row(*(Text(escape_text(cell)) for cell in row), style=style)
    return table


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
