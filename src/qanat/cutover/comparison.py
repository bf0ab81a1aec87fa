"""What passed of a cutover's hostnames through the new tunnel and the old one, since a moment."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from qanat import structs
from qanat.cutover.edge import CutoverEdge
from qanat.cutover.machine import MOVED, State
from qanat.cutover.rule import Counts
from qanat.store.models import Cutover


class Compared(NamedTuple):
    """By hostname. Old: what passes beside the new during the steps, or what did before them, whichever is more."""

    new: dict[str, Counts]
    old: dict[str, Counts]


def compare(edge: CutoverEdge, row: Cutover, patience: Mapping[str, float], *, since: datetime) -> Compared:
    """`patience`: by hostname, after how many seconds an open request hangs. Empty before anything was moved."""
    found = Compared({}, {})
    if row.state not in MOVED:
        return found
    before = structs.convert(row.baseline or {}, dict[str, Counts])
    for hostname in row.hostnames:
        long_s = patience[hostname]
        found.new[hostname] = edge.counts(hostname=hostname, tunnel_id=row.to_tunnel_id, since=since, long_s=long_s)
        beside = Counts()
        if row.state == State.MOVING:
            beside = edge.counts(hostname=hostname, tunnel_id=row.from_tunnel_id, since=since, long_s=long_s)
        earlier = before.get(hostname, Counts())
        found.old[hostname] = beside if beside.requests >= earlier.requests else earlier
    return found
