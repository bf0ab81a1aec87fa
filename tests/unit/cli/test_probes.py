"""`qanat probe …` and `qanat top`, over the API."""

from typing import Any

import pytest

from qanat.cli.top import rows
from qanat.client.shapes import Traffic
from qanat.health.questions import Check, Judgment
from tests.support.control import Control
from tests.support.shell import Shell
from tests.unit.api.test_health import Passed


@pytest.fixture
def shell(at_control: Control, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def test_a_probe_is_set_shown_and_unset(shell: Shell, at_control: Control) -> None:
    shell("zone", "create", "example.test")
    tunnel = at_control.create_tunnel("web")
    told = shell("probe", "set", "app.example.test", "--path", "/up", "--header", "X-Role: primary", "--interval", "3")
    assert told == "app.example.test: GET /up every 3 s\n"
    shell("probe", "set", "web", "--off")
    at_control.edge.health.registered("c1", tunnel["id"], "")
    at_control.edge.health.answered(("app.example.test", tunnel["id"], ""), Check(), Judgment(True, "so it is"))
    shown = shell.json("probe", "list")
    assert [(row["target"], row["enabled"]) for row in shown["probes"]] == sorted(
        [("app.example.test", True), (tunnel["id"], False)]
    )
    assert shown["probes"][[row["target"] for row in shown["probes"]].index("app.example.test")]["headers"] == {
        "X-Role": "primary"
    }
    text = shell("probe", "list")
    assert "so it is" in text
    assert "off" in text
    shell("probe", "unset", "web")
    shell("probe", "unset", "web", expect=3)
    assert "--header" in _error(shell, "probe", "set", "app.example.test", "--header", "nonsense")


def test_a_run_ends_with_1_when_an_answer_is_bad(shell: Shell, at_control: Control) -> None:
    shell("zone", "create", "example.test")
    tunnel = at_control.create_tunnel("web")
    at_control.edge.health.registered("c1", tunnel["id"], "")
    assert "GET /up answered 200" in shell("probe", "run", "app.example.test", "--tunnel", "web", "--path", "/up")
    shell("probe", "set", "app.example.test", "--status", "204")
    assert "not 204" in shell("probe", "run", "app.example.test", "--tunnel", "web", expect=1)


def test_top_is_plain_where_there_is_no_terminal(shell: Shell, at_control: Control) -> None:
    tunnel = at_control.create_tunnel("web")
    at_control.edge.passed = [Passed("app.example.test", tunnel["id"])]
    text = shell("top", "--every", "0.2")
    assert "\x1b" not in text
    assert [line.split()[0] for line in text.splitlines()] == ["HOSTNAME", "app.example.test"]
    told = shell.json("top", "--every", "0.2")
    assert [(row["hostname"], row["requests"], row["requests_per_second"]) for row in told["rows"]] == [
        ("app.example.test", 10, 0.0)
    ]


def _traffic(requests: int, **more: Any) -> Traffic:
    whole: dict[str, Any] = {
        "hostname": "a.test",
        "tunnel_id": "t",
        "tunnel": "web",
        "node": "default",
        "requests": requests,
        "statuses": [0, requests, 0, 0, 0],
        "state": "healthy",
        **dict.fromkeys(("edge_made", "cut", "client_failed", "refused", "timed_out", "bytes_in", "bytes_out"), 0),
    }
    return Traffic(**{**whole, **more})


def test_tops_rates_are_of_the_time_between_two_looks_busiest_first() -> None:
    before = [_traffic(100), _traffic(5, hostname="b.test")]
    now = [
        _traffic(120, bytes_out=4_000_000, p95_s=0.0123),
        _traffic(65, hostname="b.test", statuses=[0, 55, 0, 0, 10], cut=1),
        _traffic(2, hostname="new.test"),
    ]
    shown = rows(before, now, 2.0, 10)
    assert [row[0] for row in shown] == ["b.test", "a.test", "new.test"]
    assert shown[0][4:10] == ("30.0", "50", "", "", "10", "1")
    assert shown[1][4] == "10.0"
    assert shown[1][11] == "12.3 ms"
    assert shown[1][13] == "2 MB"
    assert shown[2][4] == "1.0"
    assert len(rows(before, now, 2.0, 1)) == 1


def _error(shell: Shell, *arguments: str) -> str:
    shell(*arguments, expect=1)
    return shell.err
