"""The file of --log-directory, as stock's: its name, when it begins anew, how many are kept."""

from pathlib import Path

import pytest

from qanat.connector.log_file import LARGEST, MOST_KEPT, RollingFile

LINE = "x" * 99 + "\n"


def test_a_file_begins_anew_before_it_grows_too_large_and_no_line_is_lost(tmp_path: Path) -> None:
    file = RollingFile(str(tmp_path / "a" / "logs"), largest=1000, clock=lambda: 1_790_000_000.123)
    for number in range(25):
        file.write(f"{number:02}{LINE[2:]}")
    file.close()
    names = sorted(each.name for each in (tmp_path / "a" / "logs").iterdir())
    assert names == [
        "cloudflared-2026-09-21T14-13-20.123.log",
        "cloudflared-2026-09-21T14-13-20.124.log",
        "cloudflared.log",
    ]
    texts = [(tmp_path / "a" / "logs" / name).read_text() for name in names]
    assert [len(text) for text in texts] == [1000, 1000, 500]
    assert [int(line[:2]) for line in "".join(texts).splitlines()] == list(range(25))


def test_the_last_five_are_kept_and_other_files_of_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "cloudflared-old.log").write_text("mine")
    file = RollingFile(str(tmp_path), largest=100, clock=lambda: 1_790_000_000.0)
    for _ in range(20):
        file.write(LINE)
    file.close()
    kept = [each.name for each in tmp_path.iterdir() if each.name.startswith("cloudflared-2")]
    assert len(kept) == MOST_KEPT
    assert (tmp_path / "cloudflared-old.log").read_text() == "mine"


def test_an_earlier_runs_file_is_written_on(tmp_path: Path) -> None:
    (tmp_path / "cloudflared.log").write_text("before\n")
    file = RollingFile(str(tmp_path))
    file.write("after\n")
    file.close()
    assert (tmp_path / "cloudflared.log").read_text() == "before\nafter\n"
    assert LARGEST == 1 << 20


def test_a_line_longer_than_a_file_is_whole(tmp_path: Path) -> None:
    file = RollingFile(str(tmp_path), largest=10)
    for _ in range(2):
        file.write(LINE)
    file.close()
    assert (tmp_path / "cloudflared.log").read_text() == LINE


def test_a_folder_that_cant_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        RollingFile(str(tmp_path / "file" / "logs"))
