"""Which connector `qanat service upgrade` means. What it does: tests/process/test_upgrade.py."""

import pytest

from qanat.cli.main import main
from qanat.cli.service import upgrade
from qanat.errors import QanatError
from qanat.succession.local_socket import Running

ONE, TWO = Running(11, "a"), Running(22, "b")


@pytest.mark.parametrize(
    ("found", "pid", "every", "chosen"),
    [([ONE], None, False, [ONE]), ([ONE, TWO], 22, False, [TWO]), ([ONE, TWO], None, True, [ONE, TWO])],
)
def test_one_is_meant_or_named_or_all(
    found: list[Running], pid: int | None, every: bool, chosen: list[Running]
) -> None:
    assert upgrade.chosen(found, pid, every=every) == chosen


@pytest.mark.parametrize(
    ("found", "pid", "code", "text"),
    [
        ([], None, "connector_not_running", "no connector runs on this host"),
        ([ONE, TWO], 33, "connector_not_running", "running: 11, 22"),
        ([ONE, TWO], None, "connector_ambiguous", "11 (another user's), 22 (another user's)"),
    ],
)
def test_else_it_says_what_runs(found: list[Running], pid: int | None, code: str, text: str) -> None:
    with pytest.raises(QanatError) as refused:
        upgrade.chosen(found, pid, every=False)
    assert refused.value.code == code
    assert text in refused.value.message


def test_an_unknown_process_is_one_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "upgrade", "--pid", "1"]) == 1
    assert capsys.readouterr().err.startswith(
        "error[connector_not_running]: --pid: no connector of process 1 runs here"
    )
