import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from qanat.connector import file_watch
from qanat.connector.file_watch import FileWatch, deciding_folders
from tests.support.waiting import wait_until


@contextmanager
def watched(path: Path) -> Iterator[tuple[FileWatch, list[str]]]:
    """A thread that reads the file whenever the watch says so, from the start on; what it has read."""
    watch = FileWatch(str(path))
    seen = [path.read_text()]
    over = threading.Event()

    def look() -> None:
        while True:
            asked = watch.wait()
            if over.is_set():
                return
            seen.append("asked" if asked else path.read_text() if path.exists() else "gone")

    thread = threading.Thread(target=look)
    thread.start()
    yield watch, seen
    over.set()
    watch.wake()
    thread.join()


def is_last(seen: list[str], text: str) -> bool:
    return seen[-1] == text


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def by_way_of_nothing(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize("change", [in_place, by_rename, by_way_of_nothing])
@pytest.mark.parametrize("inotify", [True, False], ids=["inotify", "looking"])
def test_every_way_to_change_a_file_is_noticed_again_and_again(
    tmp_path: Path, change: Callable[[Path, str], None], inotify: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not inotify:
        monkeypatch.setattr(file_watch, "_listen", lambda _path: -1)
        monkeypatch.setattr(file_watch, "LOOK_S", 0.01)
    path = tmp_path / "config.yml"
    path.write_text("0")
    with watched(path) as (_, seen):
        for round_ in ("one", "two", "three"):
            change(path, round_)
            wait_until(partial(is_last, seen, round_), f"{round_}, not {seen}")


def test_a_link_that_is_turned_is_noticed_as_kubernetes_turns_it(tmp_path: Path) -> None:
    """config.yml → ..data/config.yml, ..data → a folder of its own for each version."""

    def publish(version: str) -> None:
        folder = tmp_path / f"..{version}"
        folder.mkdir()
        (folder / "config.yml").write_text(version)
        (tmp_path / "..data_tmp").symlink_to(folder.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    publish("v0")
    (tmp_path / "config.yml").symlink_to("..data/config.yml")
    with watched(tmp_path / "config.yml") as (_, seen):
        for version in ("v1", "v2", "v3"):
            publish(version)
            wait_until(partial(is_last, seen, version), f"{version}, not {seen}")


def test_of_many_changes_the_last_one_is_read_last_and_no_descriptor_is_left(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("0")
    with watched(path) as (_, seen):
        before = len(os.listdir("/proc/self/fd"))
        for number in range(100):
            by_rename(path, str(number))
        wait_until(lambda: seen[-1] == "99", "the last one")
        assert len(os.listdir("/proc/self/fd")) <= before
    assert len(seen) < 90


def test_who_asks_is_told_from_what_changed(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("0")
    with watched(path) as (watch, seen):
        watch.wake()
        wait_until(lambda: seen[-1] == "asked", "the question")
        path.unlink()
        wait_until(lambda: seen[-1] == "gone", "the loss")


def test_folders_on_the_way_to_a_file_are_those_of_its_links_and_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "a" / "f").symlink_to("../g")
    (tmp_path / "g").write_text("")
    above = deciding_folders(str(tmp_path / "g")) - {str(tmp_path)}
    assert deciding_folders(str(tmp_path / "b" / "f")) - above == {str(tmp_path), str(tmp_path / "a")}
    (tmp_path / "loop").symlink_to("loop")
    assert str(tmp_path) in deciding_folders(str(tmp_path / "loop"))
