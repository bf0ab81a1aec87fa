"""Whoever runs promotions, with an engine that only remembers, and killed at every step."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from qanat.edge.promotions import Promotions, recover
from qanat.errors import QanatError
from qanat.nodes import promotion
from qanat.nodes.readiness import Facts
from qanat.store import SYSTEM, Store, Write, open_store
from qanat.store.models import Promotion
from qanat.store.sealing import Sealer
from tests.support.clock import MovedClock
from tests.support.nodes import FakeSteering, Hosts, hosts
from tests.support.waiting import wait_until
from tests.support.writes import written

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def pair(store: Store, sealer: Sealer, account: str) -> Hosts:
    return hosts(store, sealer, account)


class Running:
    """Promotions of a store, and what they do to an engine."""

    def __init__(self, store: Store, steering: FakeSteering | None = None) -> None:
        self.steering = steering or FakeSteering()
        self.facts = Facts(connections=2)
        self.promotions = Promotions(store, self.steering, put=self.steering.put, facts=lambda *_: self.facts)
        self.promotions.start()


@pytest.fixture
def running(pair: Hosts) -> Iterator[Running]:
    made = Running(pair.store)
    yield made
    made.promotions.stop()


def until(pair: Hosts, row: Promotion, state: str) -> Promotion:
    return wait_until(
        lambda: found if (found := pair.row(row.id)).state == state else None, f"the state {state}", timeout_s=60.0
    )


def test_requests_wait_while_a_planned_one_runs_and_go_on_to_the_new_node(pair: Hosts, running: Running) -> None:
    done = until(pair, pair.want(), "released")
    assert running.steering.calls == ["hold", "put", "cut", "release"]
    assert (pair.active, done.held, done.cut, done.epoch) == ("web-2", 3, 0, 2)


def test_one_by_force_holds_nothing_and_cuts_what_is_open(pair: Hosts, running: Running) -> None:
    running.steering.open[pair.tunnel.id, pair.ids["web-1"]] = 7
    done = until(pair, pair.want(kind="forced"), "released")
    assert running.steering.calls == ["put", "cut"]
    assert (done.cut, pair.fenced()) == (7, {"web-1"})


def test_what_is_open_is_waited_for_but_not_for_websockets(pair: Hosts, running: Running) -> None:
    old = (pair.tunnel.id, pair.ids["web-1"])
    running.steering.open[old], running.steering.websockets[old] = 3, 2
    row = pair.want(hold_s=30.0, drain_s=30.0)
    until(pair, row, "draining")
    assert pair.active == "web-1"
    running.steering.open[old] = 2
    assert until(pair, row, "released").cut == 2


def test_what_has_not_ended_when_the_drain_is_over_is_cut(pair: Hosts, running: Running) -> None:
    running.steering.open[pair.tunnel.id, pair.ids["web-1"]] = 5
    assert until(pair, pair.want(drain_s=0.05), "released").cut == 5


def test_commands_run_before_and_after_the_flip(pair: Hosts, running: Running) -> None:
    row = pair.want(has_before=True, has_after=True)
    until(pair, row, "before")
    assert (pair.active, running.steering.calls) == ("web-1", ["hold"])
    written(pair.store, lambda write: promotion.advance(write, again(write, row), state="before"))
    until(pair, row, "after")
    assert (pair.active, running.steering.calls) == ("web-2", ["hold", "put", "cut"])
    written(pair.store, lambda write: promotion.advance(write, again(write, row), state="after", error="ended with 1"))
    done = until(pair, row, "released")
    assert (done.step_error, pair.active) == ("ended with 1", "web-2")


def again(write: Write, row: Promotion) -> Promotion:
    return write.session.get_one(Promotion, row.id)


def test_a_command_that_fails_before_the_flip_undoes_all(pair: Hosts, running: Running) -> None:
    row = pair.want(has_before=True)
    until(pair, row, "before")
    written(pair.store, lambda write: promotion.advance(write, again(write, row), state="before", error="ended with 1"))
    done = until(pair, row, "undone")
    assert "ended with 1" in done.undo_reason
    assert (pair.active, running.steering.calls, running.steering.held) == ("web-1", ["hold", "release"], {})


def test_a_caller_who_is_never_heard_of_again_is_waited_for_as_long_as_requests_are_held(
    pair: Hosts, running: Running
) -> None:
    before = pair.want(has_before=True, hold_s=0.2, drain_s=0.0)
    assert "nothing was heard" in until(pair, before, "undone").undo_reason
    after = pair.want(has_after=True, hold_s=5.0, drain_s=0.0)
    until(pair, after, "after")
    assert "nothing was heard" in until(pair, after, "released").step_error
    assert pair.active == "web-2"


def test_one_is_undone_at_will(pair: Hosts, running: Running) -> None:
    row = pair.want(has_before=True)
    until(pair, row, "before")
    written(pair.store, lambda write: promotion.ask_undo(write, again(write, row), "interrupted"))
    until(pair, row, "undone")
    assert running.steering.held == {}


def test_a_node_that_is_lost_meanwhile_is_not_flipped_to(pair: Hosts, running: Running) -> None:
    running.steering.on_call = lambda name: setattr(running, "facts", Facts(connections=0)) if name == "hold" else None
    assert "not reached any more" in until(pair, pair.want(), "undone").undo_reason
    assert (pair.active, running.steering.held) == ("web-1", {})


def test_a_jump_of_the_clock_changes_nothing(pair: Hosts, running: Running) -> None:
    clock = MovedClock(pair.store)
    row = pair.want(has_before=True)
    until(pair, row, "before")
    for seconds in (7200.0, -14400.0):
        clock.move(seconds=seconds)
    written(pair.store, lambda write: promotion.advance(write, again(write, row), state="before"))
    until(pair, row, "released")
    assert pair.role().epoch == 2


def test_an_edge_that_stops_undoes_what_has_not_flipped(pair: Hosts, running: Running) -> None:
    row = pair.want(has_before=True)
    until(pair, row, "before")
    running.promotions.stop()
    assert "the edge stops" in until(pair, row, "undone").undo_reason


class _Away:
    """The database, while it is away: every write fails."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.is_away = False
        self._writing = store._writing
        store._writing = self._open  # type: ignore[method-assign,assignment]

    def _open(self, actor: object) -> object:
        if self.is_away:
            raise QanatError("store_unavailable", "the database is away")
        return self._writing(actor)  # type: ignore[arg-type]


