"""How a tunnel is, for people: healthy takes connections and an origin that answers. Pure.

Stock's status speaks of connections alone (control/tunnel_status.py); here what is known of the origins counts too."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from qanat.control.tunnel_overview import TunnelRow
from qanat.health.verdicts import Verdict

State = Literal["down", "degraded", "inactive", "healthy"]
WORST_FIRST: tuple[State, ...] = ("down", "degraded", "inactive", "healthy")

SWITCHED_OFF = "probes are switched off"
REASONS = {
    "": "no connector is connected",
    "unregistered": "its last connector said goodbye",
    "disconnected": "its connections were ended here",
    "replaced": "its last connection was replaced",
    "edge_restarted": "the edge was restarted and no connector has come back",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a tunnel is, why, and since when."""

    state: State
    why: str
    since: datetime


def standing(
    tunnel: TunnelRow, *, hostnames: int, verdicts: Iterable[tuple[str, Verdict]], unprobed: str = ""
) -> Standing:
    """From its connections and the verdicts on its origins, by hostname: a hostname answers where one node's origin does.
    `unprobed`: why its origins can't be asked."""
    status, since, reason = tunnel.status, tunnel.since, tunnel.reason
    if status == "inactive":
        return Standing(state="inactive", why="no connector was ever connected", since=since)
    if status == "down":
        return Standing(state="down", why=REASONS.get(reason, f"its connections were lost: {reason}"), since=since)
    by_name: dict[str, list[Verdict]] = {}
    for name, verdict in verdicts:
        by_name.setdefault(name, []).append(verdict)
    known = {name: each[0] if len(each) == 1 else _best(each) for name, each in by_name.items()}
    ill = {name: verdict for name, verdict in known.items() if verdict.state == "unhealthy"}
    well = [verdict for verdict in known.values() if verdict.state == "healthy"]
    if ill and not well:
        name, verdict = min(ill.items(), key=lambda each: each[1].since)
        return Standing(state="down", why=f"no origin answers: {name}: {verdict.why}", since=verdict.since)
    if ill:
        name, verdict = min(ill.items(), key=lambda each: each[1].since)
        more = f", and {len(ill) - 1} more" if len(ill) > 1 else ""
        return Standing(
            state="degraded", why=f"an origin doesn't answer: {name}: {verdict.why}{more}", since=verdict.since
        )
    if status == "degraded":
        return Standing(state="degraded", why="a connector has fewer connections than it had", since=since)
    if well:
        return Standing(
            state="healthy",
            why="connected, and its origins answer"
            if len(well) > 1
            else f"connected, and its origin answers: {well[0].why}",
            since=max(since, max(verdict.since for verdict in well)),
        )
    if not hostnames:
        return Standing(state="inactive", why="connected, but no public hostname leads to it", since=since)
    if unprobed:
        return Standing(
            state="healthy", why=f"connected; whether its origin answers isn't known: {unprobed}", since=since
        )
    return Standing(state="degraded", why="connected, and no origin has answered yet", since=since)


def _best(verdicts: Sequence[Verdict]) -> Verdict:
    return min(verdicts, key=lambda each: ("healthy", "unhealthy", "unknown").index(each.state))
