"""What a check found."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Level = Literal["ok", "note", "warning", "failure"]
"""`note`: worth knowing, nothing to do. `warning`: it works, but not as well or not for long. `failure`: it can't work so."""


class Finding(Struct, frozen=True, omit_defaults=True):
    """`check`: what was looked at, in a word or two. `fix`: what to do, "" where nothing is to be done."""

    check: str
    level: Level
    message: str
    fix: str = ""


def exit_status(findings: Iterable[Finding]) -> int:
    """0: nothing to do; 1: warnings; 2: failures."""
    levels = {finding.level for finding in findings}
    return 2 if "failure" in levels else 1 if "warning" in levels else 0
