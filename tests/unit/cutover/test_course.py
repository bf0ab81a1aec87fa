"""A cutover from its first look to its end, on a store and an edge that answers as the test says."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from qanat.control import connector_tokens, records, targets, tunnels
from qanat.control.record_changes import RecordChange
from qanat.cutover import cutovers, watches
from qanat.cutover import records as records_of
from qanat.cutover.answers import Answer
from qanat.cutover.course import Course
from qanat.cutover.gates import request_gate
from qanat.cutover.plan import Check, Plan, Rule
from qanat.cutover.rule import Counts
from qanat.errors import QanatError
from qanat.nodes import nodes
from qanat.store import SYSTEM, Store, open_store
from qanat.store.models import Audit, Cutover, Tunnel
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from tests.support.control import KEY
from tests.support.cutovers import GOOD, REFUSED, FakeCutoverEdge, Scene, Steady
from tests.support.databases import new_file
from tests.support.links import register
from tests.support.writes import written


class Stage(Scene):
    """A scene with an edge, and courses that are driven by hand."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, Sealer(KEY), "app", "api")
        self.edge = FakeCutoverEdge()
        self.now = Steady(store)
        self.courses: dict[str, Course] = {}

    def tick(self, cutover_id: str, *, seconds: float = 0.0, times: int = 1) -> Cutover:
        for _ in range(times):
            self.now.move(seconds)
            self.course(cutover_id).tick()
        return self.row(cutover_id)

    def course(self, cutover_id: str) -> Course:
        if cutover_id not in self.courses:
            self.courses[cutover_id] = Course(self.store, self.edge, cutover_id, now=self.now)
        return self.courses[cutover_id]

    def restart(self) -> None:
        """The edge ends and another one begins: nothing of a course or a hold is left."""
        self.courses.clear()
        self.edge.held.clear()

    def serve(self, new: Counts, old: Counts | None = None) -> None:
        self.edge.traffic = {self.target: new, self.source: old or Counts(requests=1000, p95_s=0.1)}

    def shares(self, hostname: str) -> list[tuple[str, int]]:
        with self.store.reading() as session:
            return targets.shares_of(session, self.zone.id, hostname)

    def split(self, hostname: str) -> list[tuple[str, int]]:
        """By hand, half and half."""
        shares = [(self.source, 1), (self.target, 1)]
        with self.store.reading() as session:
            place = targets.find(session, self.account, hostname, reach=EVERYTHING)
        written(self.store, targets.put, place, shares, "none")
        return shares

    def events(self, cutover_id: str) -> list[str]:
        return [entry["event"] for entry in self.row(cutover_id).timeline]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    store = open_store(new_file(tmp_path / "qanat.db"))
    yield Stage(store)
    store.close()


def test_all_at_once_moves_the_records_watches_and_is_done(stage: Stage) -> None:
    before = stage.contents()
    cutover = stage.begin()
    assert stage.tick(cutover).state == "settling"
    assert stage.leads_to() == {stage.target}
    stage.serve(Counts(requests=200, p95_s=0.1))
    assert stage.tick(cutover).state == "settling"
    row = stage.tick(cutover, seconds=31)
    assert row.state == "done"
    assert stage.events(cutover) == ["begin", "repoint", "finish"]
    assert row.timeline[-1]["numbers"]["new"]["requests"] == 400  # of two hostnames
    # nothing but the target of the records has changed
    changed = [{**each, "content": None, "content_key": None, "tunnel_id": None} for each in stage.contents()]
    assert changed == [{**each, "content": None, "content_key": None, "tunnel_id": None} for each in before]
    assert stage.course(cutover).tick()


def test_every_step_has_its_audit_row(stage: Stage) -> None:
    cutover = stage.begin()
    stage.tick(cutover)
    with stage.store.reading() as session:
        rows = list(session.scalars(select(Audit.action).order_by(Audit.seq)))
    assert rows[-3:] == ["cutover.begin", "record.cutover", "cutover.repoint"]


