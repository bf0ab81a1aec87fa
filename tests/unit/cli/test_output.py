"""What a tenant writes into names, comments and errors reaches other people's terminals (security.md S39)."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanat.cli.output import Output, print_fields, print_file, print_json, print_json_lines, print_rows, say, tell
from qanat.edge import ready
from qanat.edge.data_dir import DataDir
from qanat.edge.engine import EdgeAddresses
from qanat.errors import QanatError, escape_json, render

pytestmark = pytest.mark.requirement("S39")

CSI = "\x9b"
HOSTILE = f"a\x1b[2J b{CSI}2J c\x85d \x90q\x9c e\u202ef\u2066g\u2028h\u200fi\x7fj"
STEERING = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))]


def _steers(text: str) -> list[str]:
    return [char for char in STEERING if char in text.replace("\n", "")]


def test_json_means_the_same_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    value = {HOSTILE: [HOSTILE, "Grüße, 世界 😀"]}
    print_json(value)
    printed = capsys.readouterr().out
    assert not _steers(printed)
    assert json.loads(printed) == value
    assert "Grüße, 世界 😀" in printed


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_escaped_json_reads_as_the_same_value(value: object) -> None:
    text = escape_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert not _steers(text)
    text.encode()


def test_an_exported_line_is_escaped_wherever_its_bytes_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    lines = (json.dumps({"name": HOSTILE}, ensure_ascii=False) + "\n").encode()
    print_json_lines(lines[at : at + 1] for at in range(len(lines)))
    printed = capsys.readouterr().out
    assert not _steers(printed)
    assert json.loads(printed) == {"name": HOSTILE}


def test_lines_tables_and_errors_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    tell(Output.TEXT, None, HOSTILE)
    print_fields([("name", HOSTILE)])
    print_rows(("NAME",), [(HOSTILE,)], empty="")
    print(render(QanatError("usage", HOSTILE, where=HOSTILE, hint=HOSTILE)))
    printed = capsys.readouterr().out
    assert not _steers(printed)
    assert "\\x9b2J" in printed


def test_a_file_for_programs_is_escaped_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    print_file(f"{CSI}2J\nx\n")
    assert capsys.readouterr().out == f"{CSI}2J\nx\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_file(f"{CSI}2J\nx\n")
    assert capsys.readouterr().out == "\\x9b2J\nx\n"


@pytest.mark.requirement("S7")
@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_first_token_is_shown_to_a_person_and_never_to_a_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    class State:
        first_token, setup_token = "qnt_secret", "set_up_once"

    class Addresses:
        https = http = tunnel = "127.0.0.1:1"

    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    directory, state, addresses = DataDir(tmp_path), cast("Any", State()), cast("EdgeAddresses", Addresses())
    for output in ("text", "json"):
        apis = ("http://127.0.0.1:2", "https://api.example.test/client/v4")
        ready.say_ready(directory, state, addresses, *apis, has_ca=True, output=cast("Any", output))
        printed = capsys.readouterr().out
        for secret in ("qnt_secret", "set_up_once"):
            assert (secret in printed) == (is_terminal and output == "text")
        assert (str(directory.token_file) in printed and str(directory.setup_file) in printed) or output == "json"
        assert all(api in printed for api in apis)


def test_a_first_start_says_what_to_type_here_and_elsewhere(tmp_path: Path) -> None:
    here = ready.first_steps(DataDir(tmp_path), "http://127.0.0.1:2/client/v4", None, has_ca=False)
    assert f"QANAT_API=http://127.0.0.1:2/client/v4 QANAT_API_TOKEN_FILE={tmp_path / 'first-token'}" in here[2]
    assert "http://127.0.0.1:2/enter" in here[1]
    assert "--control-hostname" in here[-1]
    both = ready.first_steps(DataDir(tmp_path), "http://127.0.0.1:2/client/v4", "https://api.test/v4", has_ca=True)
    assert "  qanat login --api https://api.test/v4" in both
