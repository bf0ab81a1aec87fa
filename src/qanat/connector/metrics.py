"""The connector's numbers as Prometheus text, under the names of stock cloudflared (connector.md §4)."""

import os
import time
from collections.abc import Mapping

RESPONSE_PREFIX = "responses_"


def render(
    counters: Mapping[str, int],
    *,
    version: str,
    configuration_version: int,
    locations: Mapping[int, str],
    tunnel_id: str,
) -> str:
    """The whole answer of `/metrics`.

    Args:
        counters: `Connector.counters()`.
        locations: edge location by connection index, of the connections that are up.
    """
    lines: list[str] = []

    def add(name: str, kind: str, help: str, *samples: tuple[str, float]) -> None:
        lines.append(f"# HELP {name} {help}")
        lines.append(f"# TYPE {name} {kind}")
        lines.extend(f"{name}{labels} {value}" for labels, value in samples)

    count = counters.get
    codes = sorted(key.removeprefix(RESPONSE_PREFIX) for key in counters if key.startswith(RESPONSE_PREFIX))
    add("build_info", "gauge", "Build and version information", (_labels(type="qanat", version=version), 1))
    add("cloudflared_orchestration_config_version", "gauge", "Configuration Version", ("", configuration_version))
    add(
        "cloudflared_tunnel_concurrent_requests_per_tunnel",
        "gauge",
        "Concurrent requests proxied through each tunnel",
        ("", count("requests_open", 0)),
    )
    add("cloudflared_tunnel_ha_connections", "gauge", "Number of active ha connections", ("", count("connections", 0)))
    add(
        "cloudflared_tunnel_request_errors",
        "counter",
        "Count of error proxying to origin",
        ("", count("request_errors", 0)),
    )
    add(
        "cloudflared_tunnel_response_by_code",
        "counter",
        "Count of responses by HTTP status code",
        *((_labels(status_code=code), counters[f"{RESPONSE_PREFIX}{code}"]) for code in codes),
    )
    add(
        "cloudflared_tunnel_server_locations",
        "gauge",
        "Where each tunnel is connected to. 1 means current location, 0 means previous locations.",
        *((_labels(connection_id=str(index), edge_location=place), 1) for index, place in sorted(locations.items())),
    )
    add(
        "cloudflared_tunnel_total_requests",
        "counter",
        "Amount of requests proxied through all the tunnels",
        ("", count("requests", 0)),
    )
    add(
        "cloudflared_tunnel_tunnel_register_fail",
        "counter",
        "Count of tunnel registration errors by type",
        (_labels(rpcName="registerConnection"), count("register_fail", 0)),
    )
    add(
        "cloudflared_tunnel_tunnel_register_success",
        "counter",
        "Count of successful tunnel registrations",
        (_labels(rpcName="registerConnection"), count("register_success", 0)),
    )
    for name, value in _process():
        add(name, "counter" if name.endswith("_total") else "gauge", _PROCESS_HELP[name], ("", value))
    add(
        "qanat_engine",
        "gauge",
        "Counters of the engine by name",
        *((_labels(name=key), counters[key]) for key in sorted(counters)),
    )
    add(
        "tunnel_ids",
        "gauge",
        "The ID of all tunnels (and their corresponding HA connection ID) running in this instance of cloudflared.",
        *((_labels(ha_conn_id=str(index), tunnel_id=tunnel_id), 0) for index in sorted(locations)),
    )
    return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    pairs = (f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


_PROCESS_HELP = {
    "process_cpu_seconds_total": "Total user and system CPU time spent in seconds.",
    "process_open_fds": "Number of open file descriptors.",
    "process_resident_memory_bytes": "Resident memory size in bytes.",
}


def _process() -> list[tuple[str, float]]:
    """What /proc says; only what can be read."""
    values: list[tuple[str, float]] = [("process_cpu_seconds_total", round(time.process_time(), 2))]
    try:
        values.append(("process_open_fds", len(os.listdir("/proc/self/fd"))))  # noqa: PTH208 - pathlib costs more
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            pages = int(file.read().split()[1])
        values.append(("process_resident_memory_bytes", pages * os.sysconf("SC_PAGE_SIZE")))
    except (OSError, ValueError, IndexError):
        pass
    return values
