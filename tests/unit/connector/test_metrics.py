import re
import socket
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qanat.connector.metrics import Numbers, render
from qanat.connector.process_numbers import dropped_datagrams

if TYPE_CHECKING:  # dicts, of which only the stub knows
    from qanat.connector.engine import CallSnapshot, ConnectorSnapshot, QuicSnapshot

COUNTERS = {
    "requests": 7,
    "requests_open": 1,
    "responses_200": 6,
    "responses_502": 1,
    "request_errors": 1,
    "connections": 4,
    "register_success": 5,
    "register_fail": 3,
    "register_duplicate": 1,
    "local_configuration_pushes": 2,
    "tcp_sessions": 3,
    "tcp_sessions_open": 2,
    "quic_connections": 6,
    "quic_connections_ended": 2,
    "requests_canceled": 9,
    "unread_bytes": 10,
    "something_new": 11,
}


def quic() -> "QuicSnapshot":
    return {
        "connection_index": 1,
        "sent_bytes": 1000,
        "received_bytes": 2000,
        "lost_packets": 3,
        "sent_frames": {"Ack": 4},
        "received_frames": {"Stream": 5},
        "mtu": 1452,
        "congestion_window": 12000,
        "congestion_state": 1,
        "smoothed_rtt_ms": 1.5,
        "latest_rtt_ms": 2.5,
        "min_rtt_ms": 0.5,
    }


def call() -> "CallSnapshot":
    return {
        "side": "client",
        "handler": "registration",
        "method": "register_connection",
        "operations": 4,
        "failures": 1,
        "latency": {"bounds": [0.05, 0.150_000_000_000_000_02], "counts": [2, 1, 1], "sum": 0.75},
    }


def text(counters: dict[str, int] = COUNTERS) -> str:
    snapshot: ConnectorSnapshot = {
        "counters": dict(counters),
        "calls": [call()],
        "connect_latency_ms": {"bounds": [1.0, 10.0], "counts": [0, 2, 0], "sum": 8.0},
        "quic": [quic()],
        "tasks": 12,
    }
    numbers = Numbers(
        version="0.1.0",
        configuration_version=3,
        tunnel_id="t-1",
        locations={(0, "lab"): 0, (0, "far"): 1},
        connected=(0, 1),
        quick_hostname="a.example.com",
        scrapes=8,
    )
    return render(snapshot, numbers)


def test_numbers_have_stock_names_and_labels() -> None:
    lines = text().splitlines()
    for line in (
        "cloudflared_tunnel_total_requests 7",
        "cloudflared_tunnel_concurrent_requests_per_tunnel 1",
        'cloudflared_tunnel_response_by_code{status_code="200"} 6',
        'cloudflared_tunnel_response_by_code{status_code="502"} 1',
        "cloudflared_tunnel_request_errors 1",
        "cloudflared_tunnel_ha_connections 4",
        "cloudflared_orchestration_config_version 3",
        'cloudflared_tunnel_server_locations{connection_id="0",edge_location="far"} 1',
        'cloudflared_tunnel_server_locations{connection_id="0",edge_location="lab"} 0',
        'cloudflared_tunnel_tunnel_register_success{rpcName="registerConnection"} 5',
        'cloudflared_tunnel_tunnel_register_fail{error="dup_edge_conn",rpcName="registerConnection"} 1',
        'cloudflared_tunnel_tunnel_register_fail{error="server_error",rpcName="registerConnection"} 2',
        'cloudflared_tunnel_user_hostnames_counts{userHostname="https://a.example.com"} 1',
        "cloudflared_config_local_config_pushes 2",
        "cloudflared_tcp_active_sessions 2",
        "cloudflared_tcp_total_sessions 3",
        "cloudflared_udp_active_sessions 0",
        'cloudflared_rpc_client_operations{handler="registration",method="register_connection"} 4',
        'cloudflared_rpc_client_failures{handler="registration",method="register_connection"} 1',
        "quic_client_total_connections 6",
        "quic_client_closed_connections 2",
        'quic_client_sent_bytes{conn_index="1"} 1000',
        'quic_client_receive_bytes{conn_index="1"} 2000',
        'quic_client_sent_frames{conn_index="1",frame_type="Ack"} 4',
        'quic_client_received_frames{conn_index="1",frame_type="Stream"} 5',
        'quic_client_lost_packets{conn_index="1",reason="unknown_loss_reason"} 3',
        'quic_client_smoothed_rtt{conn_index="1"} 1.5',
        'tunnel_ids{ha_conn_id="1",tunnel_id="t-1"} 1',
        'promhttp_metric_handler_requests_total{code="200"} 8',
        "go_goroutines 12",
    ):
        assert line in lines
    assert re.search(
        r'^build_info\{goversion="[^"]+",revision="[^"]+",type="qanat",version="0\.1\.0"\} 1$', text(), re.M
    )


