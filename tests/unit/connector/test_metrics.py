import re

from qanat.connector.metrics import render

COUNTERS = {
    "requests": 7,
    "requests_open": 1,
    "responses_200": 6,
    "responses_502": 1,
    "request_errors": 1,
    "connections": 4,
}


def text() -> str:
    return render(COUNTERS, version="0.1.0", configuration_version=3, locations={0: "lab", 1: "lab"}, tunnel_id="t-1")


def test_numbers_have_stock_names() -> None:
    lines = text().splitlines()
    for line in (
        "cloudflared_tunnel_total_requests 7",
        "cloudflared_tunnel_concurrent_requests_per_tunnel 1",
        'cloudflared_tunnel_response_by_code{status_code="200"} 6',
        'cloudflared_tunnel_response_by_code{status_code="502"} 1',
        "cloudflared_tunnel_request_errors 1",
        "cloudflared_tunnel_ha_connections 4",
        "cloudflared_orchestration_config_version 3",
        'cloudflared_tunnel_server_locations{connection_id="0",edge_location="lab"} 1',
        'tunnel_ids{ha_conn_id="1",tunnel_id="t-1"} 0',
        'build_info{type="qanat",version="0.1.0"} 1',
    ):
        assert line in lines


def test_every_line_is_prometheus_text() -> None:
    sample = re.compile(r'[a-z_]+(\{[a-z_A-Z]+="[^"]*"(,[a-z_A-Z]+="[^"]*")*\})? -?[0-9.e+]+')
    for line in text().splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line), line
    assert text().endswith("\n")
