"""`qanat cutover …` as a person calls it: against an edge that takes cutovers on, and against the standard endpoints alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from qanat.cli import cutover as commands
from qanat.cli.main import main
from qanat.cutover import cutovers
from qanat.cutover.answers import Answer
from qanat.cutover.gates import CertificateSeen
from qanat.cutover.hosted import Hosted, load
from qanat.cutover.machine import State
from qanat.cutover.plan import Check, Plan
from qanat.edge.cutover_runner import CutoverRunner
from qanat.store import SYSTEM
from tests.support.control import Control, running_control
from tests.support.cutovers import GOOD, REFUSED, FakeCutoverEdge
from tests.support.links import register
from tests.support.waiting import wait_until

QUICK = ["--watch", "0", "--requests", "0"]


class Desk:
    """Two tunnels, and a hostname on the first one."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.source, self.target = self.tunnel("one"), self.tunnel("two")
        self.zone = control.create_zone()["id"]
        self.record = control.create_record(
            self.zone,
            type="CNAME",
            name="app",
            content=f"{self.source}.cfargotunnel.com",
            proxied=True,
            comment="ours",
            tags=["team:web"],
        )

    def tunnel(self, name: str) -> str:
        made: str = self.control.create_tunnel(name)["id"]
        ingress = [{"hostname": "app.example.test", "service": "http://127.0.0.1:1"}, {"service": "http_status:404"}]
        self.control.call("PUT", f"{self.control.tunnels()}/{made}/configurations", {"config": {"ingress": ingress}})
        register(self.control.store, made, str(uuid4()))
        return made

    def shown(self) -> dict[str, Any]:
        record = self.control.call("GET", f"/zones/{self.zone}/dns_records/{self.record['id']}")
        return {**record, "modified_on": None}

    def leads_to(self) -> str:
        return str(self.shown()["content"]).partition(".")[0]


def cutover(act: str, *more: str) -> int:
    return main(["cutover", act, "app.example.test", "--from", "one", "--to", "two", *more])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr("qanat.edge.cutover_runner.LOOK_EVERY_S", 0.02)
    monkeypatch.setattr("qanat.cutover.watching.EVERY_S", 0.02)


