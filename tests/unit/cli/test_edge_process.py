"""Which edge `qanat edge upgrade` and `drain` mean. What they do: tests/process/test_edge_upgrade.py."""

from pathlib import Path

import pytest

from qanat.cli import edge_process
from qanat.cli.main import main
from qanat.errors import QanatError
from qanat.succession.local_socket import Running

ONE, TWO, ELSES = Running(11, "a", "edge"), Running(22, "b", "edge"), Running(33, "c", "edge")


@pytest.fixture(autouse=True)
def _directories(monkeypatch: pytest.MonkeyPatch) -> None:
    of = {11: "/var/lib/one", 22: "/var/lib/two", 33: ""}
    monkeypatch.setattr(edge_process, "_data_dir", lambda edge: of[edge.pid])


@pytest.mark.parametrize(
    ("found", "pid", "data_dir", "meant"),
    [([ONE], None, None, ONE), ([ONE, TWO], 22, None, TWO), ([ONE, TWO, ELSES], None, Path("/var/lib/two"), TWO)],
)
def test_one_is_meant_or_named(found: list[Running], pid: int | None, data_dir: Path | None, meant: Running) -> None:
    assert edge_process.chosen(found, pid, data_dir) == meant


@pytest.mark.parametrize(
    ("found", "pid", "code", "text"),
    [
        ([], None, "edge_not_running", "running: none"),
        ([ONE, TWO], 33, "edge_not_running", "running: 11, 22"),
        ([ONE, ELSES], None, "edge_ambiguous", "11 (/var/lib/one), 33 (of another user)"),
    ],
)
def test_else_it_says_what_runs(found: list[Running], pid: int | None, code: str, text: str) -> None:
    with pytest.raises(QanatError) as refused:
        edge_process.chosen(found, pid, None)
    assert refused.value.code == code
    assert text in refused.value.message


@pytest.mark.parametrize("command", ["upgrade", "drain"])
def test_without_an_edge_it_is_one_line_and_a_status(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edge_process, "running", lambda _kind: [])
    assert main(["edge", command]) == 1
    assert capsys.readouterr().err.startswith("error[edge_not_running]: no such edge runs on this host")
