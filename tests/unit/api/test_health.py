"""Probes, health, traffic and metrics in the API."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from qanat.health.engine import latency_bounds
from qanat.health.questions import Check, Judgment
from tests.support.control import Control

BUCKETS = len(latency_bounds()) + 1


@dataclass
class Passed:
    hostname: str
    tunnel_id: str
    token_id: str | None = ""
    requests: int = 10
    statuses: list[int] = field(default_factory=lambda: [0, 9, 0, 0, 1])
    edge_made: int = 0
    cut: int = 0
    client_failed: int = 0
    refused: int = 0
    timed_out: int = 0
    bytes_in: int = 1
    bytes_out: int = 100
    queue: tuple[list[int], float] = field(default_factory=lambda: ([10] + [0] * (BUCKETS - 1), 0.001))
    first_byte: tuple[list[int], float] = field(default_factory=lambda: ([0] * BUCKETS, 0.0))
    total: tuple[list[int], float] = field(default_factory=lambda: ([0, 10] + [0] * (BUCKETS - 2), 0.006))
    tunnel: tuple[list[int], float] = ([], 0.0)
    connector: tuple[list[int], float] = ([], 0.0)
    origin: tuple[list[int], float] = ([], 0.0)


@pytest.fixture
def base(control: Control) -> str:
    return f"/accounts/{control.account}/qanat"


@pytest.fixture
def zone(control: Control) -> Any:
    return control.create_zone("example.test")


def test_a_probe_is_set_changed_in_part_listed_and_unset(control: Control, base: str, zone: Any) -> None:
    path = f"{base}/probes/app.example.test"
    assert control.call("PUT", path, {"path": "/up", "status": "200"})["fall"] == 3
    assert control.call("PUT", path, {"fall": 5})["path"] == "/up"
    (row,) = control.call("GET", f"{base}/probes")
    assert (row["target"], row["path"], row["status"], row["fall"]) == ("app.example.test", "/up", "200", 5)
    control.call("DELETE", path)
    assert control.call("GET", f"{base}/probes") == []
    assert control.refused("DELETE", path)[0] == 404


@pytest.mark.parametrize(
    ("target", "body", "status", "says"),
    [
        ("app.example.test", {"path": "up"}, 400, "path"),
        ("app.example.test", {"interval_s": 0.5}, 400, "interval_s"),
        ("app.example.test", {"status": "20x"}, 400, "20x"),
        ("app.example.test", {"nonsense": 1}, 400, "nonsense"),
        ("app.elsewhere.test", {"path": "/up"}, 404, "no zone of this account"),
        ("*.example.test", {"path": "/up"}, 400, "name one below it"),
        ("a b", {"path": "/up"}, 400, ""),
    ],
)
def test_what_can_not_be_asked_is_refused(
    control: Control, base: str, zone: Any, target: str, body: Any, status: int, says: str
) -> None:
    got, _, message = control.refused("PUT", f"{base}/probes/{target}", body)
    assert got == status
    assert says in message or target == "*.example.test"
    assert control.call("GET", f"{base}/probes") == []


def test_what_was_set_goes_with_its_account(control: Control) -> None:
    account = control.call("POST", "/accounts", {"name": "other"})["id"]
    zone = control.call("POST", "/zones", {"name": "other.test", "account": {"id": account}})
    control.call("PUT", f"/accounts/{account}/qanat/probes/app.other.test", {"path": "/up"})
    control.call("DELETE", f"/zones/{zone['id']}")
    control.call("DELETE", f"/accounts/{account}")


def test_a_run_asks_each_node_once_and_changes_no_verdict(control: Control, base: str, zone: Any) -> None:
    tunnel = control.create_tunnel()
    body = {"hostname": "app.example.test", "tunnel_id": tunnel["id"], "body": "well"}
    assert "no connection" in control.refused("POST", f"{base}/probe-runs", body)[2]
    control.edge.health.registered("c1", tunnel["id"], "")
    control.edge.health.registered("c2", tunnel["id"], "unnamed")
    answers = control.call("POST", f"{base}/probe-runs", body)
    assert [(each["node"], each["good"], each["why"]) for each in answers] == [
        ("default", True, "GET / answered 200"),
        ("unnamed", True, "GET / answered 200"),
    ]
    (bad, _) = control.call("POST", f"{base}/probe-runs", {**body, "status": "204"})
    assert (bad["good"], bad["why"]) == (False, "GET / answered 200, not 204")
    assert control.edge.health.spots() == {}
    assert control.refused("POST", f"{base}/probe-runs", {"hostname": "app.elsewhere.test"})[0] == 404


def test_health_says_why_and_since_when_per_node_and_hostname(control: Control, base: str, zone: Any) -> None:
    tunnel = control.create_tunnel()
    health = control.edge.health
    health.registered("c1", tunnel["id"], "")
    for hostname, is_good in (("b.example.test", True), ("a.example.test", True), ("c.example.test", False)):
        for _ in range(3):
            health.answered((hostname, tunnel["id"], ""), Check(), Judgment(is_good, f"{hostname} told so"))
    health.answered(("a.elsewhere.test", "another account's", ""), Check(), Judgment(True, "x"))
    rows = control.call("GET", f"{base}/health")
    assert [(row["hostname"], row["state"], row["healthy"]) for row in rows] == [
        ("c.example.test", "unhealthy", False),
        ("a.example.test", "healthy", True),
        ("b.example.test", "healthy", True),
    ]
    assert rows[0]["why"] == "c.example.test told so"
    assert (rows[0]["node"], rows[0]["tunnel"], rows[0]["connections"]) == ("default", "t1", 1)
    health.suspected("c1", suspect=True)
    (row,) = control.call("GET", f"{base}/health", hostname="b.example.test")
    assert (row["state"], row["healthy"], row["suspect"]) == ("healthy", False, 1)
    assert control.call("GET", "/qanat/status")["health"] == {"healthy": 3, "unhealthy": 1}
    control.create_record(zone["id"], type="CNAME", name="c", content=f"{tunnel['id']}.cfargotunnel.com", proxied=True)
    (shown,) = control.call("GET", "/qanat/explain", url="https://c.example.test/")["health"]
    assert (shown["state"], shown["why"]) == ("unhealthy", "c.example.test told so")


def test_traffic_is_shown_to_whom_it_belongs(control: Control, base: str) -> None:
    tunnel = control.create_tunnel()
    control.edge.passed = [
        Passed("a.example.test", tunnel["id"]),
        Passed("b.example.test", tunnel["id"], None, requests=20),
        Passed("c.example.test", "another account's"),
    ]
    rows = control.call("GET", f"{base}/traffic")
    assert [(row["hostname"], row["node"], row["requests"]) for row in rows] == [
        ("b.example.test", "", 20),
        ("a.example.test", "default", 10),
    ]


def test_metrics_have_few_series_however_many_hostnames_there_are(control: Control) -> None:
    tunnel = control.create_tunnel()
    control.context.metrics_hostnames = 5
    control.edge.passed = [Passed(f"h{n}.example.test", tunnel["id"], requests=n) for n in range(10_000)]
    for n in range(1000):
        spot = (f"h{n}.example.test", tunnel["id"], "")
        control.edge.health.answered(spot, Check(), Judgment(True, ""))
    answer = control.http.get("/qanat/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert "qanat_edge_requests_total 7" in lines
    hostnames = {line.partition('hostname="')[2].partition('"')[0] for line in lines if "hostname_requests" in line}
    assert hostnames - {""} == {"other", *(f"h{n}.example.test" for n in range(9995, 10_000))}
    assert len(lines) < 1000
    total = f'qanat_edge_hostname_seconds_count{{hop="total",hostname="other",node="",tunnel_id=""}} {9995 * 10}'
    assert total in lines
