"""The commands themselves: what they read, print and leave in the process list."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qanat.cli.main import main
from tests.support.processes import QANAT
from tests.unit.host.conftest import TUNNEL, token_of

FIRST = token_of(TUNNEL)
EDGE = ("--edge", "edge.example.net:7844")


def test_install_and_uninstall_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--root", str(tmp_path), "--init", "systemd")
    assert main(["service", "install", FIRST, *EDGE, *where, "--no-update-service"]) == 0
    assert main(["service", "install", FIRST, *EDGE, *where]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"installed the service of tunnel {TUNNEL} (systemd)",
        f"nothing to change: the service of tunnel {TUNNEL} (systemd)",
    ]
    assert main(["service", "uninstall", "--root", str(tmp_path)]) == 0
    assert main(["service", "uninstall", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "there is no service to remove"


def test_flags_stand_before_the_command_too_as_in_stocks_manual(tmp_path: Path) -> None:
    where = ("--root", str(tmp_path), "--init", "systemd")
    assert main(["--loglevel", "debug", *EDGE, "service", "install", FIRST, *where]) == 0
    assert "--loglevel debug" in (tmp_path / "etc/systemd/system/qanat.service").read_text()
    assert (tmp_path / "etc/qanat/token").read_text() == FIRST


def test_before_uninstall_flags_mean_nothing_as_with_stock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "/gone.yml", "service", "uninstall", "--root", str(tmp_path), "--init", "sysv"]) == 0
    assert "there is no service to remove" in capsys.readouterr().out


def test_a_bad_token_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "install", f'"{FIRST}"', *EDGE, "--root", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("error[token_invalid]")
    assert FIRST not in told.err + told.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.case(18)
def test_a_token_that_was_typed_is_out_of_the_process_list_before_any_work(tmp_path: Path) -> None:
    """What runs in the end says how it was started."""
    show = "import sys, runpy; print(sys.orig_argv); runpy.run_module('qanat', run_name='__main__', alter_sys=True)"
    arguments = ["service", "install", FIRST, *EDGE, "--root", str(tmp_path), "--init", "systemd"]
    done = subprocess.run([sys.executable, "-c", show, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, last, _ = done.stdout.splitlines()
    assert "'install', '-'" in last
    assert FIRST not in last
    assert (tmp_path / "etc/qanat/token").read_text() == FIRST


def test_the_installed_command_does_so_too(tmp_path: Path) -> None:
    command = [*QANAT, "service", "install", FIRST, *EDGE, "--root", str(tmp_path), "--init", "openrc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "etc/qanat/token").read_text() == FIRST
