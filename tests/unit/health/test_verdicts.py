"""The state machine of an origin's health, and how answers are judged."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanat.errors import QanatError
from qanat.health.questions import Check, judge
from qanat.health.verdicts import SAMPLES, Met, Verdict, after, after_requests, illness

START = datetime(2026, 1, 1, tzinfo=UTC)


def _run(answers: list[bool], *, rise: int, fall: int) -> list[Verdict]:
    verdict, verdicts = Verdict(since=START), []
    for number, is_good in enumerate(answers, 1):
        at = START + timedelta(seconds=number)
        verdict = after(verdict, is_good=is_good, why=f"answer {number}", at=at, rise=rise, fall=fall)
        verdicts.append(verdict)
    return verdicts


def test_an_origin_rises_and_falls_after_so_many_answers_in_a_row() -> None:
    states = [each.state for each in _run([True, False, False, True, False, False, False, True, True], rise=2, fall=3)]
    assert states == ["healthy"] * 6 + ["unhealthy"] * 2 + ["healthy"]


def test_nothing_is_known_before_the_first_good_or_enough_bad_answers() -> None:
    assert [each.state for each in _run([False, False, False], rise=2, fall=3)] == ["unknown", "unknown", "unhealthy"]


@given(st.lists(st.booleans()), st.integers(1, 5), st.integers(1, 5))
def test_a_state_is_left_only_by_enough_answers_in_a_row_and_says_since_when(
    answers: list[bool], rise: int, fall: int
) -> None:
    before = Verdict(since=START)
    for number, verdict in enumerate(_run(answers, rise=rise, fall=fall), 1):
        row = answers[max(0, number - (rise if answers[number - 1] else fall)) : number]
        if verdict.state != before.state:
            assert verdict.since == START + timedelta(seconds=number)
            assert verdict.why == f"answer {number}"
            assert (before.state, verdict.state) == ("unknown", "healthy") or len(set(row)) == 1
            assert before.state == "unknown" or len(row) == (rise if verdict.state == "healthy" else fall)
        else:
            assert verdict.since == before.since
        if len(row) == (rise if answers[number - 1] else fall) and len(set(row)) == 1:
            assert verdict.state == ("healthy" if answers[number - 1] else "unhealthy")
        before = verdict


def test_what_requests_met_makes_ill_at_once_and_probes_say_when_it_is_over() -> None:
    healthy = _run([True], rise=2, fall=3)[0]
    met = Met(requests=10, failed=8, refused=8, timed_out=0)
    ill = after_requests(healthy, met, at=START)
    assert (ill.state, ill.why) == ("unhealthy", "8 of 10 requests could not reach the origin")
    assert after_requests(healthy, Met(requests=10, failed=2, refused=0, timed_out=0), at=START) is healthy
    once = after(ill, is_good=True, why="good", at=START, rise=2, fall=3)
    assert once.state == "unhealthy"
    assert after(once, is_good=True, why="good", at=START, rise=2, fall=3).state == "healthy"
    again = after_requests(once, met, at=START)
    assert after(again, is_good=True, why="good", at=START, rise=2, fall=3).state == "unhealthy", "the row is broken"


@given(st.integers(0, SAMPLES - 1))
def test_few_requests_say_nothing(requests: int) -> None:
    assert illness(Met(requests=requests, failed=requests, refused=0, timed_out=0)) == ""


@dataclass
class Answer:
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b"all is well"
    cause: str = ""
    detail: str = ""


@pytest.mark.parametrize(
    ("check", "answer", "why"),
    [
        (Check(), Answer(status=404), ""),
        (Check(), Answer(status=503), "GET / answered 503, not 100-499"),
        (Check(status="200-299,304"), Answer(status=304), ""),
        (Check(status="200"), Answer(status=302), "GET / answered 302, not 200"),
        (Check(body="well"), Answer(), ""),
        (Check(path="/up", body="ill"), Answer(), "GET /up answered 200 without the expected text"),
        (Check(headers={"X-Role": "primary"}), Answer(headers=[("x-role", "primary")]), ""),
        (
            Check(headers={"X-Role": "primary"}),
            Answer(headers=[("X-Role", "standby")]),
            "GET / answered 200 without the field X-Role: primary",
        ),
        (
            Check(),
            Answer(status=0, cause="origin_refused", detail="dial"),
            "GET / got no answer (origin_refused: dial)",
        ),
    ],
)
def test_an_answer_is_judged_by_what_was_expected(check: Check, answer: Answer, why: str) -> None:
    judgment = judge(check, answer)
    assert judgment.is_good == (not why)
    if why:
        assert judgment.why == why


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"path": "up"}, "path"),
        ({"path": "/a b"}, "path"),
        ({"method": "CONNECT"}, "method"),
        ({"status": "2xx"}, "status"),
        ({"status": "600"}, "status"),
        ({"interval_s": 0.1}, "interval_s"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"rise": 0}, "rise"),
        ({"fall": 0}, "fall"),
        ({"send": {"a b": "c"}}, "send"),
        ({"headers": {"a": "b\nc"}}, "headers"),
    ],
)
def test_a_check_that_can_not_be_is_refused_by_field(given: dict[str, object], where: str) -> None:
    with pytest.raises(QanatError) as caught:
        Check(**given).checked()  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.where) == ("probe_bad", where)
