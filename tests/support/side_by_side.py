"""`pytest --workers 4`: tests side by side in processes that are forked when all tests are collected.

pytest-xdist's workers are new interpreters, each of which imports and collects everything again: 15 s of CPU for each in a clean
clone. Forks have it all. Otherwise it is as there: reports come to the first process, which tells them; a worker that dies
fails the test that it had and is replaced.
"""

import gc
import random
import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any

import pytest

MOST_AT_ONCE = 64
"""Tests that a worker is given together, all of one file: what a module sets up is set up once for these."""

Batch = list[int]
"""Places of tests in `session.items`."""

FORKS = get_context("fork")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("qanat").addoption(
        "--workers", type=int, default=0, metavar="N", help="run tests side by side in N processes"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    count = session.config.getoption("workers")
    if count < 1 or session.config.option.collectonly or session.testsfailed or not session.items:
        return None
    Workers(session, count).run()
    return True


def batches(items: Sequence[pytest.Item]) -> deque[Batch]:
    """All tests in their order, file by file."""
    found: deque[Batch] = deque()
    for _, each in groupby(enumerate(items), lambda numbered: numbered[1].path):
        places = [place for place, _ in each]
        found.extend(places[start : start + MOST_AT_ONCE] for start in range(0, len(places), MOST_AT_ONCE))
    return found


class Worker:
    """One fork, as the first process sees it."""

    def __init__(self, session: pytest.Session, number: int, others: Sequence[Connection]) -> None:
        """`others`: what a fork would hold of the other workers' channels."""
        self.number = number
        self.left: deque[int] = deque()
        """What it was given and has not told the end of."""
        self.channel, theirs = FORKS.Pipe()
        foreign = [*others, self.channel]
        self.process: ForkProcess = FORKS.Process(target=work, args=(session, number, foreign, theirs))
        self.process.start()
        theirs.close()

    def give(self, batch: Batch) -> None:
        """An empty one: there is no more."""
        self.left.extend(batch)
        with suppress(OSError):  # it has died, which is seen where it is read from
            self.channel.send(batch)


class Workers:
    """The first process's side: hands out tests and takes reports."""

    def __init__(self, session: pytest.Session, count: int) -> None:
        self._session = session
        self._hook = session.config.hook
        self._waiting = batches(session.items)
        self._made = 0
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined] # the workers' lie below
        if reporter := session.config.pluginmanager.getplugin("terminalreporter"):
            reporter.showfspath = False
        gc.collect()
        gc.freeze()  # what was collected is nothing that a worker's collector need look at
        self._workers: list[Worker] = []
        for _ in range(min(count, len(self._waiting))):
            self._begin()

    def _begin(self) -> None:
        self._made += 1
        others = [worker.channel for worker in self._workers]
        self._workers.append(Worker(self._session, self._made, others))

    def _next(self, worker: Worker) -> Batch:
        """Half of the workers begin at the end: there are tests that compute, at the beginning those that wait."""
        if not self._waiting:
            return []
        return self._waiting.popleft() if worker.number % 2 else self._waiting.pop()

    def run(self) -> None:
        try:
            while self._workers:
                channels = {worker.channel: worker for worker in self._workers}
                for ready in wait(list(channels)):
                    assert isinstance(ready, Connection)
                    self._hear(channels[ready])
        finally:
            for worker in self._workers:
                worker.channel.close()
            for worker in self._workers:
                worker.process.join()
            gc.unfreeze()

    def _hear(self, worker: Worker) -> None:
        try:
            kind, told = worker.channel.recv()
        except (EOFError, OSError):
            self._gone(worker)
            return
        if kind == "more":
            worker.give(self._next(worker))
        elif kind == "start":
            self._hook.pytest_runtest_logstart(nodeid=told[0], location=told[1])
        elif kind == "finish":
            worker.left.popleft()
            self._hook.pytest_runtest_logfinish(nodeid=told[0], location=told[1])
        elif kind == "report":
            report = self._hook.pytest_report_from_serializable(config=self._session.config, data=told)
            self._hook.pytest_runtest_logreport(report=report)
            if self._session.shouldfail:
                raise self._session.Failed(self._session.shouldfail)
        elif kind == "warning":
            message, place, when, nodeid, location = told
            warned = warnings.WarningMessage(UserWarning(message), UserWarning, *place)
            self._hook.pytest_warning_recorded.call_historic(
                kwargs={"warning_message": warned, "when": when, "nodeid": nodeid, "location": location}
            )
        elif kind == "exit":
            pytest.exit(told, 1)

    def _gone(self, worker: Worker) -> None:
        worker.process.join()
        worker.channel.close()
        self._workers.remove(worker)
        if not worker.left:
            if worker.process.exitcode:
                pytest.exit(f"a worker ended with {worker.process.exitcode}", 1)
            return
        died = self._session.items[worker.left.popleft()]
        said = f"the worker that ran it ended with {worker.process.exitcode}"
        report = pytest.TestReport(died.nodeid, died.location, {}, "failed", said, "call")
        self._hook.pytest_runtest_logreport(report=report)
        self._hook.pytest_runtest_logfinish(nodeid=died.nodeid, location=died.location)
        if worker.left:
            self._waiting.append(list(worker.left))
        self._begin()


class Teller:
    """Tells the first process what happens in a worker."""

    def __init__(self, config: pytest.Config, channel: Connection) -> None:
        self._config = config
        self._channel = channel

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._channel.send(("start", (nodeid, location)))

    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._channel.send(("finish", (nodeid, location)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._channel.send(("report", told))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: Any
    ) -> None:
        said = f"{warning_message.category.__name__}: {warning_message.message}"
        place = (warning_message.filename, warning_message.lineno)
        self._channel.send(("warning", (said, place, when, nodeid, location)))


def work(session: pytest.Session, number: int, foreign: Sequence[Connection], channel: Connection) -> None:
    """A worker's life: tests as they are given, and at its end what it set up is torn down."""
    for each in foreign:
        each.close()
    become_worker(session.config, number, channel)
    todo: deque[int] = deque()
    more = True
    status = 0
    try:
        while todo or more:
            while more and len(todo) < 2:  # how much is torn down after a test depends on the next one
                channel.send(("more", None))
                given = channel.recv()
                todo.extend(given)
                more = bool(given)
            if todo:
                item = session.items[todo.popleft()]
                following = session.items[todo[0]] if todo else None
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    except pytest.exit.Exception as ending:
        channel.send(("exit", str(ending)))
    except (EOFError, OSError, KeyboardInterrupt):
        status = 1  # the first process has ended, or is about to
    finally:
        with suppress(KeyboardInterrupt):
            session._setupstate.teardown_exact(None)
        session.config.hook.pytest_sessionfinish(session=session, exitstatus=status)


def become_worker(config: pytest.Config, number: int, channel: Connection) -> None:
    """What a process may not have in common with the one that it was forked from."""
    random.seed()
    name = f"worker{number}"
    config.workerinput = {"workerid": name}  # type: ignore[attr-defined] # xdist's sign to other plugins
    plugins = config.pluginmanager
    plugins.unregister(name="terminalreporter")
    plugins.register(Teller(config, channel))
    capture = plugins.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    config.option.basetemp = str(config._tmp_path_factory.getbasetemp() / name)  # type: ignore[attr-defined]
    config._tmp_path_factory = pytest.TempPathFactory.from_config(config, _ispytest=True)  # type: ignore[attr-defined]
