"""What a target that is watched may take, and that nobody waits for one that hangs."""

from collections.abc import Iterator
from threading import Event

import pytest

from qanat.cutover.answers import Answer
from qanat.cutover.plan import Check
from qanat.cutover.watching import TargetProbes, patience_s, took_s


@pytest.mark.parametrize(
    ("check", "source_s", "gate_s", "patience"),
    [
        (Check(), None, 0.0, 1.5),
        (Check(within_s=60.0), 0.05, 0.05, 1.5),
        (Check(within_s=0.2), 0.05, 0.05, 1.5),
        (Check(), 0.9, 0.9, 2.8),
        (Check(within_s=60.0), 1.5, 1.5, 3.0),
        (Check(within_s=60.0), 4.0, 4.0, 6.0),
        (Check(within_s=5.0), 4.0, 4.0, 5.0),
        (Check(within_s=60.0), 20.0, 20.0, 10.0),
    ],
)
def test_a_watched_target_may_take_what_it_took_at_the_gate_and_some_more(
    check: Check, source_s: float | None, gate_s: float, patience: float
) -> None:
    source = Answer(status=200, duration_s=source_s) if source_s is not None else None
    assert patience_s(check, source, gate_s) == pytest.approx(patience)


def test_the_slowest_node_at_the_gate_counts() -> None:
    nodes = {"a": {"duration_s": 0.1}, "b": {"duration_s": 0.7}}
    gates = [
        {"name": "rule", "hostname": "app.test", "evidence": {}},
        {"name": "request", "hostname": "app.test", "evidence": {"nodes": nodes}},
        {"name": "request", "hostname": "api.test", "evidence": {"nodes": {}}},
    ]
    assert took_s(gates) == {"app.test": 0.7, "api.test": 0.0}


class Watch:
    """Probes of a target whose answers a test decides; `hangs`: hostnames."""

    def __init__(self) -> None:
        self.now = 0.0
        self.over = Event()
        self.hangs: set[str] = set()
        self.wrong = ""
        self.asked: list[str] = []
        self.probes = TargetProbes(lambda: self.now)

    def ask(self, hostname: str, _timeout_s: float) -> str:
        self.asked.append(hostname)
        if hostname in self.hangs:
            self.over.wait(30)
        return self.wrong

    def look(self, *hostnames: str, after_s: float = 0.25) -> dict[str, tuple[int, str]]:
        self.now += after_s
        self.probes.look(dict.fromkeys(hostnames, 1.5), self.ask)
        return dict(self.probes.failed)


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.over.set()
    watch.probes.close()


def test_each_hostname_is_asked_once_a_second_and_a_good_answer_ends_a_row_of_bad_ones(watch: Watch) -> None:
    watch.wrong = "refused"
    assert watch.look("a.test") == {"a.test": (1, "refused")}
    assert watch.look("a.test") == {"a.test": (1, "refused")}
    assert watch.look("a.test", after_s=1.0) == {"a.test": (2, "refused")}
    watch.wrong = ""
    assert watch.look("a.test", after_s=1.0) == {}
    assert len(watch.asked) == 3


def test_one_that_hangs_is_asked_on_and_fails_twice_within_four_seconds_and_delays_no_other(watch: Watch) -> None:
    assert watch.look("a.test", "b.test") == {}
    watch.hangs = {"a.test"}
    failed: dict[str, tuple[int, str]] = {}
    while watch.now < 4.0 and failed.get("a.test", (0, ""))[0] < 2:
        failed = watch.look("a.test", "b.test", after_s=0.5)
    assert failed == {"a.test": (2, "no answer within 1.5 s")}
    assert watch.asked.count("b.test") >= 3
