"""A scrape of our connector, and its endpoints, beside those of a stock one that had the same to do."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.connector import STOCK, Connector, Kind, Protocol
from tests.support.fixtures import NO_STOCK
from tests.support.sites import Fakes
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]

PATIENCE_S = 60.0
SAMPLE = re.compile(r"([a-zA-Z_:]+)(?:\{(.*)\})? (\S+)")

ABSENT = {"quic_client_max_udp_payload"}
"""docs/compatibility.md, beside what no Go runtime is there for."""
OURS = {"tunnel_ids", "quic_client_mtu"}
"""What a stock connector tells later, or never."""
OURS_OVER_HTTP2 = {"cloudflared_rpc_server_operations", "cloudflared_rpc_server_latency_secs"}
FAILED = {
    "quic": (r"ERR Request failed error=.* connIndex=\d dest=https?://\S+/down event=0 ip=127\.0\.0\.1 type=http$",)
}
"""Over HTTP/2 a stock connector says it otherwise."""


@dataclass
class Scrape:
    """What one `/metrics` says."""

    text: str

    def families(self) -> dict[str, tuple[str, str]]:
        """Type and help by name."""
        helps = dict(re.findall(r"^# HELP (\S+) (.*)$", self.text, re.M))
        return {name: (kind, helps[name]) for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", self.text, re.M)}

    def samples(self) -> dict[str, float]:
        """Values by name and labels, without those that tell one run from another."""
        found = {}
        for line in self.text.splitlines():
            if match := SAMPLE.fullmatch(line):
                found[f"{match[1]}{{{match[2] or ''}}}"] = float(match[3])
        return found


Pair = dict[Kind, Connector]


@pytest.fixture(scope="module", params=["quic", "http2"])
def pair(request: pytest.FixtureRequest, lab: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both connectors, of two tunnels, after two answers, one error and a locally told configuration each."""
    protocol: Protocol = request.param
    fakes = Fakes(lab)  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("metrics")
    pair: Pair = {}
    kinds: tuple[Kind, ...] = ("cloudflared", "qanat")
    for kind in kinds:
        tunnel, hostname = fakes.tunnel()
        rules = [
            {"hostname": hostname, "path": "/down", "service": "http://127.0.0.1:9"},
            {"service": "http_status:204"},
        ]
        fakes.edge.api.put_configuration(tunnel.id, rules)
        pair[kind] = Connector(folder / kind, fakes.edge, tunnel.token, kind=kind, protocol=protocol, connections=2)
        with fakes.edge.h1(hostname) as client:
            wait_until(lambda client=client: client.get("/").status == 204, "traffic")  # type: ignore[misc]
            client.get("/")
            client.get("/down")
    yield pair
    for connector in pair.values():
        connector.process.kill()
    fakes.close()


def scrapes(pair: Pair) -> tuple[Scrape, Scrape]:
    return Scrape(pair["cloudflared"].local("/metrics").text), Scrape(pair["qanat"].local("/metrics").text)


def test_every_metric_of_stock_is_ours_of_the_same_type_and_help(pair: Pair) -> None:
    stock, ours = (scrape.families() for scrape in scrapes(pair))
    wanted = {name for name in stock if not name.startswith("go_")} - ABSENT
    assert len(wanted) > 30
    assert {name: ours.get(name) for name in wanted} == {name: stock[name] for name in wanted}


def test_what_ours_has_besides_is_named(pair: Pair) -> None:
    stock, ours = (scrape.families() for scrape in scrapes(pair))
    named = OURS | (OURS_OVER_HTTP2 if pair["qanat"].protocol == "http2" else set())
    assert {name for name in ours if not name.startswith("qanat_")} - set(stock) <= named


def test_the_same_work_is_counted_alike(pair: Pair) -> None:
    stock, ours = (scrape.samples() for scrape in scrapes(pair))
    for name in (
        "cloudflared_tunnel_total_requests{}",
        "cloudflared_tunnel_concurrent_requests_per_tunnel{}",
        "cloudflared_tunnel_request_errors{}",
        'cloudflared_tunnel_response_by_code{status_code="204"}',
        "cloudflared_tunnel_ha_connections{}",
        'cloudflared_tunnel_tunnel_register_success{rpcName="registerConnection"}',
        'cloudflared_rpc_client_operations{handler="registration",method="register_connection"}',
        'cloudflared_tunnel_server_locations{connection_id="1",edge_location="lab01"}',
        "cloudflared_orchestration_config_version{}",
        "cloudflared_tcp_total_sessions{}",
    ):
        assert (name, ours.get(name)) == (name, stock.get(name))


def test_labels_and_buckets_are_stocks(pair: Pair) -> None:
    """Of all samples that stock has, but for numbers of frames (each end sends what it needs), QUIC's reckoning, and builds."""
    stock, ours = (scrape.samples() for scrape in scrapes(pair))
    free = ("go_", "build_info", "quic_client_received_frames", "quic_client_sent_frames", *ABSENT)
    wanted = {name for name in stock if not name.startswith(free)}
    if pair["qanat"].protocol == "http2":
        wanted = {name for name in wanted if "server" not in name}  # pushes are no RPC there
    assert wanted - set(ours) == set()


@pytest.mark.parametrize("path", ["/ready", "/healthcheck", "/quicktunnel", "/config", "/nowhere", "/"])
def test_endpoints_answer_as_stocks(pair: Pair, path: str) -> None:
    stock, ours = pair["cloudflared"].local(path), pair["qanat"].local(path)
    assert ours.status_code == stock.status_code
    assert ours.headers["content-type"] == stock.headers["content-type"]
    assert set(stock.headers) <= set(ours.headers)

    def told(text: str, connector: Connector) -> str:
        return re.sub(r"s?\d*\.?[a-z0-9-]+\.example\.test", "H", text.replace(connector.connector_id, "ID"))

    assert told(ours.text, pair["qanat"]) == told(stock.text, pair["cloudflared"])


def test_log_lines_that_scripts_match_are_there(pair: Pair, tmp_path: Path) -> None:
    """connector.md 6: what a start logs, field by field."""
    uuid = r"[0-9a-f-]{36}"
    for connector in pair.values():
        for line in (
            rf"INF Starting tunnel tunnelID={uuid}$",
            r"INF Version \S+ \(Checksum (?:[0-9a-f]{64}|unknown)\)$",
            r"INF Settings: map\[",
            rf"INF Generated Connector ID: {uuid}$",
            rf"INF Initial protocol {connector.protocol}$",
            r"INF Starting metrics server on 127\.0\.0\.1:\d+/metrics$",
            r"INF Tunnel connection curve preferences: \[X25519MLKEM768 .*\] connIndex=0 event=0 ip=127\.0\.0\.1$",
            rf"INF Registered tunnel connection connIndex=0 connection={uuid} event=0 ip=127\.0\.0\.1 location=\S+ "
            rf"protocol={connector.protocol}$",
            r'INF Updated to new configuration config="\{.*\}" version=1$',
            r'ERR  ?error="Unable to reach the origin service\. .*" connIndex=\d event=1 ingressRule=0 originService=',
            *FAILED.get(connector.protocol, ()),
        ):
            assert any(re.search(line, each) for each in connector.process.lines), (connector.kind, line)
