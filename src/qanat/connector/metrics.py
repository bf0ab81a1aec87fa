"""The connector's numbers under the names, labels and help of stock cloudflared (connector.md §4), and ours beside them.

What stock never counts, or counts of things that this connector doesn't do, is left out: docs/compatibility.md names it.
"""

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from qanat.connector.process_numbers import add_dropped_datagrams, add_process
from qanat.exposition import Exposition, Kind

if TYPE_CHECKING:
    from qanat.connector.engine import CallSnapshot, ConnectorSnapshot, QuicSnapshot

RESPONSE_PREFIX = "responses_"
RPC = "registerConnection"


class Numbers(Struct, frozen=True):
    """What the engine doesn't know. `locations`: 1 for where a connection (by its index) is, or was last; 0 for where it was
    before. `connected`: the indices of those that are up. `quick_hostname`: of a quick tunnel, or "". `scrapes`: answered
    ones before this one."""

    version: str
    configuration_version: int
    tunnel_id: str
    locations: Mapping[tuple[int, str], int]
    connected: tuple[int, ...] = ()
    quick_hostname: str = ""
    scrapes: int = 0
    configuration_file: Mapping[str, int] = {}


def render(snapshot: "ConnectorSnapshot", numbers: Numbers) -> str:
    """The whole answer of `/metrics`."""
    exposition = Exposition()
    counters = dict(snapshot["counters"])
    _add_identity(exposition, numbers)
    _add_requests(exposition, counters)
    _add_streams(exposition, counters, snapshot)
    _add_registrations(exposition, counters, numbers)
    _add_calls(exposition, snapshot["calls"])
    _add_quic(exposition, counters, snapshot["quic"])
    add_process(exposition)
    exposition.add("go_goroutines", "gauge", "Number of goroutines that currently exist.", snapshot["tasks"])
    _add_scrapes(exposition, numbers.scrapes)
    _add_ours(exposition, {**counters, **numbers.configuration_file})
    if snapshot["quic"]:
        add_dropped_datagrams(exposition)
    return exposition.text()


def _add_identity(exposition: Exposition, numbers: Numbers) -> None:
    exposition.add(
        "build_info",
        "gauge",
        "Build and version information",
        [
            (
                {
                    "goversion": f"python{platform.python_version()}",
                    "type": "qanat",
                    "revision": "unknown",
                    "version": numbers.version,
                },
                1,
            )
        ],
    )
    exposition.add(
        "cloudflared_orchestration_config_version", "gauge", "Configuration Version", numbers.configuration_version
    )
    exposition.add(
        "tunnel_ids",
        "gauge",
        "The ID of all tunnels (and their corresponding HA connection ID) running in this instance of cloudflared.",
        [({"ha_conn_id": str(index), "tunnel_id": numbers.tunnel_id}, 1) for index in sorted(numbers.connected)],
    )
    exposition.add(
        "cloudflared_tunnel_server_locations",
        "gauge",
        "Where each tunnel is connected to. 1 means current location, 0 means previous locations.",
        [
            ({"connection_id": str(index), "edge_location": place}, current)
            for (index, place), current in sorted(numbers.locations.items())
        ],
    )
    if numbers.quick_hostname:
        exposition.add(
            "cloudflared_tunnel_user_hostnames_counts",
            "counter",
            "Which user hostnames cloudflared is serving",
            [({"userHostname": f"https://{numbers.quick_hostname.removeprefix('https://')}"}, 1)],
        )


def _add_requests(exposition: Exposition, counters: dict[str, int]) -> None:
    exposition.add(
        "cloudflared_tunnel_total_requests",
        "counter",
        "Amount of requests proxied through all the tunnels",
        counters.pop("requests", 0),
    )
    exposition.add(
        "cloudflared_tunnel_concurrent_requests_per_tunnel",
        "gauge",
        "Concurrent requests proxied through each tunnel",
        counters.pop("requests_open", 0),
    )
    exposition.add(
        "cloudflared_tunnel_request_errors",
        "counter",
        "Count of error proxying to origin",
        counters.pop("request_errors", 0),
    )
    codes = sorted(name for name in counters if name.startswith(RESPONSE_PREFIX))
    exposition.add(
        "cloudflared_tunnel_response_by_code",
        "counter",
        "Count of responses by HTTP status code",
        [({"status_code": name.removeprefix(RESPONSE_PREFIX)}, counters.pop(name)) for name in codes],
    )


