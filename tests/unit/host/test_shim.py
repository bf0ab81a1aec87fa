import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qanat.errors import QanatError
from qanat.host import shim
from tests.support.processes import clean_environment


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """As an installation has it: a Python script."""
    path = tmp_path / "bin" / "qanat"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\nfrom qanat.__main__ import main\nmain()\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def wrapped(tmp_path: Path, program: Path) -> Path:
    """As a package may have it: a shell script that starts Python."""
    path = tmp_path / "wrapped" / "qanat"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    path.chmod(0o755)
    return path


def said(*command: str) -> str:
    env = clean_environment()
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


@pytest.mark.parametrize("kind", ["program", "wrapped"])
def test_it_answers_as_cloudflared_whatever_qanat_is(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    target: Path = request.getfixturevalue(kind)
    path, changed = shim.make(tmp_path, target)
    assert (path.name, changed) == ("cloudflared", True)
    assert re.fullmatch(
        r"cloudflared version \d\S* \(built \d{4}-\d\d-\d\d-\d\d:\d\d UTC\)", said(str(path), "--version")
    )
    assert said(str(target), "version").startswith("qanat version ")
    assert shim.make(tmp_path, target) == (path, False)
    assert shim.undo(tmp_path) == path
    assert not os.path.lexists(path)
    assert shim.undo(tmp_path) is None


def test_another_program_of_that_name_is_neither_replaced_nor_removed(tmp_path: Path, program: Path) -> None:
    other = tmp_path / "cloudflared"
    other.write_text("#!/bin/sh\n")
    for attempt in (lambda: shim.make(tmp_path, program), lambda: shim.undo(tmp_path)):
        with pytest.raises(QanatError) as caught:
            attempt()
        assert (caught.value.code, caught.value.where) == ("shim_impossible", str(other))
    assert other.read_text() == "#!/bin/sh\n"


def test_a_shim_of_an_older_place_is_turned_to_the_new_one(tmp_path: Path, program: Path, wrapped: Path) -> None:
    shim.make(tmp_path, program)
    path, changed = shim.make(tmp_path, wrapped)
    assert changed
    assert not path.is_symlink()
    assert shim.make(tmp_path, program) == (path, True)
    assert path.readlink() == program


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, program: Path) -> None:
    with pytest.raises(QanatError) as caught:
        shim.make(tmp_path / "nowhere", program)
    assert caught.value.where == str(tmp_path / "nowhere" / "cloudflared")


def test_a_program_that_hides_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Path) -> None:
    path, _ = shim.make(tmp_path, program)
    first = tmp_path / "first"
    first.mkdir()
    (first / "cloudflared").write_text("#!/bin/sh\n")
    (first / "cloudflared").chmod(0o755)
    monkeypatch.setenv("PATH", f"{first}:{tmp_path}")
    assert shim.hidden_by(path) == first / "cloudflared"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shim.hidden_by(path) is None
