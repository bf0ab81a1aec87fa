"""When something is told: after long enough, and not each time that it comes and goes."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from qanat.alerts.course import FLAPS, LEAST_QUIET, MOST_QUIET, Course, quiet, step

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def acts(ill: list[bool], *, for_s: float, every_s: float = 5.0, again: int = 0) -> list[tuple[float, str]]:
    """What is done, and when, in seconds; `ill`: look by look."""
    done: list[tuple[float, str]] = []
    course, is_open, since = Course(), False, None
    for number, is_ill in enumerate(ill):
        now = BEGIN + timedelta(seconds=number * every_s)
        since = (since or now) if is_ill else None
        course, act = step(course, ill_since=since, now=now, for_s=for_s, is_open=is_open, again=again)
        if act != "stay":
            done.append((number * every_s, act))
            is_open = act == "fire"
    return done


def test_it_fires_once_it_has_held_for_long_enough_and_is_over_after_a_minute() -> None:
    assert acts([True] * 20 + [False] * 20, for_s=30) == [(30.0, "fire"), (160.0, "resolve")]


def test_at_once_where_no_time_is_asked_for() -> None:
    assert acts([False, True], for_s=0) == [(5.0, "fire")]


def test_a_short_spell_is_told_to_nobody() -> None:
    assert acts([True] * 5 + [False] * 50, for_s=30) == []


def test_what_comes_and_goes_is_told_once_and_its_end_once() -> None:
    flapping = ([True] * 3 + [False] * 3) * 10
    assert acts(flapping + [False] * 30, for_s=60) == [(60.0, "fire"), (345.0, "resolve")]


def test_since_before_the_first_look_counts() -> None:
    course, act = step(Course(), ill_since=BEGIN - timedelta(hours=1), now=BEGIN, for_s=60, is_open=False)
    assert act == "fire"
    assert course.ill_since == BEGIN - timedelta(hours=1)


def test_what_fires_again_and_again_has_to_be_quiet_for_longer() -> None:
    waits = [quiet(timedelta(seconds=60), again) for again in range(12)]
    assert waits[:3] == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]
    assert waits == sorted(waits)
    assert waits[-1] == MOST_QUIET
    assert quiet(timedelta(hours=3), 5) == timedelta(hours=3)


@given(st.lists(st.booleans(), max_size=300), st.sampled_from([0.0, 20.0, 60.0]))
def test_it_never_fires_twice_without_an_end_nor_ends_before_it_was_quiet(ill: list[bool], for_s: float) -> None:
    done = acts(ill, for_s=for_s)
    assert [act for _, act in done] == ["fire", "resolve"] * (len(done) // 2) + ["fire"] * (len(done) % 2)
    for at, act in done:
        looks = ill[: int(at / 5) + 1]
        if act == "resolve":
            assert not any(looks[-int(LEAST_QUIET.total_seconds() / 5) :])
        else:
            begun = sum(now and not before for before, now in zip([False, *looks], looks, strict=False))
            lasted = looks[::-1].index(False) if False in looks else len(looks)
            assert (lasted - 1) * 5 >= for_s or begun >= FLAPS


def test_it_is_forgotten_when_nothing_of_it_matters() -> None:
    course, _ = step(Course(), ill_since=None, now=BEGIN, for_s=60, is_open=False)
    assert course.is_over(BEGIN)
