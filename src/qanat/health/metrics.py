"""The edge's metrics, as Prometheus reads them. Labels are bounded: hostnames are routes, and only those with most requests have
series of their own."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import time
from typing import Protocol

from qanat.exposition import Exposition, Histogram, Sample
from qanat.health.engine import Traffic, latency_bounds
from qanat.health.health import Health, Spot
from qanat.health.lines import Line
from qanat.health.verdicts import HealthState

OTHERS = "other"
STARTED = time()
STATES = ("healthy", "unhealthy", "unknown")
HOPS: Mapping[str, Callable[[Traffic], tuple[Sequence[int], float]]] = {
    "queue": lambda traffic: traffic.queue,
    "first_byte": lambda traffic: traffic.first_byte,
    "total": lambda traffic: traffic.total,
    "tunnel": lambda traffic: traffic.tunnel,
    "connector": lambda traffic: traffic.connector,
    "origin": lambda traffic: traffic.origin,
}
BEHIND = ("tunnel", "connector", "origin")
"""Of these there is nothing where no connector of ours tells."""
RTT_BOUNDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
COUNTERS = {
    "requests": "Requests whose head was read.",
    "requests_failed": "Requests answered by the edge itself or cut, the client's departure left out.",
    "client_closed": "Requests whose client went away first.",
    "retries": "Attempts on another connection.",
    "bytes_in": "Bytes of request bodies.",
    "bytes_out": "Bytes of answers' bodies.",
    "connections": "Public connections accepted.",
    "connections_refused": "Public connections closed at once: a limit.",
    "handshakes_failed": "Public TLS handshakes that failed.",
    "registrations": "Registrations of connectors accepted.",
    "registrations_refused": "Registrations refused.",
    "events_dropped": "Events that nobody took in time.",
    "access_lines_dropped": "Lines of the access log that had no room.",
    "listed_requests_dropped": "Requests that a request list had no room for.",
    "access_lines_lost": "Lines of the access log that could not be written.",
    "connections_calmed": "Public HTTP/2 connections ended with ENHANCE_YOUR_CALM.",
    "suspicions": "Connections of connectors that became suspect.",
    "configurations_pushed": "Configurations pushed and answered.",
    "configurations_failed": "Pushed configurations that got no answer.",
    "packets_passed": "QUIC packets passed on to an older process of this edge.",
    "packets_not_passed": "QUIC packets for an older process that had no room.",
    "datagrams_dropped": "Datagrams that the system dropped since a UDP socket had no room: a small net.core.rmem_max.",
    "packets_taken": "QUIC packets that a newer process of this edge passed on.",
    "trailers_dropped": "Trailer sections that could not be carried on.",
    "alerts_delivered": "Messages of alerts that their receiver took.",
    "alerts_retried": "Tries of such messages that failed, with another one to come.",
    "alerts_failed": "Such messages that were given up.",
    "alerts_dropped": "Such messages that had no room in their channel's queue.",
}
GAUGES = {
    "requests_open": "Requests under way.",
    "websockets_open": "WebSockets under way.",
    "connections_open": "Public connections open.",
    "tunnel_connections_open": "Registered connections of connectors.",
    "unread_bytes": "Bytes in memory that visitors don't take.",
    "requests_held": "Requests that wait while there is a hold.",
    "alerts_open": "Alerts that hold now.",
    "tunnel_connections_suspect": "Connections of connectors whose end doesn't acknowledge in time.",
}


class Source(Protocol):
    """What is exposed of a running edge."""

    @property
    def health(self) -> Health: ...
    def counters(self) -> Mapping[str, int]: ...
    def failures(self) -> Mapping[str, int]: ...
    def traffic(self) -> Sequence[Traffic]: ...
    def lines(self) -> Mapping[str, Line]: ...


def exposed(live: Source, *, most_hostnames: int) -> str:
    """One scrape's answer."""
    exposition, counters = Exposition(), live.counters()
    for name, help in COUNTERS.items():
        exposition.add(f"qanat_edge_{name}_total", "counter", help, float(counters.get(name, 0)))
    for name, help in GAUGES.items():
        exposition.add(f"qanat_edge_{name}", "gauge", help, float(counters.get(name, 0)))
    exposition.add(
        "qanat_edge_failures_total",
        "counter",
        "Requests that the edge answered itself or cut, by cause (docs/reference/errors.md).",
        [({"cause": cause}, float(count)) for cause, count in sorted(live.failures().items())],
    )
    exposition.add("qanat_edge_start_time_seconds", "gauge", "When this process began, in Unix seconds.", STARTED)
    rows = _by_labels(live.traffic(), most_hostnames)
    exposition.add(
        "qanat_edge_hostname_requests_total",
        "counter",
        "Requests that ended, by class of the origin's status, or what else became of them.",
        [sample for labels, group in rows for sample in _outcomes(labels, group)],
    )
    for name, help in (
        ("refused", "Tries that did not reach the origin."),
        ("timed_out", "Tries that got no answer of the origin in time."),
    ):
        exposition.add(f"qanat_edge_hostname_{name}_total", "counter", help, list(_summed(rows, name)))
    for name, way in (("bytes_in", "in"), ("bytes_out", "out")):
        exposition.add(
            f"qanat_edge_hostname_{name}_total", "counter", f"Bytes of bodies, {way}.", list(_summed(rows, name))
        )
    exposition.add_histogram(
        "qanat_edge_hostname_seconds",
        "How long requests took, by hop: to a stream on a connection, from there to the answer's head, and in all; of the time "
        "to the answer's head, where the connector tells, what was the tunnel's, the connector's and the origin's.",
        (
            ({**labels, "hop": hop}, _histogram([each(traffic) for traffic in group]))
            for labels, group in rows
            for hop, each in HOPS.items()
            if hop not in BEHIND or any(each(traffic)[0] for traffic in group)
        ),
    )
    lines = list(live.lines().values())
    exchanges = Counter(line.key_exchange or OTHERS for line in lines)
    exposition.add(
        "qanat_edge_tunnel_connections",
        "gauge",
        "Registered connections of connectors, by the group of their key exchange.",
        [({"key_exchange": name}, float(count)) for name, count in sorted(exchanges.items())],
    )
    exposition.add_histogram(
        "qanat_edge_tunnel_rtt_seconds",
        "How long the lines of the registered connections are now: round trips, not observations over time.",
        [({}, _rtts([line.rtt_s for line in lines if line.rtt_s is not None]))],
    )
    shown = {labels["hostname"] for labels, _ in rows} - {OTHERS}
    exposition.add(
        "qanat_edge_origin_health",
        "gauge",
        "Whether the origin behind a node answers: 1 for the state that it is in.",
        [
            ({"hostname": hostname, "tunnel_id": tunnel, "node": node or "default", "state": state}, float(is_in))
            for (hostname, tunnel, node), verdict in _some(live.health, shown, most_hostnames)
            for state in STATES
            for is_in in (verdict == state,)
        ],
    )
    return exposition.text()