def _add_streams(exposition: Exposition, counters: dict[str, int], snapshot: "ConnectorSnapshot") -> None:
    exposition.add(
        "cloudflared_tcp_active_sessions",
        "gauge",
        "Concurrent count of TCP sessions that are being proxied to any origin",
        counters.pop("tcp_sessions_open", 0),
    )
    exposition.add(
        "cloudflared_tcp_total_sessions",
        "counter",
        "Total count of TCP sessions that have been proxied to any origin",
        counters.pop("tcp_sessions", 0),
    )
    exposition.add_histogram(
        "cloudflared_proxy_connect_latency",
        "Time it takes to establish and acknowledge connections in milliseconds",
        [({}, snapshot["connect_latency_ms"])],
    )
    exposition.add(
        "cloudflared_proxy_connect_streams_errors",
        "counter",
        "Total count of failure to establish and acknowledge connections",
        counters.pop("connect_failed", 0),
    )
    for name, kind, help in _NEVER:
        exposition.add(name, kind, help, 0)


def _add_registrations(exposition: Exposition, counters: dict[str, int], numbers: Numbers) -> None:
    exposition.add(
        "cloudflared_tunnel_ha_connections",
        "gauge",
        "Number of active ha connections",
        counters.pop("connections", 0),
    )
    if succeeded := counters.pop("register_success", 0):
        exposition.add(
            "cloudflared_tunnel_tunnel_register_success",
            "counter",
            "Count of successful tunnel registrations",
            [({"rpcName": RPC}, succeeded)],
        )
    failed, duplicate = counters.pop("register_fail", 0), counters.pop("register_duplicate", 0)
    reasons = {"dup_edge_conn": duplicate, "server_error": failed - duplicate}
    exposition.add(
        "cloudflared_tunnel_tunnel_register_fail",
        "counter",
        "Count of tunnel registration errors by type",
        [({"error": reason, "rpcName": RPC}, count) for reason, count in reasons.items() if count],
    )
    exposition.add(
        "cloudflared_config_local_config_pushes",
        "counter",
        "Number of local configuration pushes to the edge",
        counters.pop("local_configuration_pushes", 0),
    )
    exposition.add(
        "cloudflared_config_local_config_pushes_errors",
        "counter",
        "Number of errors occurred during local configuration pushes",
        counters.pop("local_configuration_pushes_errors", 0),
    )


def _add_calls(exposition: Exposition, calls: "list[CallSnapshot]") -> None:
    for side, done in (("client", "requested"), ("server", "served")):
        own = [({"handler": call["handler"], "method": call["method"]}, call) for call in calls if call["side"] == side]
        prefix = f"cloudflared_rpc_{side}_"
        exposition.add(
            f"{prefix}operations",
            "counter",
            f"Number of rpc methods by handler {done}",
            [(labels, call["operations"]) for labels, call in own],
        )
        what = "method failures" if side == "client" else "methods failures"
        exposition.add(
            f"{prefix}failures",
            "counter",
            f"Number of rpc {what} by handler {done}",
            [(labels, call["failures"]) for labels, call in own if call["failures"]],
        )
        exposition.add_histogram(
            f"{prefix}latency_secs",
            f"Latency of rpc methods by handler {done}",
            [(labels, call["latency"]) for labels, call in own],
        )


