"""How commands of a host find its connectors."""

import os
import threading
import uuid
from collections.abc import Iterator

import pytest

from qanat.errors import QanatError
from qanat.succession.local_socket import LocalSocket, Question, Running, ask, running
from tests.support.waiting import wait_until

PATIENCE_S = 30.0


@pytest.fixture
def me() -> Running:
    return Running(os.getpid(), str(uuid.uuid4()))


@pytest.fixture
def ear(me: Running) -> Iterator[LocalSocket]:
    ear = LocalSocket("connector", me.id)
    yield ear
    ear.close()


def test_a_connector_is_found_from_when_it_listens_until_it_closes(me: Running, ear: LocalSocket) -> None:
    assert me not in running("connector")
    ear.listen()
    assert me in running("connector")
    ear.close()
    assert ear.fileno is None
    assert me not in running("connector")
    assert ear.accept() is None
    with pytest.raises(QanatError, match="it ended"):
        ask(me, Question("describe"), limit_s=PATIENCE_S)


def test_a_question_is_answered_once(me: Running, ear: LocalSocket) -> None:
    ear.listen()
    answers: list[dict[str, object]] = []
    asking = threading.Thread(
        target=lambda: answers.append(ask(me, Question("upgrade", limit_s=3.0), limit_s=PATIENCE_S))
    )
    asking.start()
    asker = wait_until(ear.accept, "the question")
    assert (asker.question.ask, asker.question.limit_s) == ("upgrade", 3.0)
    asker.answer({"pid": 1})
    asking.join(PATIENCE_S)
    assert answers == [{"pid": 1}]


def test_who_gives_no_answer_is_told(me: Running, ear: LocalSocket) -> None:
    ear.listen()
    with pytest.raises(QanatError) as late:
        ask(me, Question("describe"), limit_s=0.05)
    assert (late.value.code, late.value.where) == ("connector_refused", f"process {me.pid}")


def test_another_users_connector_refuses(me: Running, ear: LocalSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    ear.listen()
    monkeypatch.setattr("qanat.succession.local_socket._credentials", lambda _connection: (me.pid, 4711, 4711))
    answering = threading.Thread(target=lambda: wait_until(lambda: ear.accept() or refused, "it"))
    refused: list[str] = []
    answering.start()
    with pytest.raises(QanatError, match="only root and the user") as refusal:
        ask(me, Question("describe"), limit_s=PATIENCE_S)
    refused.append(refusal.value.code)
    answering.join(PATIENCE_S)
    assert refused == ["connector_refused"]