def test_buckets_are_cumulative_and_end_with_all() -> None:
    lines = [line for line in text().splitlines() if line.startswith("cloudflared_rpc_client_latency_secs")]
    labels = 'handler="registration",method="register_connection"'
    name = "cloudflared_rpc_client_latency_secs"
    assert lines == [
        f'{name}_bucket{{{labels},le="0.05"}} 2',
        f'{name}_bucket{{{labels},le="0.15000000000000002"}} 3',
        f'{name}_bucket{{{labels},le="+Inf"}} 4',
        f"{name}_sum{{{labels}}} 0.75",
        f"{name}_count{{{labels}}} 4",
    ]
    assert 'cloudflared_proxy_connect_latency_bucket{le="10"} 2' in text().splitlines()


def test_what_stock_does_not_count_is_ours_under_a_name_of_its_own() -> None:
    ours = [line for line in text().splitlines() if line.startswith("qanat_")]
    assert ours == [
        "qanat_requests_canceled_total 9",
        "qanat_something_new_total 11",
        "qanat_udp_datagrams_dropped_total 0",
        "qanat_unread_bytes 10",
    ]


def test_without_quic_there_is_nothing_about_it() -> None:
    counters = {name: count for name, count in COUNTERS.items() if not name.startswith("quic_")}
    assert "quic_client" not in text(counters)


def test_the_process_is_told_of() -> None:
    found = dict(line.rsplit(" ", 1) for line in text().splitlines() if line.startswith(("process_", "go_threads")))
    assert len(found) == 10
    assert all(float(value) > 0 for value in found.values()), found


def test_every_line_is_prometheus_text_and_families_are_sorted() -> None:
    sample = re.compile(r'[a-z_]+(\{[a-z_A-Z]+="[^"]*"(,[a-z_A-Z]+="[^"]*")*\})? -?([0-9.]+(e[+-][0-9]+)?|\+Inf)')
    for line in text().splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line), line
    families = re.findall(r"^# TYPE (\S+)", text(), re.M)
    assert families == sorted(set(families))
    assert text().endswith("\n")


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb"])
def test_labels_are_escaped(value: str) -> None:
    numbers = Numbers(version=value, configuration_version=0, tunnel_id="", locations={})
    empty: ConnectorSnapshot = {
        "counters": {},
        "calls": [],
        "connect_latency_ms": {"bounds": [], "counts": [0], "sum": 0.0},
        "quic": [],
        "tasks": 0,
    }
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    assert f'version="{escaped}"}} 1\n' in render(empty, numbers)


def stock_names() -> set[str]:
    """Every name in connector.md, section 4."""
    page = Path("docs/design/connector.md").read_text(encoding="utf-8")
    section = page.partition("## 4. Metrics")[2].partition("\n## ")[0]
    names: set[str] = set()
    for prefix, cell in re.findall(r"^\| (`[a-z_]+`|bare) \| (.*) \|$", section, re.M):
        for word in re.findall(r"`([a-z_{},]+)`", cell):
            parts = [part.strip("{}").split(",") for part in re.split(r"(\{[^}]*\})", word)]
            names |= {prefix.strip("`").removeprefix("bare") + "".join(each) for each in product(*parts)}
    return names


def test_each_of_stocks_metrics_is_here_or_said_to_be_absent() -> None:
    told = re.findall(r"^# TYPE (\S+)", text(), re.M)
    absent = re.findall(r"`([a-z_*]+)`", Path("docs/compatibility.md").read_text(encoding="utf-8"))
    names = stock_names()
    assert len(names) == 57, "and 28 or more of the process and its runtime"
    missing = {name for name in names if name not in told and not any(fnmatch(name, each) for each in absent)}
    assert missing == set()


@pytest.mark.case(58)
@pytest.mark.skipif(not Path("/proc/self/net/udp").exists(), reason="this system doesn't tell")
def test_datagrams_that_found_no_room_are_counted() -> None:
    before = dropped_datagrams()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as full,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        full.bind(("127.0.0.1", 0))
        for _ in range(100):
            sender.sendto(b"x" * 1200, full.getsockname())
        assert dropped_datagrams() > before
    assert dropped_datagrams() <= before, "a socket that is closed is none of this process's"
