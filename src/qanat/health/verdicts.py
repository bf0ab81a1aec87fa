"""Whether an origin is well, from one answer after another: a state machine with rise and fall. Pure.

`unknown` becomes `healthy` with the first good answer and `unhealthy` after `fall` bad ones; `healthy` falls after `fall`
bad ones in a row, `unhealthy` rises after `rise` good ones in a row. What requests met counts at once: an origin that
refuses its visitors is unhealthy before the next probe."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

HealthState = Literal["healthy", "unhealthy", "unknown"]

SAMPLES = 5
"""Requests within a window that it takes to judge by them."""
FAILED_SHARE = 0.5
"""Above this share of failed requests an origin is ill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an origin is, since when and why. `good`, `bad`: answers in a row."""

    state: HealthState = "unknown"
    since: datetime
    why: str = "not asked yet"
    good: int = 0
    bad: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What requests met within a window: `failed` of `requests` ended with 5xx, were cut or made by the edge; `refused` and
    `timed_out` are tries."""

    requests: int
    failed: int
    refused: int
    timed_out: int


def after(verdict: Verdict, *, is_good: bool, why: str, at: datetime, rise: int, fall: int) -> Verdict:
    """With one more answer."""
    good, bad = (verdict.good + 1, 0) if is_good else (0, verdict.bad + 1)
    state = verdict.state
    if is_good and (good >= rise or state == "unknown"):
        state = "healthy"
    elif not is_good and bad >= fall:
        state = "unhealthy"
    changed = state != verdict.state
    told = why if changed or state == ("healthy" if is_good else "unhealthy") else verdict.why
    # a long row needs no longer number
    good, bad = min(good, rise), min(bad, fall)
    return Verdict(state=state, since=at if changed else verdict.since, why=told, good=good, bad=bad)


def after_requests(verdict: Verdict, met: Met, *, at: datetime) -> Verdict:
    """With what requests met lately. It can only make ill: a probe that rises says when that is over."""
    why = illness(met)
    if not why:
        return verdict
    if verdict.state == "unhealthy":
        return replace(verdict, good=0, why=why)
    return Verdict(state="unhealthy", since=at, why=why)


def illness(met: Met) -> str:
    """Why an origin is ill by what its requests met; "" where they don't say so."""
    tries = met.requests + met.refused + met.timed_out
    if tries < SAMPLES:
        return ""
    for count, what in (
        (met.refused, "could not reach the origin"),
        (met.timed_out, "got no answer of the origin in time"),
        (met.failed, "failed"),
    ):
        whole = met.requests if what == "failed" else max(met.requests, count)
        if whole and count > FAILED_SHARE * whole:
            return f"{count} of {whole} requests {what}"
    return ""
