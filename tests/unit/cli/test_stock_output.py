"""Output as Go has it, and command lines as stock reads them; the comparison with the binary is in tests/interop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanat.cli.stock.command_line import UsageError, find, parse_uuid
from qanat.cli.stock.commands import COMMANDS
from qanat.cli.stock.output import Time, go_time, render, shown_time, table, whole_seconds
from qanat.errors import QanatError

ID = "01234567-89ab-cdef-0123-456789abcdef"


def test_tables_are_padded_to_their_last_column() -> None:
    assert table([("ID", "NAME"), ("1", "long name")]) == ["ID NAME      ", "1  long name "]


@pytest.mark.parametrize(
    ("given", "shown", "whole", "go"),
    [
        (
            "2026-01-02T03:04:05.120000Z",
            "2026-01-02T03:04:05.12Z",
            "2026-01-02T03:04:05Z",
            "2026-01-02 03:04:05.12 +0000 UTC",
        ),
        (
            "2026-01-02T03:04:05.000000Z",
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05Z",
            "2026-01-02 03:04:05 +0000 UTC",
        ),
        (None, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01 00:00:00 +0000 UTC"),
    ],
)
def test_times_are_written_as_go_writes_them(given: str | None, shown: str, whole: str, go: str) -> None:
    assert (shown_time(given), whole_seconds(given), go_time(given)) == (shown, whole, go)


def test_yaml_is_indented_as_gos(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "id": ID,
        "name": "yes",
        "created_at": Time("2026-01-02T03:04:05Z"),
        "connections": [{"colo_name": "a", "origin_ip": ""}],
    }
    render("yaml", [row, {"network": {"mask": [255, 0]}, "connections": []}])
    assert capsys.readouterr().out == (
        f'- id: {ID}\n  name: "yes"\n  createdat: 2026-01-02T03:04:05Z\n  connections:\n    - coloname: a\n      originip: ""\n'
        "- network:\n    mask:\n        - 255\n        - 0\n  connections: []\n"
    )


def test_json_escapes_what_gos_does(capsys: pytest.CaptureFixture[str]) -> None:
    render("json", {"name": "<a&b>"})
    assert capsys.readouterr().out == '{\n  "name": "\\u003ca\\u0026b\\u003e"\n}\n'


def test_a_form_that_nobody_knows_is_refused() -> None:
    with pytest.raises(QanatError, match="Unknown output format 'xml'"):
        render("xml", [])


@pytest.mark.parametrize("text", [ID, ID.upper(), f"{{{ID}}}", f"urn:uuid:{ID}", ID.replace("-", "")])
def test_an_id_in_any_form_is_an_id(text: str) -> None:
    assert parse_uuid(text) == ID


@pytest.mark.parametrize("text", ["", ID[:-1], f"{{{ID}", f"{ID}}}", ID.replace("a", "g"), f"{ID}\n"])
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_uuid(text) is None


@pytest.mark.parametrize(
    "line",
    [
        "tunnel list -np web --sort-by=id -o json",
        "--origincert cert.pem tunnel --api-url https://api.example list --name-prefix web -sort-by id --output json",
        "tunnel list --output json --sort-by id --np=web",
    ],
)
def test_one_dash_or_two_aliases_and_equal_signs(line: str) -> None:
    found = find(line.split(), COMMANDS, called="qanat")
    assert found is not None
    assert (found.text("name-prefix"), found.text("sort-by"), found.text("output")) == ("web", "id", "json")


def test_a_variable_counts_where_no_flag_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNNEL_LIST_SORT_BY", "id")
    monkeypatch.setenv("TUNNEL_LIST_INVERT_SORT", "perhaps")
    found = find(["tunnel", "list"], COMMANDS, called="qanat")
    assert found is not None
    assert found.text("sort-by") == "id"
    with pytest.raises(QanatError) as refused:
        found.yes("invert-sort")
    assert refused.value.where == "$TUNNEL_LIST_INVERT_SORT"


def test_flags_behind_arguments_are_flags_and_two_dashes_end_them() -> None:
    found = find(["tunnel", "delete", "web", "-f", "--", "-x"], COMMANDS, called="qanat")
    assert found is not None
    assert (found.words, found.yes("force")) == (("web", "-x"), True)


def test_a_slip_of_the_pen_is_named() -> None:
    with pytest.raises(UsageError) as refused:
        find(["tunnel", "list", "--show-delted"], COMMANDS, called="qanat")
    assert "did you mean --show-deleted?" in str(refused.value)


words = st.sampled_from(
    ["tunnel", "list", "route", "dns", "--name", "-o", "json", "-d", "--", "-", "", "--x=", "--api", "ü\x00"]
)


@given(st.lists(words | st.text(max_size=8), max_size=8))
def test_no_command_line_ends_in_anything_but_a_refusal(line: list[str]) -> None:
    try:
        find(line, COMMANDS, called="qanat")
    except QanatError as error:
        assert error.code in ("usage", "flag_value_invalid")