def test_in_steps_each_waits_for_its_time_and_its_requests(stage: Stage) -> None:
    before = stage.contents()
    cutover = stage.begin(steps=(1, 5, 25, 100), sticky="address")
    shares = []
    for _ in range(3):
        row = stage.tick(cutover)
        assert row.state == "moving"
        shares.append(dict(stage.shares("app.example.test"))[stage.target])
        assert cutovers.share_of(row) == shares[-1]
        stage.serve(Counts(requests=50, p95_s=0.1))
        stage.tick(cutover)
        assert stage.tick(cutover, seconds=29).state == "moving"
        assert dict(stage.shares("app.example.test"))[stage.target] == shares[-1]
        stage.now.move(2)
    assert shares == [1, 5, 25]
    row = stage.tick(cutover)
    assert row.state == "settling"
    assert stage.shares("app.example.test") == []
    assert stage.leads_to() == {stage.target}
    assert stage.tick(cutover, times=2, seconds=31).state == "done"
    assert stage.events(cutover) == ["begin", "shift", "shift", "shift", "repoint", "finish"]
    written(stage.store, _on(cutovers.roll_back, stage, cutover, "asked", asked=True))
    assert stage.contents() == before


def test_a_canary_that_fails_is_taken_back_with_its_weights(stage: Stage) -> None:
    before = stage.contents()
    cutover = stage.begin(steps=(1, 100))
    stage.tick(cutover, times=2)
    stage.serve(Counts(requests=5, failed=5))
    assert stage.tick(cutover, seconds=1).state == "rolled_back"
    assert stage.contents() == before
    assert stage.shares("app.example.test") == []


def test_weights_that_others_set_meanwhile_are_theirs(stage: Stage) -> None:
    cutover = stage.begin(steps=(1, 100))
    stage.tick(cutover)
    others = stage.split("app.example.test")
    row = stage.tick(cutover)
    assert row.state == "stopped"
    assert "app.example.test got other weights" in row.why
    assert sorted(stage.shares("app.example.test")) == sorted(others)
    assert stage.shares("api.example.test") == []


def test_a_hostname_with_weights_is_not_cut_over(stage: Stage) -> None:
    stage.split("app.example.test")
    with pytest.raises(QanatError) as refused:
        stage.begin()
    assert refused.value.code == "cutover_weighted"


@pytest.mark.case(47)
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(status=400, headers={"content-type": "text/html"}), "answered 400"),
        (Answer(status=403, headers={"content-type": "text/html"}), "answered 403"),
        (Answer(status=200, headers={"content-type": "text/plain"}), "text/plain"),
        (REFUSED, "connection refused"),
    ],
)
def test_a_wrong_answer_through_the_target_keeps_the_gate_shut(stage: Stage, answer: Answer, why: str) -> None:
    stage.edge.answers[stage.target] = answer
    before = stage.contents()
    row = stage.tick(stage.begin())
    assert row.state == "refused"
    assert why in row.why
    assert stage.contents() == before
    assert [gate for gate in row.gates if gate["name"] == "request" and gate["passed"] is False]


@pytest.mark.case(47)
def test_the_gate_asks_with_the_public_hostname_through_every_node(stage: Stage) -> None:
    stage.tick(stage.begin(check=Check(path="/up", status=200)))
    asked = {(tunnel, hostname, path) for tunnel, _, hostname, path in stage.edge.asked}
    assert asked == {
        (tunnel, hostname, "/up") for tunnel in (stage.source, stage.target) for hostname in stage.hostnames
    }


def test_a_fenced_node_is_neither_counted_nor_asked_by_the_gates(stage: Stage) -> None:
    made, _ = written(
        stage.store,
        connector_tokens.create,
        stage.sealer,
        account_id=stage.account,
        tunnel_id=stage.target,
        name="old",
        expires_at=None,
    )
    register(stage.store, stage.target, str(uuid4()), token_id=made.id)
    with stage.store.writing(SYSTEM) as write:
        target = write.session.get_one(Tunnel, stage.target)
        nodes.fence(write, target, nodes.find(write.session, target, "old"), by="operator", reason="broken")
    row = stage.tick(stage.begin(least_nodes=2))
    assert (row.state, "1 connections from 1 nodes" in row.why) == ("refused", True)
    stage.edge.asked.clear()
    assert stage.tick(stage.begin()).state == "settling"
    assert {token for tunnel, token, *_ in stage.edge.asked if tunnel == stage.target} == {""}


@pytest.mark.case(47)
def test_refused_connections_take_it_back_within_two_looks(stage: Stage) -> None:
    before = stage.contents()
    cutover = stage.begin()
    stage.tick(cutover)
    stage.tick(cutover, seconds=3)
    stage.edge.answers[stage.target] = REFUSED
    assert stage.tick(cutover, seconds=1).state == "settling"
    row = stage.tick(cutover, seconds=1)
    assert row.state == "rolled_back"
    assert "connection refused" in row.why
    assert stage.contents() == before


