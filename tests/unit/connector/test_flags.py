import pytest

from qanat.connector.flags import (
    FLAGS,
    help_text,
    is_run_command,
    read_command_line,
    read_environment,
    read_file_values,
)
from qanat.errors import QanatError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tunnel", "run"], True),
        (["tunnel", "--token", "run", "run"], True),
        (["--no-autoupdate", "tunnel", "--edge", "h:1", "run", "name"], True),
        (["tunnel", "run", "--unknown"], True),
        (["tunnel", "list"], False),
        (["tunnel", "--token", "run"], False),
        (["edge"], False),
        (["run", "tunnel"], False),
        ([], False),
        (["--help"], False),
    ],
)
def test_the_run_command_is_told_from_all_others(arguments: list[str], expected: bool) -> None:
    assert is_run_command(arguments) is expected


def test_flags_stand_anywhere_with_one_dash_or_two() -> None:
    line = read_command_line(
        ["tunnel", "-edge", "a:1,b:2", "run", "--edge=c:3", "-p", "quic", "T", "--no-tls-verify", "--hello-world=false"]
    )
    assert line.words == ("tunnel", "run", "T")
    assert line.values == {
        "edge": ("a:1", "b:2", "c:3"),
        "protocol": "quic",
        "no-tls-verify": True,
        "hello-world": False,
    }


def test_the_last_of_two_wins_and_two_dashes_end_the_flags() -> None:
    line = read_command_line(["tunnel", "run", "--protocol", "quic", "--protocol", "http2", "--", "--weird"])
    assert (line.values["protocol"], line.words) == ("http2", ("tunnel", "run", "--weird"))


@pytest.mark.parametrize(
    ("arguments", "where", "said"),
    [
        (["--tokne", "x"], "--tokne", "did you mean --token?"),
        (["--frobnicate"], "--frobnicate", "lists them"),
        (["--token"], "--token", "needs a value"),
        (["--grace-period", "30"], "--grace-period", "30s"),
        (["--grace-period", "-1s"], "--grace-period", "duration"),
        (["--ha-connections", "x"], "--ha-connections", "whole number"),
        (["--hello-world=maybe"], "--hello-world", "true nor false"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_flag_and_the_fix(arguments: list[str], where: str, said: str) -> None:
    with pytest.raises(QanatError) as caught:
        read_command_line(["tunnel", "run", *arguments])
    assert (caught.value.code, caught.value.where) == ("usage", where)
    assert said in str(caught.value)


def test_variables_set_flags_and_empty_ones_set_nothing() -> None:
    environment = {"TUNNEL_EDGE": "a:1, b:2", "TUNNEL_GRACE_PERIOD": "1m", "TUNNEL_TOKEN": "", "TUNNEL_NONSENSE": "x"}
    assert read_environment(environment) == {"edge": ("a:1", "b:2"), "grace-period": 60.0}


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(QanatError) as caught:
        read_environment({"TUNNEL_GRACE_PERIOD": "soon"})
    assert caught.value.where == "$TUNNEL_GRACE_PERIOD"


def test_file_values_are_typed_as_flags() -> None:
    document = {
        "edge": ["a:1", "b:2"],
        "ha-connections": 2,
        "no-tls-verify": True,
        "grace-period": "45s",
        "output": "json",
    }
    assert read_file_values(document, where="config.yml") == {
        "edge": ("a:1", "b:2"),
        "ha-connections": 2,
        "no-tls-verify": True,
        "grace-period": 45.0,
    }


@pytest.mark.parametrize("document", [{"edge": {"a": 1}}, {"token": ["x"]}, {"ha-connections": [1]}])
def test_a_file_value_of_the_wrong_form_is_named(document: dict[str, object]) -> None:
    with pytest.raises(QanatError) as caught:
        read_file_values(document, where="config.yml")
    assert caught.value.where == f"config.yml: {next(iter(document))}"


def test_no_two_flags_share_a_name_or_a_variable() -> None:
    names = [name for flag in FLAGS for name in (flag.name, *flag.aliases)]
    variables = [variable for flag in FLAGS for variable in flag.env]
    assert len(names) == len(set(names))
    assert len(variables) == len(set(variables))


def test_help_names_every_flag_that_works() -> None:
    text = help_text()
    for flag in FLAGS:
        if flag.effect == "works":
            assert f"--{flag.name}" in text
            assert flag.help
