"""Durations as cloudflared writes them: whole seconds in JSON, Go texts (`1m30s`) in YAML, flags and variables."""

import re

from qanat.errors import QanatError

_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)

LONGEST_S = 10 * 365 * 86400.0
"""No duration is longer than ten years: the engine's clocks can't overflow."""


def parse_duration(text: str, *, where: str, code: str = "ingress_bad_duration") -> float:
    """Seconds of a Go duration: `30s`, `1m30s`, `500ms`, `0`. Never negative.

    Raises:
        QanatError: `code`, at `where`.
    """
    seconds = _seconds(text)
    if seconds is None:
        raise QanatError(
            code,
            f"'{text[:40]}' is not a valid duration",
            where=where,
            hint="write a number and a unit, such as 30s or 1m30s",
        )
    if seconds > LONGEST_S:
        raise QanatError(code, f"'{text[:40]}' is longer than ten years", where=where)
    return seconds


def show_duration(seconds: float) -> str:
    """As Go prints it: `30s`, `1m0s`, `1h0m0s`, `500ms`."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms" if seconds else "0s"
    whole, part = divmod(seconds, 1)
    hours, rest = divmod(int(whole), 3600)
    minutes, left = divmod(rest, 60)
    text = f"{left}s" if not part else f"{left + round(part, 9):g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _seconds(text: str) -> float | None:
    text = text.removeprefix("+")
    if text == "0":
        return 0.0
    total, end = 0.0, 0
    while end < len(text):
        term = _TERM.match(text, end)
        if term is None:
            return None
        total += float(term[1]) * _UNIT_S[term[2]]
        end = term.end()
    return total if end else None
