"""`qanat user …`: what lets somebody in is printed alone, and no password comes by the command line."""

import io

import pytest

from qanat.cli.user import app
from tests.support.control import Control
from tests.support.people import PASSWORD, quick_passwords
from tests.support.shell import Shell


@pytest.fixture
def shell(at_control: Control, capsys: pytest.CaptureFixture[str]) -> Shell:
    at_control.context.passwords = quick_passwords()
    return Shell(capsys)


def test_the_life_of_a_user(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    token = shell("user", "add", "mir@example.com", "--role", "operator").strip()
    assert len(token) == 32
    assert token not in shell.err
    assert "operator of first" in shell("user", "list")
    assert "owner everywhere" in shell("user", "list")
    shell("user", "role", "mir@example.com", "admin", "--everywhere")
    shell("user", "role", "MIR@example.com", "none")
    (found,) = (each for each in shell.json("user", "list") if each["email"] == "mir@example.com")
    assert found["roles"] == {"*": "admin"}
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    assert shell("user", "reset", found["id"], "--password-stdin") == ""
    assert "password" in shell("user", "list")
    assert len(shell("user", "reset", found["id"], "--second-factor").strip()) == 32
    shell("user", "disable", "mir@example.com")
    assert "shut out" in shell("user", "list")
    shell("user", "enable", "mir@example.com")
    shell("user", "remove", "mir@example.com")
    shell("user", "remove", "mir@example.com", expect=3)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    shell("user", "add", "other@example.com", "--password-stdin", expect=2)


def test_no_option_takes_a_password() -> None:
    from typer.main import get_command

    commands = get_command(app).commands.values()  # type: ignore[attr-defined]
    options = [option for command in commands for option in command.params if "password" in option.name]
    assert options
    assert all(option.is_flag for option in options)