@pytest.mark.case(47)
def test_failed_requests_take_it_back_although_probes_are_good(stage: Stage) -> None:
    cutover = stage.begin()
    stage.tick(cutover)
    stage.serve(Counts(requests=20, failed=10))
    row = stage.tick(cutover, seconds=0.5)
    assert row.state == "rolled_back"
    assert row.timeline[-1]["numbers"]["new"] == {"requests": 40, "failed": 20, "hanging": 0, "p95_s": None}
    assert stage.leads_to() == {stage.source}


def test_a_target_that_hangs_takes_it_back_within_five_seconds_whatever_the_plan_allows(stage: Stage) -> None:
    cutover = stage.begin(check=Check(within_s=60.0))
    stage.tick(cutover)
    stage.tick(cutover, seconds=3)
    over = Event()

    def hang(tunnel_id: str, _hostname: str, _check: Check) -> Answer:
        if tunnel_id == stage.target:
            over.wait(30)
        return GOOD

    stage.edge.answering = hang
    try:
        for _ in range(5):
            row = stage.tick(cutover, seconds=1)
            if row.state == "rolled_back":
                break
        assert row.state == "rolled_back"
        assert "no answer within 1.5 s" in row.why
    finally:
        over.set()


def test_a_target_that_lost_its_connections_takes_it_back(stage: Stage) -> None:
    cutover = stage.begin()
    stage.tick(cutover)
    stage.edge.up[stage.target] = 0
    assert stage.tick(cutover, seconds=0.5).state == "rolled_back"


def test_with_both_ill_it_stays_and_says_so_once(stage: Stage) -> None:
    cutover = stage.begin()
    stage.tick(cutover)
    stage.edge.up = {stage.target: 0, stage.source: 0}
    assert stage.tick(cutover, seconds=1, times=5).state == "settling"
    assert stage.events(cutover).count("stays") == 1
    stage.edge.up = {stage.source: 1, stage.target: 0}
    assert stage.tick(cutover, seconds=1).state == "rolled_back"


def test_held_requests_wait_until_it_is_resumed(stage: Stage) -> None:
    cutover = stage.begin(hold=True)
    stage.edge.open[stage.source] = 2
    assert stage.tick(cutover).state == "holding"
    assert stage.edge.held == {cutover: stage.hostnames}
    stage.tick(cutover, seconds=1)
    assert "held" not in stage.events(cutover)
    stage.edge.open[stage.source] = 0
    stage.tick(cutover, seconds=1)
    assert stage.events(cutover)[-1] == "held"
    assert stage.leads_to() == {stage.source}
    written(stage.store, _on(cutovers.resume, stage, cutover))
    assert stage.tick(cutover).state == "settling"
    assert stage.leads_to() == {stage.target}
    assert not stage.edge.held


def test_a_hold_that_nobody_ends_moves_nothing(stage: Stage) -> None:
    cutover = stage.begin(hold=True, hold_s=20.0)
    stage.tick(cutover, times=2)
    assert stage.tick(cutover, seconds=19).state == "holding"
    row = stage.tick(cutover, seconds=2)
    assert row.state == "rolled_back"
    assert "nobody resumed it" in row.why
    assert stage.leads_to() == {stage.source}
    assert not stage.edge.held


def test_a_hold_ends_with_its_edge(stage: Stage) -> None:
    cutover = stage.begin(hold=True)
    stage.tick(cutover, times=2)
    stage.restart()
    assert stage.tick(cutover).state == "rolled_back"
    assert stage.leads_to() == {stage.source}


def test_an_edge_that_was_started_anew_waits_for_its_connectors_before_it_judges(stage: Stage) -> None:
    cutover = stage.begin()
    stage.tick(cutover, times=2)
    stage.restart()
    stage.edge.up[stage.target] = 0
    stage.serve(Counts(requests=20, failed=20))
    assert stage.tick(cutover, seconds=5, times=2).state == "settling"
    stage.serve(Counts())
    stage.edge.up[stage.target] = 4
    assert stage.tick(cutover, seconds=1).state == "settling"
    stage.restart()
    stage.edge.up[stage.target] = 0
    stage.tick(cutover)
    assert stage.tick(cutover, seconds=16, times=1).state == "rolled_back"


def test_paused_it_takes_no_step_but_is_watched(stage: Stage) -> None:
    cutover = stage.begin()
    stage.tick(cutover)
    written(stage.store, _on(cutovers.pause, stage, cutover))
    stage.serve(Counts(requests=200, p95_s=0.1))
    assert stage.tick(cutover, seconds=60).state == "settling"
    stage.edge.answers[stage.target] = REFUSED
    assert stage.tick(cutover, seconds=1, times=2).state == "rolled_back"


