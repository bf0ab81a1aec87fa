"""What passed since some moment, from totals that only rise."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

from qanat.cutover.rule import Counts
from qanat.edge.passing import Passing
from qanat.health.engine import Traffic

BOUNDS = [0.1, 0.2, 0.4]
HOST, TUNNEL = "app.example.test", "t"


@dataclass
class Row:
    """One node's series."""

    hostname: str = HOST
    tunnel_id: str = TUNNEL
    requests: int = 0
    statuses: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])
    edge_made: int = 0
    cut: int = 0
    total: tuple[list[int], float] = field(default_factory=lambda: ([0, 0, 0, 0], 0.0))


class Watched:
    """A clock and an engine, moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.rows = [Row()]
        self.passing = Passing(lambda: cast("list[Traffic]", self.rows), BOUNDS, lambda: self.now)

    def after(self, seconds: float, *rows: Row) -> Counts:
        """What came since a second before now, when it is so much later and the totals are these."""
        since = self.now
        self.passing.sample()
        self.now += timedelta(seconds=seconds)
        self.rows = list(rows)
        return self.passing.counts(hostname=HOST, tunnel_id=TUNNEL, since=since)


def served(requests: int, failed: int = 0, cut: int = 0, edge_made: int = 0) -> Row:
    return Row(
        requests=requests,
        statuses=[0, requests - failed, 0, 0, failed],
        edge_made=edge_made,
        cut=cut,
        total=([0, requests, 0, 0], 1.0),
    )


def test_only_what_came_since_counts_and_all_nodes_together() -> None:
    watched = Watched()
    watched.after(1, served(100, failed=50))
    counts = watched.after(1, served(110, failed=53), served(20, cut=2, edge_made=1))
    assert (counts.requests, counts.failed) == (30, 6)
    assert counts.p95_s is not None
    assert 0.1 < counts.p95_s <= 0.2


def test_a_series_that_began_anew_counts_from_its_beginning() -> None:
    watched = Watched()
    watched.after(1, served(100, failed=50))
    assert watched.after(1, served(7, failed=1)).requests == 7


def test_other_hostnames_and_tunnels_are_apart() -> None:
    watched = Watched()
    counts = watched.after(1, served(3), Row(hostname="other", requests=9), Row(tunnel_id="u", requests=9))
    assert counts.requests == 3
    assert watched.passing.counts(hostname="none", tunnel_id=TUNNEL, since=watched.now) == Counts()


def test_before_the_first_sample_all_there_is_counts() -> None:
    watched = Watched()
    watched.rows = [served(40)]
    since = watched.now - timedelta(hours=1)
    assert watched.passing.counts(hostname=HOST, tunnel_id=TUNNEL, since=since).requests == 40
