"""How cutovers are shown to people."""

from collections.abc import Mapping, Sequence
from typing import Any

from qanat.cli.output import print_rows, say

PASSED = {True: "open", False: "SHUT", None: "-"}


def print_gates(gates: Sequence[Mapping[str, Any]]) -> None:
    """A line each."""
    print_rows(
        ("GATE", "HOSTNAME", "", "EVIDENCE"),
        ((gate["name"], gate["hostname"], PASSED[gate["passed"]], gate["says"]) for gate in gates),
        empty="no gate was asked",
    )


def print_cutover(row: Mapping[str, Any]) -> None:
    """One, with its gates and its timeline."""
    paused = ", paused" if row["is_paused"] else ""
    say(f"{row['id']}  {row['state']}{paused}, {row['share']} % on the target, since {row['since']}")
    say(f"{', '.join(row['hostnames'])}: {row['from_tunnel']} → {row['to_tunnel']}")
    if row["gates"]:
        print_gates(row["gates"])
    for entry in row["timeline"]:
        tell_entry(entry)


def tell_entry(entry: Mapping[str, Any]) -> None:
    """A line of the timeline."""
    numbers = entry.get("numbers")
    told = ""
    if numbers is not None and "new" in numbers and "old" in numbers:
        told = f"  [{_counted('new', numbers['new'])}; {_counted('old', numbers['old'])}]"
    say(f"{str(entry['at'])[11:23]}  {entry['event']:<14} {entry['says']}{told}")


def _counted(which: str, counts: Mapping[str, Any]) -> str:
    p95 = f", p95 {counts['p95_s']:.3f} s" if counts.get("p95_s") is not None else ""
    return f"{which}: {counts['failed']} of {counts['requests']} failed{p95}"
