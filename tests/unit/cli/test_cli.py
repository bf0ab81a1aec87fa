import json
from pathlib import Path

import pytest

from qanat.cli.main import main
from qanat.settings import every_setting
from tests.support.control import Control


def test_the_main_job_by_hand(at_control: Control, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"ingress":[{"service":"http_status:404"}]}')
    for arguments in (
        ["tunnel", "create", "web"],
        ["zone", "create", "example.test"],
        ["record", "create", "app.example.test", "--tunnel", "web"],
        ["tunnel", "config", "put", "web", str(file)],
        ["tunnel", "show", "web"],
        ["tunnel", "get", "web"],
    ):
        assert main(arguments) == 0, arguments
    shown = capsys.readouterr().out
    assert "Created tunnel web with id" in shown
    assert "app.example.test" in shown
    assert "inactive since" in shown
    assert main(["tunnel", "list", "--output", "json"]) == 0
    (tunnel,) = json.loads(capsys.readouterr().out)
    assert main(["tunnel", "list"]) == 0
    assert tunnel["id"] in capsys.readouterr().out
    assert main(["tunnel", "token", "web"]) == 0
    assert capsys.readouterr().out.startswith("eyJ")
    assert main(["record", "list", "example.test"]) == 0
    assert f"{tunnel['id']}.cfargotunnel.com" in capsys.readouterr().out
    for arguments in (
        ["record", "delete", "app.example.test"],
        ["zone", "delete", "example.test", "--yes"],
        ["tunnel", "delete", "web"],
        ["status"],
    ):
        assert main(arguments) == 0, arguments
    capsys.readouterr()
    assert main(["tunnel", "list"]) == 0
    assert "No tunnels were found" in capsys.readouterr().out


def test_a_refusal_is_told_on_standard_error(at_control: Control, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tunnel", "create", "web"]) == 0
    capsys.readouterr()
    assert main(["tunnel", "create", "web"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "tunnel with name already exists" in captured.err


def test_without_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tunnel", "list", "--token-file", "/no/such/file"]) == 1
    assert "--token-file" in capsys.readouterr().err


def test_wrong_usage() -> None:
    assert main(["tunnel", "lst"]) == 2
    assert main(["record", "create", "x.example.test"]) == 2


def test_a_bad_setting_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edge", "--public-https", "nonsense"]) == 1
    assert "public.https" in capsys.readouterr().err


def test_every_setting_is_a_flag_with_its_description(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["edge", "--help"]) == 0
    shown = capsys.readouterr().out
    for setting in every_setting():
        assert setting.flag in shown
        assert setting.variable in shown
        assert setting.description.split("[")[0] in shown


def test_the_connectors_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tunnel", "--help"]) == 0
    assert "run" in capsys.readouterr().out