def _add_quic(exposition: Exposition, counters: dict[str, int], quic: "list[QuicSnapshot]") -> None:
    begun, ended = counters.pop("quic_connections", 0), counters.pop("quic_connections_ended", 0)
    if not begun:
        return  # nor does stock, on HTTP/2
    add = exposition.add
    add("quic_client_total_connections", "counter", "Number of connections initiated", begun)
    add("quic_client_closed_connections", "counter", "Number of connections that has been closed", ended)
    add(
        "quic_client_packet_too_big_dropped",
        "counter",
        "Count of packets received from origin that are too big to send to the edge and are dropped as a result",
        0,
    )
    by_index = [({"conn_index": str(one["connection_index"])}, one) for one in quic]
    for name, help, key in (
        ("mtu", "Current maximum transmission unit (MTU) of a connection", "mtu"),
        ("congestion_window", "Current congestion window size", "congestion_window"),
        (
            "congestion_state",
            "Current congestion control state (0=slow_start, 1=congestion_avoidance, 2=application_limited, "
            "3=recovery, -1=unknown)",
            "congestion_state",
        ),
        ("min_rtt", "Lowest RTT measured on a connection in millisec", "min_rtt_ms"),
        ("latest_rtt", "Latest RTT measured on a connection", "latest_rtt_ms"),
        ("smoothed_rtt", "Calculated smoothed RTT measured on a connection in millisec", "smoothed_rtt_ms"),
    ):
        add(f"quic_client_{name}", "gauge", help, [(labels, one[key]) for labels, one in by_index])  # type: ignore[literal-required]
    sent, received = "sent through", "received through"
    for name, way, key in (("sent_bytes", sent, "sent_bytes"), ("receive_bytes", received, "received_bytes")):
        help = f"Number of bytes that have been {way} a connection"
        add(f"quic_client_{name}", "counter", help, [(labels, one[key]) for labels, one in by_index])  # type: ignore[literal-required]
    for name, way in (("sent_frames", sent), ("received_frames", received)):
        add(
            f"quic_client_{name}",
            "counter",
            f"Number of frames that have been {way} a connection",
            [
                ({**labels, "frame_type": frame}, count)
                for labels, one in by_index
                for frame, count in one[name].items()  # type: ignore[literal-required]
            ],
        )
    add(
        "quic_client_lost_packets",
        "counter",
        "Number of packets that have been lost from a connection",
        [
            ({**labels, "reason": "unknown_loss_reason"}, one["lost_packets"])
            for labels, one in by_index
            if one["lost_packets"]
        ],
    )


def _add_scrapes(exposition: Exposition, scrapes: int) -> None:
    exposition.add("promhttp_metric_handler_requests_in_flight", "gauge", "Current number of scrapes being served.", 1)
    exposition.add(
        "promhttp_metric_handler_requests_total",
        "counter",
        "Total number of scrapes by HTTP status code.",
        [({"code": code}, scrapes if code == "200" else 0) for code in ("200", "500", "503")],
    )


def _add_ours(exposition: Exposition, counters: Mapping[str, int]) -> None:
    """Whatever else the engine counts, under its own name."""
    for name, count in counters.items():
        help = _OURS.get(name, f"The engine's {name.replace('_', ' ')}.")
        if name.endswith("_open") or name in _GAUGES:
            exposition.add(f"qanat_{name}", "gauge", help, count)
        else:
            exposition.add(f"qanat_{name}_total", "counter", help, count)


_NEVER: tuple[tuple[str, Kind, str], ...] = (
    (
        "cloudflared_udp_active_sessions",
        "gauge",
        "Concurrent count of UDP sessions that are being proxied to any origin",
    ),
    (
        "cloudflared_udp_total_sessions",
        "counter",
        "Total count of UDP sessions that have been proxied to any origin",
    ),
    (
        "cloudflared_icmp_total_requests",
        "counter",
        "Total count of ICMP requests that have been proxied to any origin",
    ),
    (
        "cloudflared_icmp_total_replies",
        "counter",
        "Total count of ICMP replies that have been proxied from any origin",
    ),
)
"""This connector carries neither: 0 is true, and a dashboard's panel of them isn't broken."""

_GAUGES = ("unread_bytes", "connections_suspect", "configuration_file_refused")

_OURS = {
    "requests_canceled": "Requests whose client went away first.",
    "configuration_pushes": "Configurations that the edge pushed.",
    "configuration_pushes_refused": "Pushed configurations that are not in force.",
    "configuration_file_reloads": "Times that the configuration file was taken anew.",
    "configuration_file_refused": "1 while the configuration file is not sound, so that what it said before is in force.",
    "trailers_dropped": "Trailer sections that the transport can't carry.",
    "malformed_requests": "Requests of the edge that break HTTP's rules.",
    "connections_suspect": "Connections on which what was sent to the edge isn't acknowledged in time.",
    "suspicions": "Connections that became suspect: what was sent to the edge wasn't acknowledged in time.",
    "connections_replaced": "Suspect connections that were made anew before they had ended.",
    "streams_refused": "Streams beyond the bound of a connection.",
    "unread_bytes": "Bytes of bodies that wait for a reader.",
    "events_dropped": "Events about requests that nobody took in time.",
    "origin_connections_open": "Connections to origins.",
    "origin_connections_reused": "Requests that found an open connection to their origin.",
}
