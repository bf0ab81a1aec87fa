import errno
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from qanat.edge.events import Repetitions
from qanat.edge.failures import Failures
from tests.support.failed import failed_request


def test_the_oldest_makes_room() -> None:
    failures = Failures(kept=3)
    for number in range(5):
        failures.add(failed_request(request_id=str(number)))
    assert [failures.get(str(number)) is not None for number in range(5)] == [False, False, True, True, True]


def test_a_failure_is_found_after_a_restart_and_with_its_hops(tmp_path: Path) -> None:
    before = Failures(file=tmp_path / "failed.jsonl")
    before.add(failed_request(request_id="old", hops=[("edge", 0.0, 0.25, "no_connection")]))
    before.write()
    after = Failures(file=tmp_path / "failed.jsonl")
    after.add(failed_request(request_id="new"))
    found = after.get("old")
    assert found is not None
    assert [tuple(hop) for hop in found.hops] == [("edge", 0.0, 0.25, "no_connection")]
    assert after.get("new") is not None
    assert after.get("none") is None
    assert (tmp_path / "failed.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_file_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    file = tmp_path / "failed.jsonl"
    failures = Failures(kept=3, file=file)
    for number in range(20):
        failures.add(failed_request(request_id=str(number)))
        failures.write()
        assert len(file.read_bytes().splitlines()) <= 6
    again = Failures(kept=3, file=file)
    assert [number for number in range(20) if again.get(str(number)) is not None] == [17, 18, 19]


def test_a_line_that_is_cut_or_of_another_version_costs_only_itself(tmp_path: Path) -> None:
    file = tmp_path / "failed.jsonl"
    written = Failures(file=file)
    written.add(failed_request(request_id="whole"))
    written.write()
    file.write_bytes(b'{"request_id": "other", "more": 1}\n[]\n{"request_id": "cu\n' + file.read_bytes())
    again = Failures(file=file)
    assert again.get("whole") is not None
    assert again.get("other") is None


def test_a_full_disk_is_told_once_and_the_memory_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = Failures(file=tmp_path / "failed.jsonl")

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("qanat.edge.failures.os.open", full)
    with structlog.testing.capture_logs() as lines:
        for number in range(3):
            failures.add(failed_request(request_id=str(number)))
            failures.write()
    assert [line["reason"] for line in lines] == ["No space left on device"]
    assert failures.get("2") is not None


def test_one_of_many_equal_refusals_is_told() -> None:
    repetitions = Repetitions(every_s=3600, most=2)
    assert repetitions.seen("a") == 0
    assert repetitions.seen("a") is None
    assert repetitions.seen("b") == 0
    assert repetitions.seen("c") == 0
    assert repetitions.seen("a") == 0


def test_how_many_were_held_back_is_told_with_the_next() -> None:
    repetitions = Repetitions(every_s=0)
    assert repetitions.seen("a") == 0
    assert repetitions.seen("a") == 0
