"""Series as points, of the finest intervals that are kept for that time."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.series.frames import STEPS, Entry, Point, Sum, entries
from qanat.series.scopes import Scope
from qanat.store.models import SeriesFrame

MOST_POINTS = 800
EVERYTHING = Scope.everything()


def step_for(since: datetime, until: datetime, now: datetime) -> int:
    """The length of the intervals that the time is shown in, in seconds: the finest that are still kept from `since` on, and
    of which there are not more than anybody could draw."""
    span, age = (until - since).total_seconds(), (now - since).total_seconds()
    for step, kept in STEPS:
        if age <= kept and span / step <= MOST_POINTS:
            return step
    return STEPS[-1][0]


def read(
    session: Session, scope: Scope, since: datetime, until: datetime, *, now: datetime, step: int | None = None
) -> list[Point]:
    """What passed from `since` to `until`, in order; one point an interval in which an edge was running, also one without a
    request. `step`: another length than `step_for`'s; one of `STEPS`."""
    step = step or step_for(since, until, now)
    first, last = int(since.timestamp()) // step * step, int(until.timestamp())
    sums: dict[int, Sum] = {}
    begin = first
    # Coarse frames are made when their time is over: what came since is added up from the finer ones.
    for finer, _ in sorted(each for each in STEPS if each[0] <= step)[::-1]:
        query = select(SeriesFrame.start, SeriesFrame.content).where(
            SeriesFrame.step == finer, SeriesFrame.start >= begin, SeriesFrame.start < last
        )
        for start, content in session.execute(query.order_by(SeriesFrame.start)):
            sums.setdefault(start // step * step, Sum()).add(content, scope.keys)
            begin = start + finer
    with_causes = scope == EVERYTHING
    return [sums[start].point(start, step, with_causes=with_causes) for start in sorted(sums)]


def passed(session: Session, keys: Collection[int], since: datetime, until: datetime) -> dict[int, Entry]:
    """What passed of each of these series (`scopes.key`) within the last hour, of the finest intervals; those without a request
    are left out. Each frame is read once, however many series are asked for."""
    step = STEPS[0][0]
    query = select(SeriesFrame.content).where(
        SeriesFrame.step == step,
        SeriesFrame.start >= int(since.timestamp()) // step * step,
        SeriesFrame.start < int(until.timestamp()),
    )
    wanted, found = frozenset(keys), dict[int, Entry]()
    for content in session.scalars(query):
        for key, entry in entries(content, wanted):
            found.setdefault(key, Entry()).add(entry)
    return found