def test_rolled_back_by_hand_after_it_was_done(stage: Stage) -> None:
    before = stage.contents()
    cutover = stage.begin(rule=Rule(step_s=0, least_requests=0))
    stage.tick(cutover, times=2)
    assert stage.row(cutover).state == "done"
    written(stage.store, _on(cutovers.roll_back, stage, cutover, "asked", asked=True))
    assert stage.row(cutover).state == "rolled_back"
    assert stage.contents() == before
    with pytest.raises(QanatError) as refused:
        written(stage.store, _on(cutovers.roll_back, stage, cutover, "again", asked=True))
    assert refused.value.code == "cutover_over"


def test_what_others_changed_since_is_not_rolled_back_over(stage: Stage) -> None:
    cutover = stage.begin(rule=Rule(step_s=0, least_requests=0))
    stage.tick(cutover, times=2)
    record = stage.records()[0]
    written(stage.store, records.change, stage.zone.id, record.id, RecordChange({"comment": "x"}), reach=EVERYTHING)
    with pytest.raises(QanatError) as refused:
        written(stage.store, _on(cutovers.roll_back, stage, cutover, "asked", asked=True))
    assert refused.value.code == "cutover_changed"
    assert stage.leads_to() == {stage.target}


@pytest.mark.parametrize("change", ["renamed", "deleted", "repointed", "commented"])
def test_a_record_that_others_change_meanwhile_stops_it_and_the_rest_goes_back(stage: Stage, change: str) -> None:
    cutover = stage.begin()
    stage.tick(cutover)
    api, app = stage.records()
    third = stage.tunnel("three")
    match change:
        case "deleted":
            written(stage.store, records.delete, stage.zone.id, app.id, reach=EVERYTHING)
        case _:
            given = {
                "renamed": {"name": "www"},
                "repointed": {"content": f"{third}.cfargotunnel.com"},
                "commented": {"comment": "mine"},
            }[change]
            written(stage.store, records.change, stage.zone.id, app.id, RecordChange(given), reach=EVERYTHING)
    row = stage.tick(cutover)
    assert row.state == "stopped"
    assert "app.example.test was" in row.why
    assert {record.name: record.tunnel_id for record in stage.records()}["api.example.test"] == stage.source
    assert api.name == "api.example.test"


def test_a_target_that_is_deleted_before_the_gates_are_asked_is_refused(stage: Stage) -> None:
    cutover = stage.begin()
    written(
        stage.store, tunnels.delete, account_id=stage.account, tunnel_id=stage.target, cascade=True, disconnects=True
    )
    assert stage.tick(cutover).state == "refused"


def test_websockets_are_cut_after_their_time_when_asked(stage: Stage) -> None:
    cutover = stage.begin(websockets="cut", drain_s=40.0, rule=Rule(step_s=1, least_requests=0))
    stage.tick(cutover, times=2)
    assert stage.tick(cutover, seconds=30).state == "settling"
    assert not stage.edge.cut
    stage.tick(cutover, seconds=11)
    assert stage.edge.cut == [stage.source]
    assert stage.tick(cutover).state == "done"


def test_websockets_of_other_hostnames_are_not_cut(stage: Stage) -> None:
    stage.route("other.example.test", stage.source)
    with pytest.raises(QanatError) as refused:
        stage.begin(websockets="cut")
    assert (refused.value.code, refused.value.where) == ("cutover_bad_plan", "websockets")


def test_a_clock_that_jumps_makes_no_step_shorter(stage: Stage) -> None:
    cutover = stage.begin()
    stage.tick(cutover)
    stage.now.clock.move(seconds=3600)
    assert stage.tick(cutover).state == "settling"


@pytest.mark.case(47)
def test_two_at_once_on_one_hostname_one_wins_and_the_other_learns_the_version(stage: Stage) -> None:
    with stage.store.reading() as session:
        _, _, places = cutovers.ready(session, stage.account, stage.plan(), reach=EVERYTHING)
        version = cutovers.version_of(session, stage.account, places)
    first = stage.begin(base_version=version)
    with pytest.raises(QanatError) as refused:
        stage.begin(base_version=version)
    assert refused.value.code == "cutover_under_way"
    assert f"{first}, at version 1" in refused.value.message
    stage.edge.answers[stage.target] = REFUSED
    stage.tick(first)
    with pytest.raises(QanatError) as refused:
        stage.begin(base_version=version)
    assert refused.value.code == "cutover_stale"
    assert "their version is" in refused.value.message