class TestOurs:
    @pytest.fixture
    def edge(self, at_control: Control) -> Iterator[FakeCutoverEdge]:
        edge = FakeCutoverEdge()
        at_control.context.cutover_edge = edge
        runner = CutoverRunner(at_control.store, edge)
        runner.start()
        yield edge
        runner.stop()

    @pytest.fixture
    def desk(self, at_control: Control) -> Desk:
        return Desk(at_control)

    def test_planned_applied_shown_and_rolled_back(
        self, desk: Desk, edge: FakeCutoverEdge, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = desk.shown()
        assert cutover("plan", "--path", "/up", "--status", "200") == 0
        told = capsys.readouterr()
        assert "answered 200" in told.out
        version = told.err.split()[-1]
        assert cutover("apply", *QUICK, "--base-version", version) == 0
        assert desk.leads_to() == desk.target
        told = capsys.readouterr()
        assert [line.split()[1] for line in told.out.splitlines()] == ["begin", "repoint", "finish"]
        assert main(["cutover", "history", "app.example.test", "--output", "json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert main(["cutover", "status", row["id"]]) == 0
        assert "100 % on the target" in capsys.readouterr().out
        assert main(["cutover", "rollback", row["id"]]) == 0
        assert desk.shown() == before

    def test_refused_and_taken_back_end_with_1_and_the_reason(
        self, desk: Desk, edge: FakeCutoverEdge, capsys: pytest.CaptureFixture[str]
    ) -> None:
        edge.answers[desk.target] = REFUSED
        assert cutover("plan") == 1
        assert cutover("apply") == 1
        assert "error[cutover_refused]: request of app.example.test" in capsys.readouterr().err
        del edge.answers[desk.target]
        edge.answering = lambda tunnel, _host, _check: REFUSED if desk.leads_to() == desk.target == tunnel else GOOD
        assert cutover("apply") == 1
        assert "error[cutover_rolled_back]: 2 probes of app.example.test in a row failed" in capsys.readouterr().err
        assert desk.leads_to() == desk.source

    def test_a_command_runs_while_requests_wait(
        self, desk: Desk, edge: FakeCutoverEdge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cutover("apply", "--pause", "--run", "exit 3", *QUICK) == 1
        assert "ended with 3" in capsys.readouterr().err
        assert desk.leads_to() == desk.source
        wait_until(lambda: not edge.held, "the requests to go on")
        promoted = tmp_path / "promoted"
        assert cutover("apply", "--pause", "--run", f"touch {promoted}", *QUICK) == 0
        assert promoted.exists()
        assert desk.leads_to() == desk.target
        wait_until(lambda: not edge.held, "the requests to go on")

    def test_without_an_id_what_is_only_watched_is_not_meant(
        self, desk: Desk, at_control: Control, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nobody moves them here: no runner looks at them."""
        at_control.context.cutover_edge = FakeCutoverEdge()
        kept = {"zone_id": desk.zone, "record_id": desk.record["id"], "version": "1", "before": {}}
        with at_control.store.writing(SYSTEM) as write:
            watch = Plan(
                from_tunnel=desk.source, to_tunnel=desk.target, hostnames=("app.example.test",), watch="report"
            )
            row = cutovers.new(
                write,
                State.SETTLING,
                watch,
                {"app.example.test": kept},
                account_id=at_control.account,
                between=(desk.source, desk.target),
                asked_by="test",
            )
            cutovers.add(write, row, "watch", "its record was repointed")
        for act in ("rollback", "pause", "resume"):
            assert main(["cutover", act]) == 3
            told = capsys.readouterr().err
            assert "no cutovers are under way, and 1 repointed record is watched" in told
        desk.control.create_record(
            desk.zone, type="CNAME", name="other", content=f"{desk.source}.cfargotunnel.com", proxied=True
        )
        assert main(["cutover", "apply", "other.example.test", "--from", "one", "--to", "two", "--detach"]) == 0
        assert main(["cutover", "rollback"]) == 0
        states = {
            tuple(each["hostnames"]): each["state"]
            for each in at_control.call("GET", f"/accounts/{at_control.account}/qanat/cutovers")
        }
        assert states == {("app.example.test",): "settling", ("other.example.test",): "rolled_back"}

    def test_policy_and_quarantine(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["zone", "cutover-policy", "example.test", "warn"]) == 0
        assert main(["zone", "cutover-policy", "example.test"]) == 0
        assert "example.test: warn" in capsys.readouterr().out
        assert main(["zone", "cutover-policy", "example.test", "default"]) == 0
        desk.control.create_tunnel("dead")
        assert main(["record", "change", "app.example.test", "--tunnel", "dead"]) == 1
        assert "has no connections" in capsys.readouterr().err
        assert main(["record", "change", "app.example.test", "--tunnel", "dead", "--cutover-policy", "off"]) == 0
        assert main(["tunnel", "delete", "dead"]) == 0
        capsys.readouterr()
        assert main(["record", "quarantined"]) == 0
        assert "app.example.test" in capsys.readouterr().out


class Names:
    """Public names that lead where the records say, to answers of the test's making."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.answers = {desk.source: GOOD, desk.target: GOOD}

    def ask(self, hostname: str, check: Check, *, timeout_s: float) -> Answer:
        return self.answers[self.desk.leads_to()]

    def certificate(self, hostname: str, *, timeout_s: float) -> CertificateSeen:
        return CertificateSeen(names=[hostname], not_after=None)

    def resolve(self, hostname: str) -> list[str]:
        return ["192.0.2.1"]


class TestStandardEndpointsAlone:
    @pytest.fixture
    def control(self, tmp_path: Path) -> Iterator[Control]:
        with running_control(tmp_path, own_endpoints=False) as running:
            yield running

    @pytest.fixture
    def desk(self, at_control: Control) -> Desk:
        return Desk(at_control)

    @pytest.fixture
    def names(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Names:
        names = Names(desk)
        monkeypatch.setattr("qanat.cutover.public_name.PublicName", lambda **_: names)
        monkeypatch.setattr("qanat.cutover.hosted.ASK_EVERY_S", 0.0)
        return names

    def test_the_same_plan_move_and_rollback(
        self, desk: Desk, names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = desk.shown()
        state = ["--state-file", str(tmp_path / "kept" / "state.json")]
        assert cutover("plan") == 0
        assert "needs an edge of qanat's" in capsys.readouterr().out
        assert cutover("apply", "--watch", "0", *state) == 0
        assert desk.leads_to() == desk.target
        assert main(["cutover", "status", *state]) == 0
        assert "the public names answer as before" in capsys.readouterr().out
        assert main(["cutover", "rollback", *state]) == 0
        assert desk.shown() == before

    def test_a_target_that_fails_after_the_move_is_taken_back(
        self, desk: Desk, names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = desk.shown()
        names.answers[desk.target] = Answer(status=502, duration_s=0.01)
        assert cutover("apply", "--state-file", str(tmp_path / "state.json")) == 1
        assert "error[cutover_rolled_back]" in capsys.readouterr().err
        assert desk.shown() == before

    def test_what_needs_an_edge_says_so(self, desk: Desk, names: Names, capsys: pytest.CaptureFixture[str]) -> None:
        for more in (["--steps", "gradual"], ["--pause"], ["--websockets", "cut"]):
            assert cutover("plan", *more) == 1
            assert "error[cutover_needs_edge]" in capsys.readouterr().err

    def test_gates_are_shut_by_what_the_api_knows(
        self, desk: Desk, names: Names, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ingress = {"config": {"ingress": [{"service": "http://127.0.0.1:1"}]}}
        desk.control.call("PUT", f"{desk.control.tunnels()}/{desk.target}/configurations", ingress)
        assert cutover("apply", "--connections", "2") == 1
        told = capsys.readouterr().err
        assert "1 connections from 1 nodes; 2 from 1 are needed" in told
        assert "only the catch-all" in told
        assert desk.leads_to() == desk.source

    @pytest.mark.case(47)
    def test_broken_off_after_the_move_it_is_finished_or_taken_back(
        self, desk: Desk, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "state.json"
        state = ["--state-file", str(file)]

        def killed(*_: Any, **__: Any) -> None:
            raise SystemExit(137)

        with monkeypatch.context() as patched:
            patched.setattr(Hosted, "_watch", killed)
            assert cutover("apply", *state) == 137
        kept = load(file)
        assert kept is not None
        assert kept.state == "settling"
        assert cutover("apply", *state) == 1
        assert main(["cutover", "rollback", *state]) == 0
        assert desk.leads_to() == desk.source
        with monkeypatch.context() as patched:
            patched.setattr(Hosted, "_write", killed)
            assert cutover("apply", *state, "--watch", "0") == 137
        assert desk.leads_to() == desk.source
        assert main(["cutover", "resume", *state]) == 0
        assert desk.leads_to() == desk.target

    def test_what_others_changed_is_not_written_over(
        self, desk: Desk, names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        state = ["--state-file", str(tmp_path / "state.json")]
        assert cutover("apply", "--watch", "0", *state) == 0
        third = desk.tunnel("three")
        path = f"/zones/{desk.zone}/dns_records/{desk.record['id']}"
        desk.control.call("PATCH", path, {"content": f"{third}.cfargotunnel.com"})
        assert main(["cutover", "rollback", *state]) == 1
        assert "error[cutover_changed]" in capsys.readouterr().err
        assert desk.leads_to() == third
