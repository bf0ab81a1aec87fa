"""Whether an answer through the target is the right one."""

import pytest

from qanat.cutover.answers import Answer, judge
from qanat.cutover.plan import Check
from tests.support.cutovers import GOOD, REFUSED


def answered(status: int, **more: object) -> Answer:
    return Answer(status=status, **{"headers": {"content-type": "text/html"}, "duration_s": 0.01, **more})  # type: ignore[arg-type]


def test_what_is_given_must_hold() -> None:
    check = Check(status=200, headers={"X-Release": "v2"}, body="ready", within_s=1.0)
    good = answered(200, headers={"x-release": "app v2"}, body=b"is ready", duration_s=0.5)
    assert judge(check, good, None).passed
    for bad, why in (
        (answered(204, headers={"x-release": "v2"}, body=b"ready"), "204"),
        (answered(200, body=b"ready"), "X-Release"),
        (answered(200, headers={"x-release": "v2"}, body=b"no"), "ready"),
        (answered(200, headers={"x-release": "v2"}, body=b"ready", duration_s=1.5), "1.500 s"),
        (REFUSED, "connection refused"),
    ):
        judged = judge(check, bad, None)
        assert not judged.passed
        assert why in judged.why


@pytest.mark.case(47)
def test_a_403_is_no_success_unless_the_source_answers_it_too() -> None:
    assert not judge(Check(), answered(403), None).passed
    assert not judge(Check(), answered(403), answered(200)).passed
    same = judge(Check(), answered(403), answered(403))
    assert same.passed
    assert same.learnt


def test_a_source_that_is_ill_teaches_nothing() -> None:
    for source in (None, REFUSED, answered(502)):
        judged = judge(Check(), answered(200), source)
        assert judged.passed
        assert not judged.learnt
        assert not judge(Check(), answered(502), source).passed


def test_media_type_and_time_are_learnt() -> None:
    as_json = answered(200, headers={"content-type": "application/json; charset=utf-8"})
    assert not judge(Check(), as_json, GOOD).passed
    assert judge(Check(), as_json, as_json).passed
    assert judge(Check(), answered(200, duration_s=1.0), GOOD).passed
    assert not judge(Check(), answered(200, duration_s=1.2), GOOD).passed
