"""Probes of one process: whoever asks gets the answer of his own."""

import threading
from typing import Any, cast

import pytest

from qanat.errors import QanatError
from qanat.health import probing
from qanat.health.engine import EngineError, ProbeAnswered
from qanat.health.probing import Probes, Question
from tests.support.waiting import wait_until


class Answer:
    """A stand-in for the engine's."""

    def __init__(self, probe_id: int, cause: str = "", status: int = 200) -> None:
        self.probe_id, self.cause, self.status = probe_id, cause, status


class Engine:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.refuses = False

    def probe(self, **given: Any) -> None:
        if self.refuses:
            raise EngineError("bad_setting", "bad setting: path")
        self.sent.append(given)


def _answered(probes: Probes, *args: Any) -> None:
    probes.answered(cast(ProbeAnswered, Answer(*args)))


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def probes(engine: Engine) -> Probes:
    return Probes(cast(Any, engine))


QUESTION = Question(tunnel_id="t", token_id="", hostname="app.example.test", path="/up", timeout_s=0.4)


def test_each_question_gets_the_answer_with_its_id(engine: Engine, probes: Probes) -> None:
    got: list[tuple[str, int]] = []
    probes.send(QUESTION, lambda answer: got.append(("first", answer.status)))
    probes.send(QUESTION, lambda answer: got.append(("second", answer.status)))
    first, second = (sent["probe_id"] for sent in engine.sent)
    _answered(probes, second, "", 500)
    _answered(probes, first)
    _answered(probes, first)
    _answered(probes, 99)
    assert got == [("second", 500), ("first", 200)]
    assert engine.sent[0]["path"] == "/up"
    assert engine.sent[0]["token_id"] == ""


def test_who_asks_waits_for_the_answer_and_asks_again_while_too_many_are_under_way(
    engine: Engine, probes: Probes
) -> None:
    got: list[ProbeAnswered] = []
    asking = threading.Thread(target=lambda: got.append(probes.ask(QUESTION)))
    asking.start()
    wait_until(lambda: len(engine.sent) == 1, "the first")
    _answered(probes, engine.sent[0]["probe_id"], "probe_busy", 0)
    wait_until(lambda: len(engine.sent) == 2, "the second")
    _answered(probes, engine.sent[1]["probe_id"], "", 204)
    asking.join()
    assert [answer.status for answer in got] == [204]


def test_an_answer_that_never_comes_is_an_error_and_nobody_waits_for_it(
    probes: Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "MARGIN_S", 0.0)
    with pytest.raises(QanatError) as caught:
        probes.ask(Question(tunnel_id="t", token_id=None, hostname="a.test", timeout_s=0.0))
    assert caught.value.code == "probe_unanswered"
    assert probes._waiting == {}


def test_what_the_engine_refuses_to_send_is_named(engine: Engine, probes: Probes) -> None:
    engine.refuses = True
    with pytest.raises(QanatError, match="path") as caught:
        probes.ask(QUESTION)
    assert caught.value.code == "probe_bad"
    assert probes._waiting == {}
