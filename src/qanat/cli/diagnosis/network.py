"""The way to the edge: traces as stock reads them, and the connector's own checks of each edge."""

import json
import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

from msgspec import Struct

from qanat.connector import prechecks
from qanat.connector.edge_checks import check_edges
from qanat.connector.flag_table import Value
from qanat.connector.flags import CommandLine, flag_named, read_value
from qanat.connector.options import Options, read_options
from qanat.connector.sources import lay_over
from qanat.connector.way_out import VARIABLES

HOPS = 5
PATIENCE_S = 5.0
TRACE_S = 40.0

PASS, FAIL, SKIP = 0, 1, 2
DNS, QUIC, HTTP2, API = 0, 1, 2, 3
_TYPES = {"DNS Resolution": DNS, "UDP Connectivity": QUIC, "TCP Connectivity": HTTP2, "Cloudflare API": API}
_STATUSES = {"pass": PASS, "fail": FAIL, "skip": SKIP}

_DIALS = (
    "edge",
    "region",
    "cacert",
    "protocol",
    "edge-ip-version",
    "edge-bind-address",
    "edge-resolver",
    "post-quantum",
)
_SECRET_FILES = ("token-file", "credentials-file")
_NOBODYS = json.dumps({"AccountTag": "0" * 32, "TunnelID": str(uuid.UUID(int=0)), "TunnelSecret": "A" * 43 + "="})
"""Credentials of no tunnel: the checks register nowhere."""


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


def options_of(configuration: Mapping[str, str], environment: Mapping[str, str]) -> Options:
    """How a connector that tells these flags dials, as far as this process may know: with its token, where that can be read here,
    since a token may name the edge. QanatError: as `tunnel run`."""
    values: dict[str, Value] = {}
    for name in _DIALS:
        flag, text = flag_named(name), configuration.get(name, "")
        if flag is not None and text:
            listed = text.strip("[]").replace(" ", ",") if flag.kind == "texts" else text
            values[name] = read_value(flag, listed, where=f"--{name}")
    held = next((name for name in _SECRET_FILES if os.access(configuration.get(name, ""), os.R_OK)), None)
    if held is not None:
        values[held] = configuration[held]
    else:
        values["credentials-contents"] = _NOBODYS
    ways_out = {name: environment[name] for name in VARIABLES if name in environment}
    return read_options(lay_over(None, b"", CommandLine((), values, False), ways_out))


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


def checks(options: Options, *, limit_s: float = prechecks.LIMIT_S) -> Checks:
    """DNS, UDP and TCP of each edge, as the connector goes there; `SuggestedProtocol` 1 is QUIC, 0 HTTP/2. QanatError: what the
    engine refuses of the options."""
    rows = prechecks.rows(check_edges(options, limit_s=limit_s))
    suggested = {"quic": 1, "http2": 0, None: None}[prechecks.suggested(rows, options.protocol)]
    return {"RunID": str(uuid.uuid4()), "Results": [_result(row) for row in rows], "SuggestedProtocol": suggested}


def _result(row: prechecks.Check) -> Check:
    return {
        "Type": _TYPES[row.component],
        "Component": row.component,
        "Target": row.target,
        "ProbeStatus": _STATUSES[row.status],
        "Details": f"{row.details} ({row.reason})" if row.reason else row.details,
        "Action": row.action,
    }


def _host(edge: str) -> str:
    return edge.rpartition(":")[0].strip("[]") or edge
