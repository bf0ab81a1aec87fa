"""A frame: all series of one interval, packed. Pure.

A frame is one row. Its entries are kept packed until they are asked for, so that one series of many frames is read without
unpacking the others. Latencies are histograms, which can be added up; quantiles are made when they are read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

import msgspec

from qanat.health.rates import quantile

Hop = Literal["queue", "first_byte", "total", "tunnel", "connector", "origin"]
HOPS: tuple[Hop, ...] = get_args(Hop)
"""As `qanat._engine.Traffic` has them. A new one goes to the end: frames of an older version have none of it."""
Causes = Mapping[str, int]

STEPS: tuple[tuple[int, int], ...] = (
    (10, 3600),
    (60, 24 * 3600),
    (600, 8 * 24 * 3600),
    (3600, 92 * 24 * 3600),
)
"""Lengths of intervals, and how long frames of each are kept, in seconds. Each length is a multiple of the one before."""


class Entry(msgspec.Struct, array_like=True):
    """One series in one interval: counts as `qanat._engine.Traffic` has them. `latency`: of each hop the index of the first
    bucket that counts anything, then the counts from there to the last such; `sums_us`: of each, in microseconds."""

    requests: int = 0
    statuses: list[int] = msgspec.field(default_factory=lambda: [0] * 5)
    edge_made: int = 0
    cut: int = 0
    client_failed: int = 0
    refused: int = 0
    timed_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    latency: list[list[int]] = msgspec.field(default_factory=lambda: [[] for _ in HOPS])
    sums_us: list[int] = msgspec.field(default_factory=lambda: [0] * len(HOPS))

    def __post_init__(self) -> None:
        self.latency += [[] for _ in HOPS[len(self.latency) :]]
        self.sums_us += [0 for _ in HOPS[len(self.sums_us) :]]

    def add(self, other: "Entry") -> None:
        """The other's counts too."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.statuses = [a + b for a, b in zip(self.statuses, other.statuses, strict=True)]
        self.latency = [added(a, b) for a, b in zip(self.latency, other.latency, strict=True)]
        self.sums_us = [a + b for a, b in zip(self.sums_us, other.sums_us, strict=True)]


COUNTS = ("requests", "edge_made", "cut", "client_failed", "refused", "timed_out", "bytes_in", "bytes_out")


class _Packed(msgspec.Struct, array_like=True):
    bounds: list[float]
    causes: dict[str, int]
    entries: dict[int, msgspec.Raw]


class _Unpacked(msgspec.Struct, array_like=True):
    bounds: list[float]
    causes: dict[str, int]
    entries: dict[int, Entry]


_encoder = msgspec.msgpack.Encoder()
_packed = msgspec.msgpack.Decoder(_Packed)
_unpacked = msgspec.msgpack.Decoder(_Unpacked)
_entry = msgspec.msgpack.Decoder(Entry)


@dataclass(slots=True)
class Frame:
    """One interval. `bounds`: of the histograms' buckets; `causes`: the edge's own failures."""

    bounds: list[float]
    causes: dict[str, int] = field(default_factory=dict)
    entries: dict[int, Entry] = field(default_factory=dict)

    def add(self, other: "Frame") -> None:
        """The other's counts too. Of another version's buckets nothing can be added: those latencies are lost."""
        comparable = not self.entries or self.bounds == other.bounds
        if not self.entries:
            self.bounds = other.bounds
        for cause, count in other.causes.items():
            self.causes[cause] = self.causes.get(cause, 0) + count
        for name, entry in other.entries.items():
            mine = self.entries.setdefault(name, Entry())
            mine.add(entry if comparable else without_latency(entry))

    def pack(self) -> bytes:
        """As it is stored."""
        return _encoder.encode(_Unpacked(self.bounds, self.causes, self.entries))


def unpack(content: bytes) -> Frame:
    """The whole frame. msgspec.DecodeError: it is none."""
    read = _unpacked.decode(content)
    return Frame(read.bounds, read.causes, read.entries)


def merged(frames: Iterable[Frame]) -> Frame:
    """One frame of all their counts."""
    whole = Frame([])
    for frame in frames:
        whole.add(frame)
    return whole


def without_latency(entry: Entry) -> Entry:
    """Its counts alone."""
    return msgspec.structs.replace(entry, latency=[], sums_us=[])


def trimmed(counts: Sequence[int]) -> list[int]:
    """Counts of all buckets as an entry has them."""
    used = [index for index, count in enumerate(counts) if count]
    return [used[0], *counts[used[0] : used[-1] + 1]] if used else []


def whole(histogram: Sequence[int], buckets: int) -> list[int]:
    """`trimmed`, undone."""
    counts = [0] * buckets
    if histogram:
        counts[histogram[0] : histogram[0] + len(histogram) - 1] = histogram[1:]
    return counts


def added(one: list[int], other: list[int]) -> list[int]:
    """Two histograms of the same buckets as one."""
    if not one or not other:
        return one or other
    first = min(one[0], other[0])
    last = max(one[0] + len(one), other[0] + len(other)) - 1
    counts = [0] * (last - first)
    for histogram in (one, other):
        for index, count in enumerate(histogram[1:], histogram[0] - first):
            counts[index] += count
    return [first, *counts]


@dataclass(frozen=True, slots=True)
class Point:
    """What passed in `seconds` from `at` on. `causes`: of everything only: failures that the edge made itself."""

    at: datetime
    seconds: int
    entry: Entry
    bounds: Sequence[float]
    causes: Causes

    @property
    def failed(self) -> int:
        """Requests that ended badly and not by their client: 5xx of the origin, made by the edge, cut."""
        return self.entry.statuses[4] + self.entry.edge_made + self.entry.cut

    @property
    def per_second(self) -> float:
        """Requests."""
        return self.entry.requests / self.seconds

    def latency_s(self, hop: Hop, share: float) -> float | None:
        """The quantile `share` (0.95) of a hop, in seconds; None: nothing passed."""
        counts = whole(self.entry.latency[HOPS.index(hop)], len(self.bounds) + 1)
        return quantile(self.bounds, counts, share) if self.bounds else None


def entries(content: bytes, keys: frozenset[int]) -> list[tuple[int, Entry]]:
    """Of a stored frame those series that are asked for."""
    read = _packed.decode(content)
    return [(each, _entry.decode(read.entries[each])) for each in read.entries.keys() & keys]


class Sum:
    """Adds up what frames say of some series."""

    def __init__(self) -> None:
        self.frame = Frame([])

    def add(self, content: bytes, keys: Sequence[int]) -> None:
        """One stored frame."""
        read = _packed.decode(content)
        found = [_entry.decode(read.entries[each]) for each in keys if each in read.entries]
        for entry in found:
            self.frame.add(Frame(read.bounds, {}, {0: entry}))
        for cause, count in read.causes.items():
            self.frame.causes[cause] = self.frame.causes.get(cause, 0) + count

    def point(self, start: int, seconds: int, *, with_causes: bool) -> Point:
        """Of all that was added."""
        entry = self.frame.entries.get(0, Entry())
        causes = self.frame.causes if with_causes else {}
        return Point(datetime.fromtimestamp(start, UTC), seconds, entry, self.frame.bounds, causes)
