"""`pytest --workers`: what a run side by side says is what a run one by one says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(folder: Path, tests: str, *arguments: str) -> tuple[int, str]:
    """Exit status and output of `pytest --workers 2` over two files of these tests."""
    for name in ("test_first.py", "test_second.py"):
        (folder / name).write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.side_by_side", "--workers", "2", "-q", "-ra"]
    command += [
        "-p",
        "no:cacheprovider",
        f"--rootdir={folder}",
        f"--basetemp={folder / 'tmp'}",
        *arguments,
        str(folder),
    ]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they would be loaded for seconds
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_each_test_runs_once_and_all_are_told(tmp_path: Path) -> None:
    status, said = run(
        tmp_path,
        """
import pathlib, pytest

@pytest.fixture(scope="module")
def made(request):
    yield
    (pathlib.Path(__file__).parent / f"{request.module.__name__}.torn").touch(exist_ok=False)

@pytest.mark.parametrize("number", range(100))
def test_passes(number, tmp_path, made):
    with open(f"{__file__}.ran", "a") as file:
        file.write(f"{number}\\n")

@pytest.mark.skip(reason="not here")
def test_is_skipped():
    pass

def test_fails():
    print("a word in between")
    assert 1 == 2

def test_warns():
    import warnings
    warnings.warn("beware")
""",
        "-k",
        "not nothing",
    )
    assert status == 1, said
    assert "2 failed, 202 passed, 2 skipped, 2 warnings" in said
    assert "assert 1 == 2" in said and "a word in between" in said and "not here" in said and "beware" in said
    for name in ("test_first.py", "test_second.py"):
        assert sorted(map(int, (tmp_path / f"{name}.ran").read_text().split())) == list(range(100))
    assert len(list(tmp_path.glob("*.torn"))) == 2


def test_a_worker_that_dies_fails_its_test_and_the_others_run(tmp_path: Path) -> None:
    status, said = run(
        tmp_path,
        """
import os, signal

def test_before():
    pass

def test_dies():
    os.kill(os.getpid(), signal.SIGKILL)

def test_after():
    pass
""",
    )
    assert status == 1, said
    assert "2 failed, 4 passed" in said
    assert said.count("the worker that ran it ended with -9") >= 2


@pytest.mark.parametrize("way", ["pytest.exit('enough')", "os.kill(os.getppid(), signal.SIGINT)"])
def test_who_ends_the_run_ends_it_in_every_worker(tmp_path: Path, way: str) -> None:
    status, said = run(
        tmp_path,
        f"""
import os, pathlib, signal, time, pytest

FOLDER = pathlib.Path(__file__).parent

@pytest.fixture
def made():
    (FOLDER / f"made{{os.getpid()}}").touch()
    while len(list(FOLDER.glob("made*"))) < 2:
        time.sleep(0.01)
    yield
    (FOLDER / f"torn{{os.getpid()}}").touch()

def test_ends(made):
    if "second" in __file__:
        {way}

def test_is_given_with_it():
    pass
""",
    )
    assert status in (1, 2), said
    assert "enough" in said or "KeyboardInterrupt" in said
    assert len(list(tmp_path.glob("torn*"))) == 2


def test_the_first_failure_is_the_last_where_that_was_asked_for(tmp_path: Path) -> None:
    status, said = run(tmp_path, "\n".join(f"def test_{n}():\n    assert not {n}\n" for n in range(100)), "-x")
    assert status == 1, said
    assert "1 failed" in said and "stopping after 1 failures" in said
