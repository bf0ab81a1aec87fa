"""The checker of who served what sees what it is there for."""

from tests.support.checker import Asked, Checker, Load, Served
from tests.support.http1 import Http1Client


def never() -> Http1Client:
    raise AssertionError


def load(*asked: Asked) -> Load:
    return Load(never, asked=list(asked))


def answered(sequence: int, sent_at: float, origin: str) -> Asked:
    return Asked(sequence, sent_at, sent_at + 1, 200, origin)


def promoted() -> Checker:
    """`a` is active, and from 10 (acknowledged at 12) on `b`."""
    checker = Checker("a")
    checker.promoted("b", begun_at=10.0)
    checker.phases[1].acknowledged_at = 12.0
    return checker


def violations(checker: Checker, origin: str, *, sent_at: float, served_at: float) -> int:
    checker.log = [Served(origin, 1, "ray", served_at)]
    return len(checker.violations(load(answered(1, sent_at, origin))))


def test_while_a_promotion_is_under_way_both_may_serve() -> None:
    for origin in ("a", "b"):
        assert violations(promoted(), origin, sent_at=9.0, served_at=11.0) == 0


def test_the_new_one_does_not_serve_before_and_the_old_one_not_after() -> None:
    assert violations(promoted(), "b", sent_at=5.0, served_at=6.0) == 1
    assert violations(promoted(), "a", sent_at=12.5, served_at=13.0) == 1
    assert violations(promoted(), "c", sent_at=11.0, served_at=11.5) == 1


def test_what_was_sent_before_may_arrive_late() -> None:
    assert violations(promoted(), "a", sent_at=11.0, served_at=20.0) == 0


def test_a_fenced_one_serves_nothing_that_is_sent_later() -> None:
    checker = Checker("a")
    checker.fences = [("a", 5.0, None)]
    assert violations(checker, "a", sent_at=6.0, served_at=7.0) == 1
    assert violations(checker, "a", sent_at=4.0, served_at=7.0) == 0


def test_an_answer_that_no_origin_gave_is_a_failure() -> None:
    asked = load(answered(1, 0.0, "a"), Asked(2, 0.0, 1.0, 502, None), Asked(3, 0.0, 1.0, 0, None, "reset"))
    assert [each.sequence for each in asked.failed] == [2, 3]
