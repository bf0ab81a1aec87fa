"""Chores."""

from qanat.edge.chores import Chores
from tests.support.waiting import wait_until


def test_a_hurried_chore_comes_at_the_next_tick_and_once() -> None:
    done: list[str] = []
    chores = Chores([("rare", 3600.0, lambda: done.append("rare")), ("other", 3600.0, lambda: done.append("other"))])
    chores.hurry("rare")
    chores.start()
    try:
        wait_until(lambda: done, "the chore")
        chores.hurry("other")
        wait_until(lambda: "other" in done, "the other one")
    finally:
        chores.stop()
    assert done == ["rare", "other"]