def test_with_the_database_away_it_waits_for_it_and_then_flips(pair: Hosts, running: Running) -> None:
    away = _Away(pair.store)
    row = pair.want(has_before=True)
    until(pair, row, "before")
    written(pair.store, lambda write: promotion.advance(write, again(write, row), state="before"))
    away.is_away = True
    with pytest.raises(QanatError, match="away"):
        pair.want()
    Event().wait(0.05)
    away.is_away = False
    until(pair, row, "released")
    assert pair.active == "web-2"


def test_with_the_database_away_for_good_it_is_undone_when_that_is_back(pair: Hosts, running: Running) -> None:
    away = _Away(pair.store)
    row = pair.want(has_before=True, hold_s=0.5, drain_s=0.0)
    until(pair, row, "before")
    away.is_away = True
    wait_until(lambda: not running.promotions._runs, "the end of the run", timeout_s=60.0)
    assert (pair.active, running.steering.held) == ("web-1", {})
    away.is_away = False
    running.promotions.settle()
    assert pair.row(row.id).state == "undone"


class Killed(BaseException):
    """The process ends here."""


def _is_there(pair: Hosts, row: Promotion, state: str, dead: Event) -> bool:
    return dead.is_set() or pair.row(row.id).state == state


CALLS = ["hold", "open_requests", "put", "cut", "release"]
STATES = ["held", "draining", "before", "flipped", "after", "released"]


@pytest.mark.requirement("S48")
@pytest.mark.parametrize(
    "when", [*CALLS, *(f"{state} {side}" for state in STATES for side in ("written", "unwritten"))]
)
def test_killed_at_every_step_it_comes_up_undone_or_finished(
    pair: Hosts, tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Either nothing has changed, or the new node is active; the epoch rises by at most one, and the next promotion
    goes through."""
    steering = FakeSteering()
    dead = Event()

    def die(name: str) -> None:
        if dead.is_set() or name == when:
            dead.set()
            raise Killed

    steering.on_call = die
    noted = promotion._go

    def go(write: Write, row: Promotion, to: promotion.State, text: str) -> None:
        if dead.is_set() or when == f"{to} unwritten":
            dead.set()
            raise Killed
        noted(write, row, to, text)
        if when == f"{to} written":
            # the commit goes through, and nothing after it
            publish = pair.store._publish

            def silent(_write: Write) -> None:
                pair.store._publish = publish  # type: ignore[method-assign]
                dead.set()
                raise Killed

            pair.store._publish = silent  # type: ignore[method-assign,assignment]

    monkeypatch.setattr(promotion, "_go", go)
    monkeypatch.setattr("threading.excepthook", lambda _args: None)
    promotions = Promotions(pair.store, steering, put=steering.put, facts=lambda *_: Facts(connections=2))
    promotions.start()
    row = pair.want(has_before=True, has_after=True)
    for state in ("before", "after"):
        wait_until(partial(_is_there, pair, row, state, dead), state, timeout_s=60.0)
        if dead.is_set():
            break
        with pair.store.writing(SYSTEM) as write:
            promotion.advance(write, again(write, row), state=state)
    wait_until(dead.is_set, "its death", timeout_s=60.0)
    promotions._unsubscribe()
    monkeypatch.undo()

    file = pair.store.file
    assert file is not None
    reborn = open_store(file)
    try:
        recover(reborn)
        pair.store = reborn
        after = pair.row(row.id)
        assert after.finished_at is not None
        expected = ("undone", "web-1", 1) if after.state == "undone" else ("released", "web-2", 2)
        assert (after.state, pair.active, pair.role().epoch) == expected
        flipped = when in ("put", "cut", "release", "flipped written", "after unwritten", "after written")
        assert (after.state == "released") is (flipped or when.startswith("released"))
        again_running = Running(reborn)
        until(pair, pair.want("web-1" if pair.active == "web-2" else "web-2"), "released")
        again_running.promotions.stop()
        assert pair.role().epoch == expected[2] + 1
    finally:
        reborn.close()
