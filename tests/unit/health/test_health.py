"""How nodes are, by their connections, the probes' answers and what requests met; and what passed since a moment."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from qanat.health.engine import latency_bounds
from qanat.health.health import Health
from qanat.health.questions import Check, Judgment
from qanat.health.rates import MOST_OF_SERIES, Meter, quantile

BUCKETS = len(latency_bounds()) + 1


@dataclass
class Passed:
    hostname: str = "app.example.test"
    tunnel_id: str = "t"
    token_id: str | None = "a"
    requests: int = 0
    statuses: list[int] = field(default_factory=lambda: [0] * 5)
    edge_made: int = 0
    cut: int = 0
    refused: int = 0
    timed_out: int = 0
    opened: int = 0
    waiting: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    first_byte: tuple[list[int], float] = field(default_factory=lambda: ([0] * BUCKETS, 0.0))
    total: tuple[list[int], float] = field(default_factory=lambda: ([0] * BUCKETS, 0.0))


def passed(requests: int, failed: int = 0, bucket: int = 0, **more: Any) -> Passed:
    counts = [0] * BUCKETS
    counts[bucket] = requests
    return Passed(requests=requests, statuses=[0, requests - failed, 0, 0, failed], total=(counts, 0.0), **more)


class Lab:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.told: list[Passed] = []
        self.meter = Meter(cast(Any, self), clock=lambda: self.now)
        self.health = Health(self.meter, clock=lambda: self.now)

    def traffic(self) -> list[Passed]:
        return list(self.told)

    def after(self, seconds: float, *told: Passed) -> None:
        self.now += timedelta(seconds=seconds)
        self.told = list(told)
        self.health.look()

    def answer(self, token: str, *goods: bool, hostname: str = "app.example.test") -> None:
        for good in goods:
            self.health.answered((hostname, "t", token), Check(), Judgment(good, "good" if good else "bad"))


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_a_node_is_healthy_with_connections_and_an_origin_that_answers(lab: Lab) -> None:
    of = lab.health.of
    assert (of("t", "a").state, of("t", "a").why) == ("unhealthy", "no connection is registered")
    lab.health.registered("c1", "t", "a")
    assert (of("t", "a").state, of("t", "a").connections) == ("unknown", 1)
    lab.answer("a", True)
    assert of("t", "a").is_healthy
    lab.health.suspected("c1", suspect=True)
    assert (of("t", "a").suspect, of("t", "a").is_healthy) == (1, False)
    lab.health.suspected("c1", suspect=False)
    lab.now += timedelta(seconds=5)
    lab.answer("a", False, False, False)
    assert (of("t", "a").state, of("t", "a").since) == ("unhealthy", lab.now)
    lab.health.ended("c1")
    assert (of("t", "a").connections, of("t", "a").since) == (0, lab.now)


def test_the_worst_hostname_counts_for_a_node_and_the_best_node_for_a_tunnel(lab: Lab) -> None:
    lab.health.registered("c1", "t", "a")
    lab.health.registered("c2", "t", "b")
    lab.answer("a", True)
    lab.answer("a", False, False, False, hostname="other.example.test")
    assert lab.health.of("t", "a").state == "unhealthy"
    assert lab.health.of("t", "a", "app.example.test").state == "healthy"
    lab.answer("b", True)
    assert lab.health.of("t").state == "healthy"
    lab.health.ended("c2")
    assert lab.health.of("t").state == "unhealthy", "who is gone makes nobody well"


def test_who_listens_is_told_of_changes_only_and_a_listener_that_fails_keeps_nobody(lab: Lab) -> None:
    told: list[tuple[str, str]] = []
    lab.health.changed(lambda *_: (_ for _ in ()).throw(RuntimeError("x")))
    lab.health.changed(lambda tunnel, node: told.append((tunnel, node)))
    lab.health.registered("c1", "t", "a")
    lab.answer("a", True, True, True)
    lab.health.suspected("c1", suspect=True)
    lab.health.suspected("c1", suspect=True)
    assert told == [("t", "a")] * 3


def test_an_origin_that_fails_its_visitors_is_ill_before_the_next_probe(lab: Lab) -> None:
    lab.health.registered("c1", "t", "a")
    lab.answer("a", True)
    lab.after(1, passed(100))
    lab.after(1, passed(110, failed=9))
    node = lab.health.of("t", "a")
    assert (node.state, node.why) == ("unhealthy", "9 of 10 requests failed")
    lab.after(1, passed(111, failed=9))
    lab.answer("a", True, True)
    assert lab.health.of("t", "a").state == "healthy"
    lab.after(1, passed(120, failed=9))
    assert lab.health.of("t", "a").state == "healthy", "what came before the probes counts no longer"


def test_what_passed_since_a_moment_is_told_with_its_latency(lab: Lab) -> None:
    lab.after(0, passed(100))
    since = lab.now
    lab.after(60, passed(200, failed=30, bucket=6), Passed(hostname="other.example.test"))
    rates = lab.health.rates("app.example.test", "t", since)
    assert (rates.requests, rates.failed, rates.from_) == (100, 30, since)
    assert rates.p95_s is not None
    assert latency_bounds()[5] < rates.p95_s <= latency_bounds()[6]
    assert lab.health.rates("app.example.test", "other", since).requests == 0
    assert lab.health.rates("app.example.test", "t", lab.now).requests == 0
    assert lab.health.rates("app.example.test", "t", since - timedelta(days=1)).requests == 200, "all of it"
    assert lab.health.rates("app.example.test", "t", since, token_id="b").requests == 0


def test_what_is_remembered_is_bounded_and_the_past_stays_within_a_tenth(lab: Lab) -> None:
    start = lab.now
    for n in range(1000):
        lab.after(1, passed(n))
    (looks,) = lab.meter._looks.values()
    assert len(looks) <= MOST_OF_SERIES
    assert 998 >= lab.health.rates("app.example.test", "t", start + timedelta(seconds=990)).requests - 0 >= 0
    assert lab.health.rates("app.example.test", "t", lab.now - timedelta(seconds=10)).requests == 10


def test_a_quantile_lies_between_the_bounds_of_its_bucket() -> None:
    assert quantile([1.0, 2.0], [0, 0, 0], 0.5) is None
    assert quantile([1.0, 2.0], [2, 2, 0], 0.5) == 1.0
    assert quantile([1.0, 2.0], [0, 4, 0], 0.5) == 1.5
    assert quantile([1.0, 2.0], [0, 0, 4], 0.5) == 2.0


def test_a_tunnel_of_services_that_cannot_be_asked_says_so(lab: Lab) -> None:
    lab.health.registered("c", "t", "a")
    lab.health.cannot_probe({("jump.example.test", "t"): "not probed: its service is bastion"})
    node = lab.health.of("t")
    assert (node.state, node.why) == ("unknown", "not probed: its service is bastion")
    assert lab.health.of("t", hostname="other.example.test").why == "no probe was answered yet"


def opened(count: int, waiting: int, *, answered: int = 0, slow: int = 0) -> Passed:
    first = [0] * BUCKETS
    first[0], first[-1] = answered, slow
    return Passed(requests=answered + slow, opened=count, waiting=waiting, first_byte=(first, 0.0))


def test_requests_that_are_open_for_longer_than_they_may_are_told_from_those_that_have_just_begun(lab: Lab) -> None:
    lab.after(0, opened(100, 0, answered=100))
    since = lab.now
    lab.after(1, opened(110, 10, answered=100))
    rates = lab.health.rates("app.example.test", "t", since, long_s=1.5)
    assert (rates.begun, rates.hanging) == (0, 0), "none is so old"
    lab.after(1.6, opened(130, 30, answered=100))
    rates = lab.health.rates("app.example.test", "t", since, long_s=1.5)
    assert (rates.begun, rates.hanging) == (10, 10)
    lab.after(1.6, opened(140, 3, answered=136, slow=1))
    rates = lab.health.rates("app.example.test", "t", since, long_s=1.5)
    assert (rates.begun, rates.hanging, rates.slow) == (30, 0, 1), "those that wait now may be new ones"


def test_a_moment_that_is_reckoned_from_stays_exact(lab: Lab) -> None:
    for number in range(1000):
        lab.after(0.25, passed(number))
        if number == 500:
            since = lab.now
            lab.health.note_traffic()
        if number > 500:
            assert lab.health.rates("app.example.test", "t", since).requests == number - 500
    assert len(lab.meter._looks["app.example.test", "t", "a"]) <= MOST_OF_SERIES


def test_what_is_asked_for_often_is_read_of_the_engine_now_and_then(lab: Lab) -> None:
    lab.after(1, passed(10))
    since = lab.now
    lab.told = [passed(30)]
    assert lab.health.rates("app.example.test", "t", since, fresh_s=0.2).requests == 0
    lab.now += timedelta(seconds=0.2)
    assert lab.health.rates("app.example.test", "t", since, fresh_s=0.2).requests == 20
    assert lab.health.rates("none.example.test", "t", since, fresh_s=0.2).requests == 0
