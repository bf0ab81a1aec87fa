"""Writes what passed into the store, one transaction an interval. A chore of the edge: no request knows of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Protocol

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from qanat.health.engine import Traffic, latency_bounds
from qanat.series.frames import COUNTS, HOPS, STEPS, Entry, Frame, merged, trimmed, unpack
from qanat.series.scopes import key
from qanat.store import Store
from qanat.store.models import SeriesFrame, Tunnel

EVERY_S = float(STEPS[0][0])
MOST_TUNNELS = 1000
MOST_ACCOUNTS = 1000
_Key = tuple[str, str, str | None]
Numbers = tuple[int, ...]


class Source(Protocol):
    """What is recorded of a running edge."""

    def traffic(self) -> Sequence[Traffic]: ...
    def failures(self) -> Mapping[str, int]: ...


class Recorder:
    """Knows what it has told already. `most_hostnames`: with series of their own in one interval, those with most requests."""

    def __init__(
        self, source: Source, store: Store, *, most_hostnames: int, bounds: Sequence[float] | None = None
    ) -> None:
        self._source = source
        self._store = store
        self._most = most_hostnames
        self._bounds = list(bounds if bounds is not None else latency_bounds())
        self._traffic: dict[_Key, Numbers] = {}
        self._failures: dict[str, int] = dict(source.failures())
        for each in source.traffic():
            self._traffic[each.hostname, each.tunnel_id, each.token_id] = self._told(each)

    def _told(self, traffic: Traffic) -> Numbers:
        return _numbers(traffic, len(self._bounds) + 1)

    def record(self) -> None:
        """What passed since the last call. What couldn't be written is in the next frame. QanatErrors of the store."""
        traffic = {(each.hostname, each.tunnel_id, each.token_id): self._told(each) for each in self._source.traffic()}
        failures = dict(self._source.failures())
        passed: dict[tuple[str, str], Entry] = {}
        for (hostname, tunnel_id, token_id), now in traffic.items():
            difference = _since(now, self._traffic.get((hostname, tunnel_id, token_id)))
            if any(difference):
                passed.setdefault((hostname, tunnel_id), Entry()).add(_entry(difference, len(self._bounds) + 1))
        causes = {
            cause: count - self._failures.get(cause, 0)
            for cause, count in failures.items()
            if count > self._failures.get(cause, 0)
        }
        with self._store.recording() as write:
            frame = self._frame(write.session, passed, causes)
            keep(write.session, frame, write.at)
        self._traffic, self._failures = traffic, failures

    def _frame(self, session: Session, passed: Mapping[tuple[str, str], Entry], causes: dict[str, int]) -> Frame:
        tunnels = {tunnel_id for _, tunnel_id in passed} - {""}
        owners = select(Tunnel.id, Tunnel.account_id).where(Tunnel.id.in_(sorted(tunnels)))
        account_of: dict[str, str] = dict(session.execute(owners).all()) if tunnels else {}
        frame = Frame(self._bounds, causes)
        if passed:
            frame.entries[key("all")] = _together(passed.values())
        of_tunnels: dict[str, Entry] = {}
        of_accounts: dict[str, Entry] = {}
        for (_, tunnel_id), entry in passed.items():
            if tunnel_id:
                of_tunnels.setdefault(tunnel_id, Entry()).add(entry)
            if tunnel_id in account_of:
                of_accounts.setdefault(account_of[tunnel_id], Entry()).add(entry)
        of_hostnames = {names: entry for names, entry in passed.items() if all(names)}
        for kind, entries, most in (
            ("account", {(name,): entry for name, entry in of_accounts.items()}, MOST_ACCOUNTS),
            ("tunnel", {(name,): entry for name, entry in of_tunnels.items()}, MOST_TUNNELS),
            ("hostname", of_hostnames, self._most),
        ):
            for names in _busiest(entries, most):
                frame.entries[key(kind, *names)] = entries[names]
        return frame


def keep(session: Session, frame: Frame, at: datetime) -> None:
    """Writes the frame of the interval that `at` is in; makes the coarser ones whose time is over, and drops what is old."""
    now = int(at.timestamp())
    _put(session, STEPS[0][0], now // STEPS[0][0] * STEPS[0][0], frame)
    for (finer, _), (step, kept) in pairwise(STEPS):
        _roll_up(session, finer, step, before=now // step * step, not_before=now - kept)
    for step, kept in STEPS:
        session.execute(delete(SeriesFrame).where(SeriesFrame.step == step, SeriesFrame.start < now - kept - step))


def _roll_up(session: Session, finer: int, step: int, *, before: int, not_before: int) -> None:
    newest = session.scalar(select(func.max(SeriesFrame.start)).where(SeriesFrame.step == step))
    begin = newest + step if newest is not None else not_before
    if begin >= before:
        return
    query = select(SeriesFrame.start, SeriesFrame.content).where(
        SeriesFrame.step == finer, SeriesFrame.start >= begin, SeriesFrame.start < before
    )
    parts: dict[int, list[Frame]] = {}
    for start, content in session.execute(query.order_by(SeriesFrame.start)):
        parts.setdefault(start // step * step, []).append(unpack(content))
    for start, frames in parts.items():
        _put(session, step, start, merged(frames))


def _put(session: Session, step: int, start: int, frame: Frame) -> None:
    """Of one interval there may be a frame already: of the process before, or after the clock was set back."""
    row = session.get(SeriesFrame, (step, start))
    if row is None:
        session.add(SeriesFrame(step=step, start=start, content=frame.pack()))
    else:
        row.content = merged([unpack(row.content), frame]).pack()
    session.flush()


def _busiest(entries: Mapping[Any, Entry], most: int) -> Iterable[Any]:
    requests = Counter({names: entry.requests for names, entry in entries.items()})
    return [names for names, _ in requests.most_common(most)]


def _together(entries: Iterable[Entry]) -> Entry:
    whole = Entry()
    for entry in entries:
        whole.add(entry)
    return whole


def _numbers(traffic: Traffic, buckets: int) -> Numbers:
    """All counts, flat: those of COUNTS, the statuses, each hop's buckets, each hop's sum in microseconds. A hop of which nobody
    told has no buckets."""
    hops = [getattr(traffic, hop) for hop in HOPS]
    return (
        *(getattr(traffic, name) for name in COUNTS),
        *traffic.statuses,
        *(count for counts, _ in hops for count in counts or [0] * buckets),
        *(round(total * 1e6) for _, total in hops),
    )


def _since(now: Numbers, before: Numbers | None) -> Numbers:
    """A series that began anew counts from nothing: its requests are fewer than before."""
    if before is None or now[0] < before[0]:
        return now
    return tuple(max(0, a - b) for a, b in zip(now, before, strict=True))


def _entry(numbers: Numbers, buckets: int) -> Entry:
    counts, rest = numbers[: len(COUNTS)], numbers[len(COUNTS) :]
    statuses, rest = rest[:5], rest[5:]
    latency = [trimmed(rest[index * buckets : (index + 1) * buckets]) for index in range(len(HOPS))]
    return Entry(
        **dict(zip(COUNTS, counts, strict=True)),
        statuses=list(statuses),
        latency=latency,
        sums_us=list(rest[len(HOPS) * buckets :]),
    )
