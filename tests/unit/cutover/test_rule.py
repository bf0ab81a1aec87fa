"""The rule by which a target is watched."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qanat.cutover.plan import Rule
from qanat.cutover.rule import Counts, Verdict, Watched, lower_bound, watch

HOST = "app.example.test"
RULE = Rule()
USUAL = Counts(requests=1000, p95_s=0.1)


def seen(new: Counts, old: Counts = USUAL, elapsed_s: float = 31.0, **more: Any) -> Verdict:
    given = {"failed_probes": {}, **more}
    return watch(RULE, Watched(elapsed_s=elapsed_s, new={HOST: new}, old={HOST: old}, **given))


def test_a_target_that_fails_every_request_is_broken_after_five() -> None:
    assert seen(Counts(requests=4, failed=4), elapsed_s=1.0).kind == "waits"
    assert seen(Counts(requests=5, failed=5), elapsed_s=1.0).kind == "broken"


def test_few_failures_among_many_requests_are_no_reason() -> None:
    assert seen(Counts(requests=200, failed=5)).kind == "good"
    assert seen(Counts(requests=100, failed=5)).kind == "broken"


def test_an_old_tunnel_that_fails_as_often_excuses_the_new_one() -> None:
    assert seen(Counts(requests=200, failed=40), old=Counts(requests=1000, failed=200)).kind == "good"
    assert seen(Counts(requests=200, failed=40), old=Counts(requests=1000, failed=20)).kind == "broken"


def test_slower_needs_samples_of_both_and_both_bounds() -> None:
    slow = Counts(requests=100, p95_s=0.36)
    assert seen(slow).kind == "broken"
    assert seen(slow, old=Counts(requests=99, p95_s=0.1)).kind == "good"
    assert seen(Counts(requests=100, p95_s=0.34)).kind == "good"  # not by a quarter of a second
    assert seen(Counts(requests=100, p95_s=3.9), old=Counts(requests=100, p95_s=2.0)).kind == "good"  # not twice


def test_a_step_lasts_its_time_and_until_there_are_enough_requests() -> None:
    assert seen(Counts(requests=500), elapsed_s=29.0).kind == "waits"
    assert seen(Counts(requests=99), elapsed_s=299.0).kind == "waits"
    assert seen(Counts(requests=99), elapsed_s=300.0).kind == "good"


def test_probes_in_a_row_and_a_lost_connection_break_it_at_once() -> None:
    assert seen(Counts(requests=500), failed_probes={HOST: (1, "refused")}).kind == "waits"
    broken = seen(Counts(), elapsed_s=0.5, failed_probes={HOST: (2, "refused")})
    assert broken.kind == "broken"
    assert "refused" in broken.why
    assert seen(Counts(), elapsed_s=0.1, is_connected=False).kind == "broken"


def test_hostnames_with_few_failures_each_are_looked_at_together() -> None:
    names = [f"h{number}.test" for number in range(5)]
    few = {name: Counts(requests=2, failed=2) for name in names}
    assert watch(RULE, Watched(elapsed_s=1.0, new=few, old={}, failed_probes={})).kind == "broken"


@given(st.integers(1, 10_000), st.data())
def test_the_lower_bound_is_below_the_share_and_rises_with_the_sample(requests: int, data: st.DataObject) -> None:
    failed = data.draw(st.integers(0, requests))
    bound = lower_bound(failed, requests)
    assert 0.0 <= bound <= failed / requests + 1e-12
    assert lower_bound(failed * 4, requests * 4) >= bound - 1e-12


def test_requests_that_hang_break_it_unless_the_old_tunnel_has_such_too() -> None:
    hanging = Counts(requests=10, begun=30, hanging=20, long_s=1.5)
    broken = seen(hanging, elapsed_s=3.0)
    assert broken.kind == "broken"
    assert "20 of 30 requests" in broken.why
    assert "more than 1.5 s" in broken.why
    assert seen(Counts(begun=4, hanging=4, long_s=1.5), elapsed_s=3.0).kind == "waits", "too few to say so"
    polled = Counts(requests=1000, slow=700, p95_s=0.1)
    assert seen(hanging, old=polled, elapsed_s=3.0).kind == "waits", "they are long polls"
