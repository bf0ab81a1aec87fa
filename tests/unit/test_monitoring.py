"""deploy/: what the board and the alert rules name is what edge and connector expose."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from qanat.health.engine import latency_bounds
from qanat.health.health import Health
from qanat.health.lines import Line
from qanat.health.metrics import exposed
from qanat.health.rates import Meter

ROOT = Path(__file__).parent.parent.parent
BOARD = ROOT / "deploy" / "grafana" / "qanat-edge.json"
RULES = ROOT / "deploy" / "prometheus" / "qanat.rules.yml"
NAME = re.compile(r"\b(?:qanat|cloudflared)_[a-z_]+")
CONNECTORS = {"cloudflared_tunnel_ha_connections", "cloudflared_tunnel_request_errors"}
LABELS = {"instance", "job", "hostname", "node", "tunnel_id", "hop", "outcome", "cause", "state", "le"}


@pytest.fixture(scope="module")
def text() -> str:
    """A scrape of an edge through which something has passed."""
    latency = ([1] * (len(latency_bounds()) + 1), 1.0)
    passed = SimpleNamespace(
        hostname="app.example.test",
        tunnel_id="t",
        token_id="",
        requests=1,
        statuses=[0, 1, 0, 0, 0],
        edge_made=0,
        cut=0,
        client_failed=0,
        refused=0,
        timed_out=0,
        bytes_in=0,
        bytes_out=0,
        queue=latency,
        first_byte=latency,
        total=latency,
        tunnel=latency,
        connector=latency,
        origin=([], 0.0),
    )
    live = cast(
        Any,
        SimpleNamespace(
            counters=lambda: {"requests": 3},
            failures=lambda: {"no_connection": 2},
            traffic=lambda: [passed],
            lines=lambda: {"c": Line(0.012, "X25519MLKEM768"), "d": Line(None, "")},
        ),
    )
    live.health = Health(Meter(live))
    live.health.spots = lambda: {("app.example.test", "t", ""): SimpleNamespace(state="healthy")}
    return exposed(live, most_hostnames=10)


def test_hops_behind_the_edge_are_told_where_a_connector_tells_them(text: str) -> None:
    hops = set(re.findall(r'hop="(\w+)"', text))
    assert hops == {"queue", "first_byte", "total", "tunnel", "connector"}


def test_connections_are_told_by_their_key_exchange_and_lines(text: str) -> None:
    assert 'qanat_edge_tunnel_connections{key_exchange="X25519MLKEM768"} 1' in text
    assert 'qanat_edge_tunnel_connections{key_exchange="other"} 1' in text
    assert 'qanat_edge_tunnel_rtt_seconds_bucket{le="0.01"} 0' in text
    assert 'qanat_edge_tunnel_rtt_seconds_bucket{le="0.02"} 1' in text
    assert "qanat_edge_tunnel_rtt_seconds_count 1" in text


def expressions() -> list[str]:
    board = json.loads(BOARD.read_text())
    shown = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    asked = [each["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len(shown) > 20
    assert len(rules) > 8
    return [*shown, *asked, *rules]


def test_every_metric_of_the_board_and_the_rules_exists(text: str) -> None:
    exposed_names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    named = {name for expression in expressions() for name in NAME.findall(expression)}
    source = (ROOT / "src/qanat/connector/metrics.py").read_text()
    assert {name for name in CONNECTORS if f'"{name}"' in source} == CONNECTORS
    assert named - exposed_names - CONNECTORS == set()


def test_every_label_of_the_board_and_the_rules_exists() -> None:
    for expression in expressions():
        matched = re.findall(r"[{,]\s*([a-z_]+)\s*(?:=~|!=|=)", expression)
        grouped = re.findall(r"by \(([^)]*)\)", expression)
        assert {*matched, *(name.strip() for group in grouped for name in group.split(","))} <= LABELS, expression


def test_failures_are_told_by_cause(text: str) -> None:
    assert 'qanat_edge_failures_total{cause="no_connection"} 2' in text


def test_each_panel_has_a_place_of_its_own_and_each_rule_says_what_is_wrong() -> None:
    panels = json.loads(BOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["summary"]
            assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_promtool_takes_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    subprocess.run([promtool, "check", "rules", str(RULES)], check=True, capture_output=True)
