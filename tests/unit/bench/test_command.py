"""What a bench of its own leaves: a document with the machine's facts, or a reason and nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import command, dashboard
from bench.command import Measured
from bench.processes import BenchError


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "facts", lambda stock: {"cores": 2, "cloudflared": stock})
    monkeypatch.setattr(command, "quiet", lambda anyway: 0.0 if anyway else 0.01)


def run(out: Path, found: Any, *arguments: str, **more: Any) -> int:
    chosen = command.switches("thing", None, smoke="small").parse_args(["--out", str(out), *arguments])
    return command.told("thing", chosen, found, **more)


def test_a_run_leaves_its_document_with_the_machine_and_its_own_code(tmp_path: Path) -> None:
    def found() -> Measured:
        return {"figures": {"n": 1}}, 2

    assert run(tmp_path / "new", found) == 2
    document = json.loads((tmp_path / "new" / "thing.json").read_text())
    assert document["figures"] == {"n": 1}
    machine = document["machine"]
    assert (machine["cores"], machine["busy_before"]) == (2, 0.01)
    assert {"steal_share", "seconds"} <= set(machine)
    assert run(tmp_path / "none", found, "--smoke") == 2
    assert not (tmp_path / "none").exists()


def test_a_run_that_is_worth_nothing_says_why_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def found() -> Measured:
        raise BenchError("wrk failed")

    assert run(tmp_path, found) == 1
    assert "wrk failed" in capsys.readouterr().err
    assert run(tmp_path, lambda: ({}, 0), stock=str(tmp_path / "away")) == 1
    assert "names no program" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_above_its_bound_or_was_not_measured_is_missed() -> None:
    within: dict[str, Any] = dict(dashboard.MOST)
    assert dashboard.missed(within) == []
    assert dashboard.missed({**within, "interactive_p50_ms": None}) == ["interactive_p50_ms"]
    assert dashboard.missed({**within, "dashboards_core_share": 0.051}) == ["dashboards_core_share"]
