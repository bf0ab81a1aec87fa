"""Time series: nothing is lost by down-sampling, quantiles come from merged histograms, and the space is bounded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from qanat.control import tunnels
from qanat.health.rates import quantile
from qanat.series import Recorder, Scope, read, step_for
from qanat.series.frames import STEPS, Entry, Frame, added, merged, trimmed, unpack, whole
from qanat.series.recorder import keep
from qanat.series.scopes import key
from qanat.store import Store, open_store
from qanat.store.models import SeriesFrame
from qanat.store.sealing import Sealer
from tests.support.databases import new_file
from tests.support.writes import written

BOUNDS = [0.01, 0.1, 1.0]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
counts = st.lists(st.integers(0, 1000), min_size=34, max_size=34)


@dataclass
class Passed:
    """As the engine counts."""

    hostname: str
    tunnel_id: str
    token_id: str | None = ""
    requests: int = 0
    statuses: list[int] = field(default_factory=lambda: [0] * 5)
    edge_made: int = 0
    cut: int = 0
    client_failed: int = 0
    refused: int = 0
    timed_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    queue: tuple[list[int], float] = ([0, 0, 0, 0], 0.0)
    first_byte: tuple[list[int], float] = ([0, 0, 0, 0], 0.0)
    total: tuple[list[int], float] = ([0, 0, 0, 0], 0.0)
    tunnel: tuple[list[int], float] = ([], 0.0)
    connector: tuple[list[int], float] = ([], 0.0)
    origin: tuple[list[int], float] = ([], 0.0)

    def answered(self, number: int, *, bucket: int = 0, status: int = 2) -> None:
        self.requests += number
        self.statuses[status - 1] += number
        of_buckets = list(self.total[0])
        of_buckets[bucket] += number
        self.total = (of_buckets, self.total[1] + number * 0.001)


@dataclass
class Engine:
    passed: list[Passed] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)

    def traffic(self) -> Sequence[Any]:
        return self.passed

    def failures(self) -> dict[str, int]:
        return dict(self.failed)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(store: Store) -> Clock:
    store.clock = Clock()
    return store.clock


def recorder(engine: Engine, store: Store, most: int = 10) -> Recorder:
    return Recorder(cast(Any, engine), store, most_hostnames=most, bounds=BOUNDS)


def requests(store: Store, scope: Scope, since: datetime, until: datetime, **more: Any) -> list[int]:
    with store.reading() as session:
        return [each.entry.requests for each in read(session, scope, since, until, now=store.clock(), **more)]


@given(counts, counts)
def test_histograms_are_added_bucket_by_bucket(one: list[int], other: list[int]) -> None:
    assert whole(trimmed(one), 34) == one
    assert whole(added(trimmed(one), trimmed(other)), 34) == [a + b for a, b in zip(one, other, strict=True)]


@given(st.lists(st.dictionaries(st.sampled_from([1, 2, 3]), st.tuples(st.integers(0, 99), counts)), max_size=5))
def test_a_merged_frame_says_what_its_parts_said_together(parts: list[dict[int, tuple[int, list[int]]]]) -> None:
    bounds = [float(number) for number in range(33)]
    frames = [
        Frame(
            bounds,
            {},
            {name: Entry(requests=number, latency=[[], [], trimmed(of)]) for name, (number, of) in each.items()},
        )
        for each in parts
    ]
    frame = unpack(merged(frames).pack())
    for name in (1, 2, 3):
        entry = frame.entries.get(name, Entry())
        of_all = [each[name] for each in parts if name in each]
        assert entry.requests == sum(number for number, _ in of_all)
        assert (
            whole(entry.latency[2], 34) == [sum(column) for column in zip(*(of for _, of in of_all), strict=True)]
            or not of_all
        )


def test_what_passed_is_read_by_hostname_tunnel_account_and_in_all(
    store: Store, clock: Clock, sealer: Sealer, account: str
) -> None:
    one = written(
        store, tunnels.create, sealer, account_id=account, name="one", secret=bytes(32), config_src="cloudflare"
    )
    app, shop = Passed("app.test", one.id), Passed("shop.test", one.id)
    engine = Engine([app, shop, Passed("app.test", one.id, token_id="node"), Passed("", "")], {"no_connection": 3})
    recording = recorder(engine, store)
    app.answered(5)
    engine.passed[2].answered(2, status=5)
    shop.answered(1)
    engine.passed[3].answered(4)
    engine.failed["no_connection"] += 2
    recording.record()
    clock.now += timedelta(seconds=10)
    app.answered(3, bucket=2)
    recording.record()
    until = clock.now + timedelta(seconds=10)
    for scope, expected in (
        (Scope.hostname("app.test", one.id), [7, 3]),
        (Scope.hostname("shop.test", one.id), [1, 0]),
        (Scope.tunnel(one.id), [8, 3]),
        (Scope.account(account), [8, 3]),
        (Scope.account("f" * 32), [0, 0]),
        (Scope.everything(), [12, 3]),
    ):
        assert requests(store, scope, NOON, until) == expected, scope
    with store.reading() as session:
        points = read(session, Scope.everything(), NOON, until, now=clock.now)
        of_app = read(session, Scope.hostname("app.test", one.id), NOON, until, now=clock.now)
    assert [dict(each.causes) for each in points] == [{"no_connection": 2}, {}]
    assert [dict(each.causes) for each in of_app] == [{}, {}]
    assert [each.failed for each in of_app] == [2, 0]
    assert of_app[1].latency_s("total", 0.5) == quantile(BOUNDS, [0, 0, 3, 0], 0.5)
    assert of_app[1].latency_s("queue", 0.5) is None


def test_a_restart_adds_to_the_interval_and_a_series_that_began_anew_counts_from_nothing(
    store: Store, clock: Clock
) -> None:
    app = Passed("app.test", "t")
    recording = recorder(Engine([app]), store)
    app.answered(5)
    recording.record()
    again = Passed("app.test", "t")
    engine = Engine([again])
    recording = recorder(engine, store)
    again.answered(2)
    recording.record()
    engine.passed = [anew := Passed("app.test", "t")]
    anew.answered(1)
    recording.record()
    assert requests(store, Scope.tunnel("t"), NOON, NOON + timedelta(seconds=10)) == [8]


def test_the_hostnames_with_most_requests_have_a_series_and_the_others_are_in_the_sums(
    store: Store, clock: Clock
) -> None:
    engine = Engine([Passed(f"h{number}.test", "t") for number in range(5)])
    recording = recorder(engine, store, most=2)
    for number, each in enumerate(engine.passed, 1):
        each.answered(number)
    recording.record()
    until = NOON + timedelta(seconds=10)
    assert [requests(store, Scope.hostname(f"h{number}.test", "t"), NOON, until)[0] for number in range(5)] == [
        0,
        0,
        0,
        4,
        5,
    ]
    assert requests(store, Scope.tunnel("t"), NOON, until) == [15]


def test_nothing_is_lost_between_the_intervals_and_old_frames_go(tmp_path: Path) -> None:
    store = open_store(new_file(tmp_path / "qanat.db"))
    clock = store.clock = Clock()
    passed = 0
    # an hour and more of every interval, then a quarter of a year of few
    steps = [10] * 400 + [6 * 3600] * 4 * 100
    with store.recording() as write:
        for step in steps:
            keep(write.session, Frame(BOUNDS, {}, {key("all"): Entry(requests=1)}), clock.now)
            passed += 1
            clock.now += timedelta(seconds=step)
            if passed == 400:
                numbers = [step for step, _ in STEPS]
                write.session.flush()
                for length in numbers:
                    points = read(write.session, Scope.everything(), NOON, clock.now, now=clock.now, step=length)
                    assert sum(each.entry.requests for each in points) == (400 if length > 10 else 362), length
                    assert all(each.seconds == length for each in points)
    with store.reading() as session:
        kept: dict[int, int] = dict(
            session.execute(select(SeriesFrame.step, func.count()).group_by(SeriesFrame.step)).all()
        )
        assert all(number <= span // step + 2 for step, span in STEPS for number in [kept[step]])
        year = read(session, Scope.everything(), NOON, clock.now, now=clock.now)
    assert sum(each.entry.requests for each in year) == pytest.approx(92 * 4, abs=2)
    store.close()


def test_an_interval_is_as_fine_as_it_is_still_kept_and_can_be_drawn() -> None:
    for span, expected in (
        (timedelta(minutes=15), 10),
        (timedelta(hours=1), 10),
        (timedelta(hours=6), 60),
        (timedelta(hours=24), 600),
        (timedelta(days=7), 3600),
        (timedelta(days=30), 3600),
    ):
        assert step_for(NOON - span, NOON, NOON) == expected, span
    assert step_for(NOON - timedelta(days=2), NOON - timedelta(days=2, minutes=-15), NOON) == 600


def test_a_full_interval_is_small() -> None:
    """security.md would have an edge's disk not filled by its own plots: 200 busy hostnames, at their worst."""
    busy = Entry(
        requests=10_000, statuses=[0, 9000, 500, 300, 200], edge_made=50, bytes_in=10**8, bytes_out=10**10,
        latency=[trimmed([300] * 34)] * 3, sums_us=[10**9] * 3,
    )  # fmt: skip
    frame = Frame([0.1] * 33, {}, {key("hostname", f"h{number}", "t"): busy for number in range(200)})
    assert len(frame.pack()) < 200 * 400
    quiet = Entry(
        requests=12,
        statuses=[0, 12, 0, 0, 0],
        bytes_out=40_000,
        latency=[[1, 12], [9, 5, 7], [9, 4, 8]],
        sums_us=[9999] * 3,
    )
    assert len(Frame([], {}, {1: quiet}).pack()) < 100
