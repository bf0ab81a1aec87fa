from qanat.edge.events import Repetitions
from qanat.edge.failures import Failures
from tests.support.failed import failed_request


def test_the_oldest_makes_room() -> None:
    failures = Failures(kept=3)
    for number in range(5):
        failures.add(failed_request(request_id=str(number)))
    assert [failures.get(str(number)) is not None for number in range(5)] == [False, False, True, True, True]


def test_one_of_many_equal_refusals_is_told() -> None:
    repetitions = Repetitions(every_s=3600, most=2)
    assert repetitions.seen("a") == 0
    assert repetitions.seen("a") is None
    assert repetitions.seen("b") == 0
    assert repetitions.seen("c") == 0
    assert repetitions.seen("a") == 0


def test_how_many_were_held_back_is_told_with_the_next() -> None:
    repetitions = Repetitions(every_s=0)
    assert repetitions.seen("a") == 0
    assert repetitions.seen("a") == 0
