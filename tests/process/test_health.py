"""Health with a real edge, connectors over both transports, and an origin that falls ill and gets well."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.connector import Connector
from tests.support.edge import Edge
from tests.support.loopback import lasting_port
from tests.support.origin import Origin
from tests.support.waiting import wait_until

HOST = "app.example.test"


@pytest.fixture
def probing(folder: Path) -> Iterator[Edge]:
    """An edge that asks origins, and serves its metrics."""
    metrics = f"127.0.0.1:{lasting_port()}"
    edge = Edge(folder / "edge", probes="true", metrics_address=metrics)
    yield edge
    edge.stop()


@pytest.mark.case(27)
def test_an_origin_is_seen_to_fall_ill_and_get_well_through_each_node(probing: Edge, folder: Path) -> None:
    api, origin = probing.api, Origin()
    origin.answers(200, b"well")
    tunnel = api.create_tunnel("t")
    api.publish(api.create_zone("example.test"), HOST, tunnel.id)
    api.put_configuration(tunnel.id, [{"service": origin.service}])
    made = api.call("POST", f"/qanat/tunnels/{tunnel.id}/connector-tokens", {"name": "web-1"})
    base = f"/accounts/{api.account}/qanat"
    connectors = [
        Connector(folder / "own", probing, tunnel.token, protocol="quic"),
        Connector(folder / "web-1", probing, made["token"], protocol="http2"),
    ]

    def states() -> dict[str, Any]:
        return {row["node"]: row["state"] for row in api.call("GET", f"{base}/health")}

    def links() -> set[str]:
        return {each["id"] for each in api.connections(tunnel.id)}

    try:
        wait_until(lambda: states() == {"default": "healthy", "web-1": "healthy"}, "both nodes are well", timeout_s=30)
        before = links()
        asked = origin.last
        assert (asked.method, asked.target) == ("GET", "/")
        assert asked.values("host") == [HOST]
        assert asked.values("x-forwarded-proto") == ["https"]
        assert asked.values("cf-connecting-ip") == ["192.0.0.8"]
        assert api.call("GET", f"{base}/traffic") == [], "probes are no traffic"
        api.call("PUT", f"{base}/probes/{HOST}", {"path": "/up", "interval_s": 1, "fall": 2, "rise": 1, "body": "well"})
        origin.answers(200, b"ill")
        wait_until(lambda: states() == {"default": "unhealthy", "web-1": "unhealthy"}, "both are ill", timeout_s=30)
        (row, _) = api.call("GET", f"{base}/health", hostname=HOST)
        assert row["why"] == "GET /up answered 200 without the expected text"
        assert not row["healthy"]
        assert api.call("GET", f"/accounts/{api.account}/cfd_tunnel/{tunnel.id}")["status"] == "healthy", "as stock's"
        answers = api.call("POST", f"{base}/probe-runs", {"hostname": HOST, "body": "ill"})
        assert [(each["node"], each["good"]) for each in answers] == [("default", True), ("web-1", True)]
        with probing.h1(HOST) as client:
            assert client.get("/").status == 200, "what fails for probes alone goes on for visitors"
        origin.answers(200, b"well")
        wait_until(lambda: states() == {"default": "healthy", "web-1": "healthy"}, "both are well again", timeout_s=30)
        assert links() == before, "a probe that fails ends no connection"
        (passed,) = wait_until(lambda: api.call("GET", f"{base}/traffic"), "it is counted")
        assert (passed["requests"], passed["statuses"]) == (1, [0, 1, 0, 0, 0])
        metrics = httpx.get(f"http://{probing.flags['metrics-address']}/metrics", trust_env=False, verify=False).text
        labels = f'hostname="{HOST}",node="default",state="healthy",tunnel_id="{tunnel.id}"'
        assert f"qanat_edge_origin_health{{{labels}}} 1" in metrics.splitlines()
        assert "qanat_edge_requests_total 1" in metrics.splitlines()
        assert api.call("GET", "/qanat/status")["counters"]["datagrams_dropped"] >= 0
    finally:
        for connector in connectors:
            connector.stop()
        origin.close()
