"""The way to the edge: traces as stock reads them, and checks of each edge over UDP and TCP."""

import os
import re
import socket
import ssl
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

from msgspec import Struct

HOPS = 5
PATIENCE_S = 5.0
TRACE_S = 40.0

HOSTED_EDGES = ("region1.v2.argotunnel.com:7844", "region2.v2.argotunnel.com:7844")
CHECKED_NAME = "probe.cftunnel.com"

PASS, FAIL, SKIP = 0, 1, 2
DNS, QUIC, HTTP2 = 0, 1, 2

_PRIVATE_VERSION = 0x1A2A3A4A
"""One that no server speaks (RFC 9000 6.3), so that it has to say which it does."""


class Hop(TypedDict, total=False):
    """`rtts` in microseconds."""

    hop: int
    domain: str
    rtts: list[int]


class Trace(Struct, frozen=True):
    """`error` where there is none to read."""

    name: str
    hops: list[Hop]
    raw: str
    error: str = ""


class Check(TypedDict):
    """One row of the checks, in stock's fields."""

    Type: int
    Component: str
    Target: str
    ProbeStatus: int
    Details: str
    Action: str


class Checks(TypedDict):
    RunID: str
    Results: list[Check]
    SuggestedProtocol: int | None


def edges_of(configuration: Mapping[str, str]) -> tuple[str, ...]:
    """`host:port` of each edge that the connector was given, else the hosted ones."""
    given = re.split(r"[\s,]+", configuration.get("edge", "").strip("[]"))
    return tuple(dict.fromkeys(each for each in given if each)) or HOSTED_EDGES


def traces(edges: Sequence[str]) -> list[Trace]:
    """To each edge's host, over IPv4 and IPv6, all at once."""
    hosts = dict.fromkeys(_host(edge) for edge in edges)
    wanted = [(host, family) for host in hosts for family in ("v4", "v6")]
    with ThreadPoolExecutor(max_workers=max(1, min(8, len(wanted)))) as pool:
        return list(pool.map(lambda each: _trace(*each), wanted))


def _trace(host: str, family: str) -> Trace:
    name = f"{host}-{family}"
    program = "traceroute" if family == "v4" else "traceroute6"
    command = [program, "-I", "-w", f"{PATIENCE_S:.0f}", "-m", str(HOPS), host]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TRACE_S, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return Trace(name, [], "", f"error starting traceroute: {program} is not installed")
    except (OSError, subprocess.SubprocessError) as error:
        return Trace(
            name, [], "", f"error starting traceroute: {getattr(error, 'strerror', None) or 'it took too long'}"
        )
    raw = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        return Trace(
            name, [], raw, f"error finishing traceroute: {said[0] if said else f'exit status {done.returncode}'}"
        )
    return Trace(name, hops(raw), raw)


def hops(text: str) -> list[Hop]:
    """What traceroute printed; lines that are none are passed over."""
    found: list[Hop] = []
    for line in text.splitlines():
        parts = [part for part in line.split() if part not in ("*", "ms")]
        if not parts or not parts[0].isascii() or not parts[0].isdigit() or int(parts[0]) > 255:
            continue
        hop: Hop = {"hop": int(parts[0]), "domain": "*"}
        names, times = [], []
        for part in parts[1:]:
            try:
                times.append(int(float(part) * 1000))
            except ValueError:
                names.append(part)
        if len(parts) > 1:
            if not names:
                continue
            hop["domain"] = " ".join(names)
        if times:
            hop["rtts"] = times
        found.append(hop)
    return found


def checks(edges: Sequence[str]) -> Checks:
    """DNS, UDP and TCP of each edge; `SuggestedProtocol` 1 is QUIC, 0 HTTP/2."""
    with ThreadPoolExecutor(max_workers=max(1, min(8, len(edges)))) as pool:
        results = [check for group in pool.map(_checks, edges) for check in group]
    ways = [
        kind for kind in (QUIC, HTTP2) if any(each["Type"] == kind and each["ProbeStatus"] == PASS for each in results)
    ]
    suggested = {QUIC: 1, HTTP2: 0}[ways[0]] if ways else None
    return {"RunID": str(uuid.uuid4()), "Results": results, "SuggestedProtocol": suggested}


def _checks(edge: str) -> list[Check]:
    host, port = _host(edge), edge.rpartition(":")[2]

    def check(kind: int, component: str, status: int, details: str, action: str = "") -> Check:
        return {
            "Type": kind,
            "Component": component,
            "Target": edge,
            "ProbeStatus": status,
            "Details": details,
            "Action": action,
        }

    def tried(kind: int, component: str, attempt: Callable[[], None], good: str, action: str) -> Check:
        try:
            attempt()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return check(kind, component, FAIL, str(reason), action)
        return check(kind, component, PASS, good)

    try:
        places = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return [
            check(DNS, "DNS Resolution", FAIL, str(reason), f"Make sure that this host can resolve {host}"),
            check(QUIC, "UDP Connectivity", SKIP, "DNS failed"),
            check(HTTP2, "TCP Connectivity", SKIP, "DNS failed"),
        ]
    family, place = places[0][0], places[0][4]
    return [
        check(DNS, "DNS Resolution", PASS, "Resolved successfully"),
        tried(
            QUIC,
            "UDP Connectivity",
            lambda: speak_quic(family, place),
            "QUIC connection successful",
            f"Allow outbound UDP to port {port}",
        ),
        tried(
            HTTP2,
            "TCP Connectivity",
            lambda: speak_tls(place),
            "HTTP/2 connection successful",
            f"Allow outbound TCP to port {port}",
        ),
    ]


def speak_quic(family: int, place: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> None:
    """Whether something there speaks QUIC: it answers a version that there isn't with those that it has (RFC 9000 6.1). OSError
    when it says nothing."""
    identity = os.urandom(8)
    packet = b"\xc0" + _PRIVATE_VERSION.to_bytes(4, "big") + b"\x08" + identity + b"\x08" + os.urandom(8)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(PATIENCE_S / 5)
        probe.connect(place)
        for _ in range(5):
            probe.send(packet.ljust(1200, b"\0"))
            try:
                answer = probe.recv(2048)
            except TimeoutError:
                continue
            if answer[:1] >= b"\x80" and answer[1:5] == b"\0\0\0\0":
                return
    raise TimeoutError("no answer over UDP")


def speak_tls(place: tuple[object, ...]) -> None:
    """Whether something there speaks TLS. Who it is, the connector checks and not this. OSError."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, port = str(place[0]), int(str(place[1]))
    with (
        socket.create_connection((host, port), timeout=PATIENCE_S) as connection,
        context.wrap_socket(connection, server_hostname=CHECKED_NAME),
    ):
        pass


def _host(edge: str) -> str:
    return edge.rpartition(":")[0].strip("[]") or edge
