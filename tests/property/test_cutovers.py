"""Whatever happens to a cutover, and wherever its control plane dies: it is never half done in silence, and a rollback restores
the records exactly."""

import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import func, select

from qanat.control import records, targets
from qanat.control.record_changes import RecordChange
from qanat.cutover import cutovers
from qanat.cutover.course import Course
from qanat.cutover.machine import ACTIVE
from qanat.cutover.plan import Rule
from qanat.errors import QanatError
from qanat.store import open_store
from qanat.store.models import Audit, Cutover
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from tests.support.control import KEY
from tests.support.cutovers import REFUSED, FakeCutoverEdge, Scene, Steady
from tests.support.databases import new_file
from tests.support.writes import written

pytestmark = pytest.mark.case(47)


class Death(BaseException):
    """The process is killed: nothing of it catches anything."""


class CutoverMachine(RuleBasedStateMachine):
    """One cutover, with a control plane that dies before or after any commit, a target that breaks and heals, and other hands."""

    @initialize(how=st.sampled_from(["at once", "held", "in steps"]))
    def begin(self, how: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(new_file(Path(self.folder.name) / "qanat.db"))
        self.scene = Scene(self.store, Sealer(KEY), "app", "api")
        self.now = Steady(self.store)
        self.edge = FakeCutoverEdge()
        self.before = {each["name"]: each for each in self.scene.contents()}
        self.touched: set[str] = set()
        steps = (1, 25, 100) if how == "in steps" else (100,)
        self.id = self.scene.begin(hold=how == "held", steps=steps, rule=Rule(step_s=5, least_requests=0, longest_s=5))
        self.course = Course(self.store, self.edge, self.id, now=self.now)
        self.dies = ""

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        self.edge.answers.clear()
        with suppress(QanatError):
            written(self.store, self._on(cutovers.resume))
        for _ in range(16):
            if self.row().state not in ACTIVE:
                break
            self.now.move(40)
            self.tick()
        assert self.row().state not in ACTIVE
        assert self.course.tick()
        assert not self.edge.held
        self.check_records()
        self.store.close()
        self.folder.cleanup()

    @rule(seconds=st.sampled_from([0.3, 1.5, 6.0, 31.0]))
    def pass_time_and_look(self, seconds: float) -> None:
        self.now.move(seconds)
        self.tick()

    @rule(when=st.sampled_from(["before the commit", "after the commit"]), seconds=st.sampled_from([0.0, 6.0]))
    def die_at_the_next_write(self, when: str, seconds: float) -> None:
        """And come back at once, as another process."""
        self.now.move(seconds)
        writing = self.store._writing
        store = self.store

        def deadly(actor: Any) -> Any:
            @contextmanager
            def inner() -> Any:
                with writing(actor) as write:
                    yield write
                    if when == "before the commit":
                        raise Death
                raise Death

            return inner()

        store._writing = deadly  # type: ignore[method-assign]
        try:
            with suppress(Death):
                self.tick()
        finally:
            store._writing = writing  # type: ignore[method-assign]
        self.edge.held.clear()
        self.course = Course(self.store, self.edge, self.id, now=self.now)

    @rule()
    def target_breaks(self) -> None:
        self.edge.answers[self.scene.target] = REFUSED

    @rule()
    def target_heals(self) -> None:
        self.edge.answers.clear()

    @rule(act=st.sampled_from([cutovers.pause, cutovers.resume]))
    def pause_or_resume(self, act: Any) -> None:
        with suppress(QanatError):
            written(self.store, self._on(act))

    @rule()
    def roll_back(self) -> None:
        with suppress(QanatError):
            written(self.store, self._on(cutovers.roll_back, "asked", asked=True))

    @precondition(lambda self: len(self.touched) < 1)
    @rule(change=st.sampled_from([{"comment": "mine"}, {"name": "www"}, None]))
    def others_change_a_record(self, change: dict[str, str] | None) -> None:
        record = next(each for each in self.scene.records() if each.name == "app.example.test")
        self.touched.add(record.name)
        if change is None:
            written(self.store, records.delete, self.scene.zone.id, record.id, reach=EVERYTHING)
        else:
            written(self.store, records.change, self.scene.zone.id, record.id, RecordChange(change), reach=EVERYTHING)

    @invariant()
    def check_records(self) -> None:
        if not hasattr(self, "id"):
            return
        row = self.row()
        own = [each for each in self.scene.contents() if each["name"] in set(self.before) - self.touched]
        leads_to = {each["tunnel_id"] for each in own}
        if row.state in ("settling", "done"):
            assert leads_to == {self.scene.target}
        else:
            assert own == [self.before[each["name"]] for each in own], row.state
        with self.store.reading() as session:
            shares = [targets.shares_of(session, self.scene.zone.id, each["name"]) for each in own]
        assert all(sorted(each) == sorted(cutovers.shares_of(row)) for each in shares), row.state

    @invariant()
    def every_change_has_its_audit_row(self) -> None:
        if not hasattr(self, "id"):
            return
        with self.store.reading() as session:
            count = session.scalar(select(func.count()).where(Audit.object_id == self.id))
        assert count == self.row().version

    def row(self) -> Cutover:
        return self.scene.row(self.id)

    def tick(self) -> None:
        with suppress(QanatError):
            self.course.tick()

    def _on(self, act: Any, *given: Any, **more: Any) -> Any:
        return lambda write: act(write, cutovers.get(write.session, self.scene.account, self.id), *given, **more)


CutoverMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestCutovers = CutoverMachine.TestCase


@pytest.mark.parametrize("when", ["before the commit", "after the commit"])
@pytest.mark.parametrize("how", ["at once", "held", "in steps"])
@pytest.mark.parametrize("writes", range(4))
def test_killed_at_every_write_of_an_apply_it_is_finished_or_undone(when: str, writes: int, how: str) -> None:
    """The same, at each write in turn, so that none is left to chance."""
    machine = CutoverMachine()
    machine.begin(how)
    for at in range(8):
        if at == writes:
            machine.die_at_the_next_write(when, 6.0)
        machine.pass_time_and_look(6.0)
        machine.check_records()
    machine.teardown()