Row = tuple[dict[str, str], list[Traffic]]


def _by_labels(passed: Sequence[Traffic], most: int) -> list[Row]:
    totals: dict[str, int] = {}
    for each in passed:
        totals[each.hostname] = totals.get(each.hostname, 0) + each.requests
    shown = set(sorted(totals, key=lambda name: (-totals[name], name))[:most]) - {""}
    rows: dict[tuple[str, str, str], list[Traffic]] = {}
    for each in passed:
        key = (each.hostname, each.tunnel_id, _node(each.token_id)) if each.hostname in shown else (OTHERS, "", "")
        rows.setdefault(key, []).append(each)
    return [({"hostname": key[0], "tunnel_id": key[1], "node": key[2]}, group) for key, group in sorted(rows.items())]


def _node(token_id: str | None) -> str:
    return "" if token_id is None else token_id or "default"


def _outcomes(labels: Mapping[str, str], group: Sequence[Traffic]) -> Iterable[Sample]:
    for number in range(5):
        yield {**labels, "outcome": f"{number + 1}xx"}, float(sum(each.statuses[number] for each in group))
    for name in ("edge_made", "cut", "client_failed"):
        yield {**labels, "outcome": name}, float(sum(getattr(each, name) for each in group))


def _summed(rows: Sequence[Row], name: str) -> Iterable[Sample]:
    return ((labels, float(sum(getattr(each, name) for each in group))) for labels, group in rows)


def _histogram(latencies: Sequence[tuple[Sequence[int], float]]) -> Histogram:
    bounds = latency_bounds()
    counts = [0] * (len(bounds) + 1)
    for given, _ in latencies:
        for number, count in enumerate(given):
            counts[number] += count
    return {"bounds": bounds, "counts": counts, "sum": sum(total for _, total in latencies)}


def _rtts(rtts: Sequence[float]) -> Histogram:
    counts = [0] * (len(RTT_BOUNDS) + 1)
    for rtt in rtts:
        counts[bisect_left(RTT_BOUNDS, rtt)] += 1
    return {"bounds": RTT_BOUNDS, "counts": counts, "sum": sum(rtts)}


def _some(health: Health, shown: set[str], most: int) -> list[tuple[Spot, HealthState]]:
    """Of the hostnames that are shown anyway, and of ill ones: at most twice as many spots."""
    spots = [(spot, verdict.state) for spot, verdict in health.spots().items()]
    spots.sort(key=lambda each: (each[1] != "unhealthy", each[0][0] not in shown, each[0]))
    return spots[: 2 * most]