def test_the_database_away_leaves_it_where_it_is(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    cutover = stage.begin()
    stage.tick(cutover)
    stage.edge.answers[stage.target] = REFUSED
    stage.tick(cutover, seconds=1)

    def away(*_: Any) -> Any:
        raise QanatError("store_unavailable", "the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(stage.store, "writing", away)
        for _ in range(3):
            stage.now.move(1)
            with pytest.raises(QanatError):
                stage.course(cutover).tick()
    assert stage.leads_to() == {stage.target}
    assert stage.tick(cutover, seconds=1).state == "rolled_back"
    assert stage.leads_to() == {stage.source}


def _on(act: Any, stage: Stage, cutover_id: str, *given: Any, **more: Any) -> Any:
    return lambda write: act(write, cutovers.get(write.session, stage.account, cutover_id), *given, **more)


class Repointed:
    """A record that other hands repointed, and its watch."""

    def __init__(self, stage: Stage, watch: watches.Watch) -> None:
        self.stage = stage
        (self.hostname, *_) = stage.hostnames
        with stage.store.reading() as session:
            place = records_of.find(session, stage.account, self.hostname, reach=EVERYTHING)
        gate = request_gate(
            Plan(from_tunnel=stage.source, to_tunnel=stage.target, hostnames=(self.hostname,)),
            self.hostname,
            {"default": GOOD},
            GOOD,
        )
        with stage.store.reading() as session:
            before = watches.note(session, place.record.id)
        self.repoint(stage.target)
        move = watches.Moved(
            account_id=stage.account,
            zone_id=stage.zone.id,
            record_id=place.record.id,
            hostname=self.hostname,
            from_tunnel=stage.source,
            to_tunnel=stage.target,
            before=before,
            gate=gate,
            check=Check(status=200),
        )
        watches.begin(stage.store, stage.edge, SYSTEM, [move], watch=watch)
        with stage.store.reading() as session:
            self.ids = cutovers.under_way(session)

    def repoint(self, tunnel_id: str) -> None:
        change = RecordChange({"content": f"{tunnel_id}.cfargotunnel.com"})
        with self.stage.store.reading() as session:
            record_id = records_of.find(session, self.stage.account, self.hostname, reach=EVERYTHING).record.id
        written(self.stage.store, records.change, self.stage.zone.id, record_id, change, reach=EVERYTHING)


def test_a_record_that_others_repointed_is_watched_and_a_broken_target_told_and_left(stage: Stage) -> None:
    (watched,) = Repointed(stage, "report").ids
    assert stage.tick(watched, seconds=1).state == "settling"
    moved = stage.contents()
    stage.edge.answers[stage.target] = REFUSED
    row = stage.tick(watched, seconds=1, times=2)
    assert (row.state, "connection refused" in row.why) == ("broken", True)
    assert stage.contents() == moved, "whoever keeps the record elsewhere finds it as it was made"
    assert stage.events(watched) == ["watch", "broken"]
    with stage.store.writing(SYSTEM) as write:
        cutovers.roll_back(write, cutovers.get(write.session, stage.account, watched), "by hand", asked=True)
    assert stage.leads_to() == {stage.source}


def test_where_it_is_set_so_a_repointed_record_goes_back_by_itself(stage: Stage) -> None:
    before = stage.contents()
    (watched,) = Repointed(stage, "rollback").ids
    stage.edge.answers[stage.target] = REFUSED
    assert stage.tick(watched, seconds=1, times=2).state == "rolled_back"
    assert stage.contents() == before
    assert Repointed(stage, "off").ids == []


def test_a_watch_stands_in_nobodys_way_and_ends_when_the_record_changes_again(stage: Stage) -> None:
    repointed = Repointed(stage, "rollback")
    (watched,) = repointed.ids
    stage.tick(watched, seconds=1)
    with stage.store.reading() as session:
        third = Plan(from_tunnel=stage.target, to_tunnel=stage.source, hostnames=(repointed.hostname,))
        cutovers.ready(session, stage.account, third, reach=EVERYTHING)
    repointed.repoint(stage.source)
    before = stage.contents()
    row = stage.tick(watched, seconds=1)
    assert (row.state, "was changed" in row.why) == ("stopped", True)
    assert stage.contents() == before


def test_a_repointed_record_whose_target_stays_well_is_done(stage: Stage) -> None:
    (watched,) = Repointed(stage, "report").ids
    stage.serve(Counts(requests=200, p95_s=0.1))
    stage.tick(watched, seconds=1)
    assert stage.tick(watched, seconds=31).state == "done"
