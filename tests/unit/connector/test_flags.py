import pytest

from qanat.connector.flag_table import FLAGS
from qanat.connector.flags import (
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
        (["tunnel", "--unknown", "value", "run"], True),
        (["tunnel", "--unknown", "run"], True),
        (["tunnel", "--proxy-dns-port", "53", "run"], True),
        (["tunnel", "run", "--token"], True),
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
    ("arguments", "code", "where", "said"),
    [
        (["--tokne", "x"], "usage", "--tokne", "did you mean --token?"),
        (["--frobnicate"], "usage", "--frobnicate", "lists them"),
        (["--token"], "usage", "--token", "needs a value"),
        (["--grace-period", "30"], "flag_value_invalid", "--grace-period", "30s"),
        (["--grace-period", "-1s"], "flag_value_invalid", "--grace-period", "duration"),
        (["--grace-period", ""], "flag_value_invalid", "--grace-period", "30s"),
        (["--ha-connections", "x"], "flag_value_invalid", "--ha-connections", "whole number"),
        (["--hello-world=maybe"], "flag_value_invalid", "--hello-world", "not a valid boolean"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_flag_and_the_fix(
    arguments: list[str], code: str, where: str, said: str
) -> None:
    with pytest.raises(QanatError) as caught:
        read_command_line(["tunnel", "run", *arguments])
    assert (caught.value.code, caught.value.where) == (code, where)
    assert said in str(caught.value)


def test_variables_set_flags_and_empty_ones_set_nothing() -> None:
    environment = {"TUNNEL_EDGE": "a:1, b:2", "TUNNEL_GRACE_PERIOD": "1m", "TUNNEL_TOKEN": "", "TUNNEL_NONSENSE": "x"}
    assert read_environment(environment) == (
        {"edge": ("a:1", "b:2"), "grace-period": 60.0},
        {"edge": "$TUNNEL_EDGE", "grace-period": "$TUNNEL_GRACE_PERIOD"},
    )


def test_of_two_variables_of_one_flag_the_first_one_counts_as_in_stock() -> None:
    assert read_environment({"TUNNEL_LOG_OUTPUT": "json"})[0] == {"output": "json"}
    both = {"TUNNEL_LOG_OUTPUT": "json", "TUNNEL_MANAGEMENT_OUTPUT": "default"}
    assert read_environment(both) == ({"output": "default"}, {"output": "$TUNNEL_MANAGEMENT_OUTPUT"})
    assert read_environment({**both, "TUNNEL_MANAGEMENT_OUTPUT": ""}) == ({}, {})
    levels = {"TUNNEL_TRANSPORT_LOGLEVEL": "error", "TUNNEL_PROTO_LOGLEVEL": "debug"}
    assert read_environment(levels)[0] == {"transport-loglevel": "debug"}


@pytest.mark.case(75)
@pytest.mark.parametrize("text", ["1", "t", "T", "true", "True", "TRUE"])
def test_booleans_are_gos(text: str) -> None:
    assert read_environment({"NO_TLS_VERIFY": text})[0] == {"no-tls-verify": True}


@pytest.mark.case(75)
@pytest.mark.parametrize("text", ["yes", "off", "on", "2"])
def test_other_booleans_are_named_with_the_right_ones(text: str) -> None:
    with pytest.raises(QanatError) as caught:
        read_environment({"NO_TLS_VERIFY": text})
    assert (caught.value.where, caught.value.hint) == ("$NO_TLS_VERIFY", "write true or false")


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
    values, places = read_file_values(document, where="config.yml")
    assert values == {"edge": ("a:1", "b:2"), "ha-connections": 2, "no-tls-verify": True, "grace-period": 45.0}
    assert places == {name: f"config.yml: {name}" for name in values}


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
